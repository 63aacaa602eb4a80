"""The user's jobs: what ``%%remote --detach`` and ``jupyter gpu-remote run`` have begun, and its outputs."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat.v4

from ..config import GpuRemote
from ..errors import ConflictError, GpuRemoteError, MachineNotFoundError
from ..jobtable import JobRow, JobState
from ..registry import Registry
from ..verbs.job import Job
from ..verbs.outcome import described, refresh_one
from .followed import Followed
from .kernelspecs import usable
from .problems import RefusedError
from .visits import Visits
from .workers import Workers

_SHOWN = 200
"""Jobs that are listed when nobody asks for more."""
_PAUSE = 60.0
"""Seconds until a machine that did not answer is asked for its jobs again."""
_FOLLOWED = 8
"""Jobs whose outputs are followed at a time."""
_LINGER = 60.0
"""Seconds for which outputs that nobody asks for are kept here; the machine has them."""


class Runs:
    """All jobs, whoever began them.

    Args:
        registry: Where they are written down.
        settings: Returns the user's settings.
        visits: The connections to machines.
        path_of: Returns the path of a notebook from its key.
        tell: Called with a `RunNotice`, from any thread.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], GpuRemote],
        visits: Visits,
        path_of: Callable[[str], str],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._registry, self._settings, self._visits = registry, settings, visits
        self._path_of, self._tell = path_of, tell
        self._workers = Workers("jobs", 4)
        self._mark: object = None
        self._states: dict[int, str] | None = None
        self._not_before: dict[str, float] = {}
        self._followed: dict[int, Followed] = {}
        self._lock = threading.Lock()

    # -- all of them --------------------------------------------------------------------------------

    def listed(self, limit: int | None) -> dict[str, Any]:
        """Return what is known of the latest jobs, at once."""
        rows = self._registry.jobs.all()
        shown = rows[-(limit or _SHOWN) :]
        return {
            "at": time.time(),
            "runs": [self._view(row) for row in shown],
            "more": len(rows) - len(shown),
        }

    def look(self) -> None:
        """Tell of jobs that began, ended or were forgotten since the last look."""
        mark = self._registry.jobs.mark()
        if mark == self._mark:
            return
        self._mark = mark
        rows = self._registry.jobs.all()
        known, self._states = self._states, {row.id: row.state.value for row in rows}
        if known is None:
            return
        for row in rows:
            if known.pop(row.id, None) != row.state.value:
                self._tell(_notice(row.id, row.state.value, row.machine, row.title, row.note))
        for id in known:
            self._tell(_notice(id, "forgotten"))

    def ask(self) -> None:
        """Have machines asked what became of the jobs that run on them, as far as is known here."""
        waiting: dict[str, list[JobRow]] = {}
        for row in self._registry.jobs.running():
            if row.cell:
                waiting.setdefault(row.machine, []).append(row)
        now = time.monotonic()
        for name, rows in waiting.items():
            if self._not_before.get(name, 0.0) <= now:
                self._not_before[name] = now + _PAUSE
                self._workers.submit(functools.partial(self._ask, name, rows))

    def _ask(self, name: str, rows: list[JobRow]) -> None:
        try:
            machine = self._registry.get(name)
            if usable(machine):
                cells = {row.kernel: row.cell for row in rows}
                told = self._visits.talk(machine, lambda there: there.request("outcomes", cells=cells))
                for row in rows:
                    refresh_one(self._registry, row, told.get(row.kernel, {"status": "lost"}))
        except MachineNotFoundError:
            pass  # the registry knows by now
        except GpuRemoteError:
            return  # the card of the machine says that it does not answer
        self._not_before.pop(name, None)

    # -- one of them --------------------------------------------------------------------------------

    def get(self, id: str) -> dict[str, Any]:
        """Return a job."""
        return self._view(self._job(id).row)

    def cancel(self, id: str) -> dict[str, Any]:
        """End a job and return what became of it."""
        job = self._job(id)
        job.cancel()
        return self._view(job.row)

    def forget(self, id: str) -> None:
        """Remove a job that has ended, with what it left on its machine."""
        job = self._job(id)
        if job.row.state is JobState.RUNNING:
            raise ConflictError(f"Job {job.id} is running.", hint="Cancel it first.")
        job.forget()

    def output(self, id: str, since: int) -> dict[str, Any]:
        """Return what a job has put out so far.

        Args:
            id: Its number.
            since: What was `next` in the last answer; 0 for all.
        """
        job = self._job(id)
        followed = self._follow(job)
        said = followed.text(since)
        self._check(job, followed)
        return {"run": self._view(job.row), **said}

    def cell(self, id: str) -> dict[str, Any]:
        """Return what belongs below a job's cell so far: its outputs, and what became of it."""
        job = self._job(id)
        followed = self._follow(job)
        outputs, ended = followed.outputs()
        self._check(job, followed)
        told = nbformat.v4.new_output("display_data", {"text/plain": described(job.row)})
        return {"run": self._view(job.row), "outputs": [*outputs, told], "ended": ended}

    def prune(self) -> None:
        """Let go of outputs that nobody has asked for lately."""
        with self._lock:
            for id in [id for id, one in self._followed.items() if one.idle > _LINGER]:
                self._followed.pop(id).leave()

    def close(self) -> None:
        """Let go of all outputs."""
        with self._lock:
            for one in self._followed.values():
                one.leave()
            self._followed.clear()

    def _follow(self, job: Job) -> Followed:
        with self._lock:
            followed = self._followed.get(job.id)
            if followed is None:
                self._make_room()
                followed = self._followed[job.id] = Followed(job)
                followed.start()
        return followed

    def _check(self, job: Job, followed: Followed) -> None:
        if followed.failure is not None:
            with self._lock:
                self._followed.pop(job.id, None)
            raise followed.failure

    def _make_room(self) -> None:
        if len(self._followed) >= _FOLLOWED:
            oldest = max(self._followed, key=lambda id: self._followed[id].idle)
            self._followed.pop(oldest).leave()

    def _job(self, id: str) -> Job:
        if not id.isdecimal() or not id.isascii() or len(id) > 15:
            raise RefusedError(404, "not-found", f"There is no job {id[:50]!r}.", "Jobs have numbers.")
        return Job(self._registry.jobs.get(int(id)), self._settings(), self._registry)

    def _view(self, row: JobRow) -> dict[str, Any]:
        has_file = bool(row.notebook) and Path(row.notebook).exists()
        return {
            "id": row.id,
            "title": row.title,
            "machine": row.machine,
            "notebook": self._path_of(row.notebook) if has_file else "",
            "cell": row.cell_id,
            "state": row.state.value,
            "began_at": row.began,
            "ended_at": row.ended,
            "note": row.note,
        }


def _notice(id: int, state: str, machine: str = "", title: str = "", note: str = "") -> dict[str, Any]:
    return {"id": id, "state": state, "machine": machine, "title": title, "note": note}
