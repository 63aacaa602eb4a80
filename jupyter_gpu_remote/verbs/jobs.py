"""The verbs about jobs."""

from __future__ import annotations

import json
from typing import Any

from ..jobtable import JobRow, JobState
from ..tables import Table, duration
from .desk import Desk
from .job import Job
from .outcome import described, refresh
from .words import SHARED, argument

JOB = argument("job", nargs="?", type=int, metavar="N", help="the job")
NUMBER = argument("number", type=int, metavar="N", help="the job")

verb = SHARED.verb


def job_of(desk: Desk, number: int) -> Job:
    """Return the job of that number.

    Raises:
        JobError: There is none.
    """
    return Job(desk.registry.jobs.get(number), desk.config, desk.registry)


@verb(
    "List jobs: cells and scripts that run unattended.",
    argument("--json", action="store_true", help="for programs"),
    argument("--clear", action="store_true", help="forget those that have ended, with what they left"),
)
def jobs(desk: Desk, json: bool = False, clear: bool = False) -> None:
    """List jobs, after asking the machines of those that run."""
    problems = refresh(desk.registry, desk.config, desk.registry.jobs.running())
    if clear:
        for row in desk.registry.jobs.all():
            if row.state is not JobState.RUNNING:
                Job(row, desk.config, desk.registry).forget()
    rows = desk.registry.jobs.all()
    if json:
        return desk.say(as_json(rows))
    if not rows:
        return desk.say("There is no job. A cell becomes one with `%%remote --detach`.")
    desk.say(as_table(rows, problems))


def as_table(rows: list[JobRow], below: list[str]) -> Table:
    """Return jobs for people."""
    lines = [
        (
            str(row.id),
            row.title,
            row.machine,
            row.state.value,
            duration(row.seconds) if row.seconds is not None else "",
            row.note,
        )
        for row in rows
    ]
    return Table(("JOB", "CELL", "MACHINE", "STATE", "ELAPSED", ""), lines, below)


def as_json(rows: list[JobRow]) -> str:
    """Return jobs for programs; fields are only ever added."""
    return json.dumps([_plain(row) for row in rows], indent=2)


def _plain(row: JobRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "cell": row.title,
        "machine": row.machine,
        "notebook": row.notebook,
        "folder": row.folder,
        "state": row.state.value,
        "began": row.began,
        "ended": row.ended,
        "elapsed": row.seconds,
        "note": row.note,
    }


@verb(
    "Wait for the end of a job, or of all of them; Ctrl-C leaves them running.",
    argument("number", type=int, nargs="?", metavar="N", help="the job"),
)
def wait(desk: Desk, number: int | None = None) -> int:
    """Wait for jobs; 1 when one did not end well."""
    waited = [desk.registry.jobs.get(number)] if number is not None else desk.registry.jobs.running()
    if not waited:
        desk.say("No job is running.")
    failed = 0
    for row in waited:
        state = Job(row, desk.config, desk.registry).wait()
        failed += state != JobState.DONE.value
        desk.say(described(desk.registry.jobs.get(row.id)))
    return 1 if failed else 0


@verb("End a job.", NUMBER)
def cancel(desk: Desk, number: int) -> None:
    """Cancel a job."""
    job = job_of(desk, number)
    if job.done:
        return desk.say(f"It has ended already: {described(job.row)}")
    job.cancel()
    desk.say(described(job.row))


def number_of(word: str) -> int | None:
    """Return the number of the job that a word stands for; None for a machine's name, or nothing."""
    return int(word) if word.isdecimal() else None
