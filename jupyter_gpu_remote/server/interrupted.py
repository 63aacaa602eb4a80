"""Launches under way, written down, so that the next server tells what became of those of one that died."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config import state_dir
from ..errors import GpuRemoteError, MachineNotFoundError
from ..owner import Owner
from ..registry import Registry
from .jobs import Job, Jobs
from .kernelspecs import usable

_LIMIT = 900.0
"""Seconds that a clean-up is waited for; it goes on after that."""
_EVERY = 0.5
"""Seconds between two looks at how far it is."""


class LaunchInterruptedError(GpuRemoteError):
    """The server ended in a launch, and what there was of that is gone."""

    code = "interrupted"


class Launches:
    """The launches of this user's servers that have not ended.

    Args:
        registry: Where their machines are.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @contextlib.contextmanager
    def under_way(self, job: Job) -> Iterator[Callable[[], None]]:
        """Have a launch written down while it goes on; call what is given when its machine is known."""
        file = _folder() / f"{job.id}.json"

        def note() -> None:
            told = {"owner": asdict(Owner.me()), "request": dict(job.request or {}), "machine": job.machine}
            beside = file.with_suffix(".new")
            with contextlib.suppress(OSError):  # a launch is more than what is told of it
                file.parent.mkdir(exist_ok=True)
                beside.write_text(json.dumps(told), encoding="utf-8")
                beside.replace(file)

        note()
        try:
            yield note
        finally:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)

    def take_over(self, jobs: Jobs) -> None:
        """Follow what becomes of the launches whose server died."""
        for file in sorted(_folder().glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, GpuRemoteError):
                told = json.loads(file.read_text(encoding="utf-8"))
                if Owner(**told["owner"]).dead():
                    # whoever renames it first tells of it
                    taken = file.with_name(f"{file.stem}.{os.getpid()}")
                    file.rename(taken)
                    taken.unlink()
                    self._follow(jobs, file.stem, told["request"], told["machine"])

    def _follow(self, jobs: Jobs, id: str, request: dict[str, Any], machine: str | None) -> None:
        what = request.get("gpu") or "a machine"

        def follow(job: Job) -> None:
            if machine is None or (ended := self._end(machine, job)) is None:
                raise LaunchInterruptedError(
                    f"The server ended while it looked for {what}, before anything was rented.",
                    hint="Launch it again.",
                )
            if ended:
                raise LaunchInterruptedError(
                    f"The server ended while it launched {what}. What there was of it, {machine}, is deleted:"
                    " it costs nothing any more.",
                    hint="Launch it again.",
                )
            job.say(
                f"The server ended while it launched {what}. {machine} was ready by then, so it goes on; "
                "it ends by itself when nobody uses it."
            )

        jobs.start("launch", follow, machine, request, id=id, interrupted=True)

    def _end(self, name: str, job: Job) -> bool | None:
        """Return, once that is known, whether a machine has ended or goes on; None where it never was."""
        end = time.monotonic() + _LIMIT
        while time.monotonic() < end:
            try:
                machine = self._registry.get(name)
            except MachineNotFoundError:
                return None
            if machine.state.final:
                return True
            if usable(machine):
                return False
            job.report("deleting", "the server ended in the launch; what there is of it is deleted")
            time.sleep(_EVERY)
        raise LaunchInterruptedError(
            f"The server ended while it launched {name}, and that is not deleted yet.",
            billed=f"{name} may still cost something.",
            hint="`jupyter gpu-remote reap` tries again, and says what is in the way.",
        )


def _folder() -> Path:
    return state_dir() / "launches"
