"""Work that takes longer than a request: each job in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConflictError, GpuRemoteError
from .problems import RefusedError, problem

MOST = 32
"""Jobs at a time; a user who wants more machines than that at once wants a cluster."""
_KEPT = 100
"""Ended jobs that are still shown."""
_NOTICE_EVERY = 0.5
"""Seconds between two notices of one job in one phase."""
STEPS = ("offers", "creating", "booting", "connecting", "preparing", "ready")
"""The phases of a launch."""

_log = logging.getLogger(__name__)


class CancelledError(BaseException):
    """The user wants the job no more; no `Exception`, so that nobody on the way takes it for a failure."""


class Job:
    """One piece of work, and how far it is.

    Args:
        kind: What it does, as the schema has it.
        machine: The machine; None for one that is to be launched.
        request: What was asked for, of a launch.
        tell: Called when there is something new.
        id: Of a job that goes on after another server's; otherwise a new one.
        interrupted: Whether it is a job of a server that died in it.
    """

    def __init__(
        self,
        kind: str,
        machine: str | None,
        request: Mapping[str, Any] | None,
        tell: Callable[[Job], None],
        id: str = "",
        interrupted: bool = False,
    ) -> None:
        self.id = id or uuid.uuid4().hex[:12]
        self.interrupted = interrupted
        self.kind, self.machine, self.request = kind, machine, request
        self.state = "running"
        self.phase = self.text = ""
        self.share: float | None = None
        self.said: list[str] = []
        self.began_at, self.ended_at = time.time(), 0.0
        self.problem: dict[str, Any] | None = None
        self.thread: threading.Thread | None = None
        self._tell = tell
        self._told: tuple[object, ...] = ()
        self._told_at = 0.0
        self._interrupted = self._settled = False
        self._lock = threading.Lock()

    @property
    def cancellable(self) -> bool:
        """Whether it can be undone; what is being deleted is better deleted."""
        undoes = self.kind in ("launch", "start") and not self.interrupted
        return self.state == "running" and undoes and not self._settled

    def report(self, phase: str, text: str) -> None:
        """Note what is going on, as `fleet` tells it.

        Raises:
            CancelledError: The job is not wanted any more; raised once, the clean-up goes on reporting.
        """
        if phase:
            self.phase, self.text, self.share = phase, text, None
            self._notify()
        self.check()

    def check(self) -> None:
        """Raise `CancelledError` when the job is to be cancelled and does not know it yet."""
        if self.state == "cancelling" and not self._interrupted:
            self._interrupted = True
            raise CancelledError

    def settle(self) -> None:
        """Let it be cancelled no more; raise `CancelledError` when it was before."""
        with self._lock:
            self._settled = self.state == "running"
        self.check()

    def progress(self, done: int, total: int, what: str) -> None:
        """Note how far a transfer is."""
        self.text, self.share = what, done / total if total else None
        self._notify()

    def say(self, text: str) -> None:
        """Add a line that the user should read."""
        self.said.append(str(text))
        self._notify()

    def cancel(self) -> bool:
        """Have it undone; return whether it can be."""
        with self._lock:
            if not self.cancellable:
                return False
            self.state = "cancelling"
        self._notify()
        return True

    def run(self, work: Callable[[Job], None]) -> None:
        """Do it and note how it went."""
        state = "done"
        try:
            work(self)
        except CancelledError:
            state = "cancelled"
        except Exception as e:
            state, self.problem = "failed", problem(e)
            if not isinstance(e, GpuRemoteError):
                _log.exception("a job failed: %s", self.kind)
        with self._lock:
            self.state, self.ended_at = state, time.time()
        self._notify()

    def view(self) -> dict[str, Any]:
        """Return it as the schema has it."""
        launch = self.kind == "launch"
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "machine": self.machine,
            "phase": self.phase,
            "step": self.step,
            "steps": len(STEPS) if launch else 0,
            "text": self.text,
            "progress": self.share,
            "said": list(self.said),
            "notebook": (self.request or {}).get("notebook", ""),
            "request": self.request,
            "began_at": self.began_at,
            "ended_at": self.ended_at or None,
            "cancellable": self.cancellable,
            "interrupted": self.interrupted,
            "problem": self.problem,
        }

    @property
    def step(self) -> int:
        """Which of `STEPS` it is at."""
        phase = "ready" if self.phase == "mounting" else self.phase
        return STEPS.index(phase) if self.kind == "launch" and phase in STEPS else 0

    def _notify(self) -> None:
        now, stage = time.monotonic(), (self.state, self.phase, self.machine, len(self.said))
        if stage != self._told or now - self._told_at > _NOTICE_EVERY:
            self._told, self._told_at = stage, now
            self._tell(self)


class Jobs:
    """All jobs of this server, oldest first.

    Args:
        tell: Called with a job that has something new.
    """

    def __init__(self, tell: Callable[[Job], None]) -> None:
        self._tell = tell
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(
        self,
        kind: str,
        work: Callable[[Job], None],
        machine: str | None = None,
        request: Mapping[str, Any] | None = None,
        id: str = "",
        interrupted: bool = False,
    ) -> Job:
        """Begin a job and return it; see `Job` for the arguments.

        Raises:
            ConflictError: Another job works on that machine.
            RefusedError: There are too many.
        """
        job = Job(kind, machine, request, self._tell, id, interrupted)
        job.thread = threading.Thread(target=job.run, args=(work,), name=f"{kind} {job.id}", daemon=True)
        with self._lock:
            running = [j for j in self._jobs.values() if not j.ended_at]
            if len(running) >= MOST:
                raise RefusedError(
                    429, "busy", f"{MOST} jobs are running already.", "Wait until one of them is done."
                )
            if machine and (other := next((j for j in running if j.machine == machine), None)):
                raise ConflictError(
                    f"{machine} is busy: {other.kind} is under way.", hint="Wait until that is done."
                )
            ended = [j for j in self._jobs.values() if j.ended_at]
            for old in ended[: max(0, len(ended) - _KEPT + 1)]:
                del self._jobs[old.id]
            self._jobs[job.id] = job
        job.thread.start()
        return job

    def get(self, id: str) -> Job:
        """Return a job.

        Raises:
            RefusedError: There is none of that id.
        """
        try:
            return self._jobs[id]
        except KeyError:
            raise RefusedError(
                404,
                "not-found",
                f"There is no job {id!r}.",
                "It was dismissed, or the server was started anew: the activity tells what became of it.",
            ) from None

    def all(self) -> list[Job]:
        """Return them."""
        with self._lock:
            return list(self._jobs.values())

    def on_machines(self) -> dict[str, Job]:
        """Return the running jobs by machine."""
        return {job.machine: job for job in self.all() if job.machine and not job.ended_at}

    def cancel_or_dismiss(self, id: str) -> Job | None:
        """Cancel a job that runs and return it, or forget one that has ended.

        Raises:
            ConflictError: It runs and can't be cancelled.
            RefusedError: There is none of that id.
        """
        job = self.get(id)
        if job.cancel() or job.state == "cancelling":
            return job
        with self._lock:
            if job.ended_at:
                self._jobs.pop(id, None)
                return None
        raise ConflictError(f"This can't be cancelled: {job.kind}.", hint="Wait until it is done.")

    def end(self, limit: float) -> None:
        """Cancel what can be, and wait for it."""
        until = time.monotonic() + limit
        cancelled = [job for job in self.all() if job.cancel()]
        for job in cancelled:
            assert job.thread is not None
            job.thread.join(max(0.0, until - time.monotonic()))
