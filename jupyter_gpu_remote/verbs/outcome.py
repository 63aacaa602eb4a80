"""What became of jobs, as their machines tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..config import GpuRemote
from ..errors import GpuRemoteError, MachineNotFoundError
from ..jobtable import JobRow, JobState
from ..registry import Registry
from ..tables import duration
from .visit import Visit

_ENDS = {"ok": JobState.DONE, "error": JobState.FAILED, "died": JobState.FAILED}


def refresh(registry: Registry, config: GpuRemote, rows: Sequence[JobRow]) -> list[str]:
    """Ask machines what became of jobs that run as far as is known, and write it down.

    Returns:
        Why some could not be asked.
    """
    by_machine: dict[str, list[JobRow]] = {}
    for row in rows:
        if row.state is JobState.RUNNING and row.cell:
            by_machine.setdefault(row.machine, []).append(row)

    def ask(name: str) -> str:
        try:
            with Visit(registry.get(name), config, registry) as there:
                told = there.request("outcomes", cells={row.kernel: row.cell for row in by_machine[name]})
        except MachineNotFoundError:
            return ""  # the registry knows by now
        except GpuRemoteError as e:
            return f"{name} does not answer, so its jobs are shown as they were last known: {e.message}"
        for row in by_machine[name]:
            refresh_one(registry, row, told.get(row.kernel, {"status": "lost"}))
        return ""

    with ThreadPoolExecutor(max(1, min(8, len(by_machine)))) as pool:
        return [why for why in pool.map(ask, by_machine) if why]


def refresh_one(registry: Registry, row: JobRow, outcome: Mapping[str, Any]) -> None:
    """Write down what a machine says of a job."""
    if outcome["status"] == "running":
        return
    state, note = _ENDS.get(outcome["status"], JobState.LOST), str(outcome.get("error", ""))
    if note == "KeyboardInterrupt":
        state, note = JobState.CANCELLED, ""
    if outcome["status"] == "died":
        note = "its kernel died"
    elif state is JobState.LOST:
        note = note or "its kernel is gone"
    registry.jobs.end(row.id, state, note, outcome.get("at"))


def described(row: JobRow) -> str:
    """Return what became of a job, in a line."""
    seconds = f" · {duration(row.seconds)}" if row.seconds is not None else ""
    return f"job {row.id} · {row.state.value}{seconds}" + (f" · {row.note}" if row.note else "")
