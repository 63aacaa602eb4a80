"""Jobs, the cells and scripts that run on machines unattended: a row for each in the registry's file."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .errors import JobError
from .statefile import StateFile

SCHEMA = (
    "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, notebook TEXT NOT NULL, machine TEXT NOT NULL,"
    " kernel TEXT NOT NULL, cell TEXT NOT NULL, title TEXT NOT NULL, folder TEXT NOT NULL,"
    " began REAL NOT NULL, ended REAL, state TEXT NOT NULL, note TEXT NOT NULL)",
    "CREATE INDEX jobs_in_state ON jobs (state)",
)

CELL_ID = ("ALTER TABLE jobs ADD COLUMN cell_id TEXT NOT NULL DEFAULT ''",)
"""What the table got later."""

_COLUMNS = (
    "j.id, j.notebook, j.machine, j.kernel, j.cell, j.cell_id, j.title, j.folder, j.began, j.ended,"
    " j.state, j.note"
)
_FROM = f"SELECT {_COLUMNS}, m.final FROM jobs j LEFT JOIN machines m ON m.name = j.machine"


class JobState(str, Enum):
    """What becomes of a job."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True)
class JobRow:
    """A job as it is written down.

    Attributes:
        id: Its number; those of one user count up.
        notebook: The key of the notebook that it belongs to.
        machine: Where it runs.
        kernel: Its kernel's name there.
        cell: The message id of its cell.
        cell_id: What its notebook calls the cell; empty where there is none.
        title: The cell's first line, or the script.
        folder: Its folder here.
        began: Unix seconds.
        ended: Likewise; None while it runs, and where that is not known.
        state: What became of it, as far as that is known here.
        note: What else is to be said, such as an error's name.
    """

    id: int
    notebook: str
    machine: str
    kernel: str
    cell: str
    cell_id: str
    title: str
    folder: str
    began: float
    ended: float | None
    state: JobState
    note: str

    @property
    def seconds(self) -> float | None:
        """How long it ran, or has run; None where that is not known."""
        if self.state is JobState.RUNNING:
            return time.time() - self.began
        return self.ended - self.began if self.ended else None


class JobTable:
    """The jobs of this user.

    Args:
        file: The registry's.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def add(
        self, notebook: str, machine: str, kernel: str, title: str, folder: str, cell_id: str = ""
    ) -> JobRow:
        """Write down a job that is about to begin; it gets the next number."""
        with self._file.transaction() as db:
            begun = time.time(), None, JobState.RUNNING, ""
            values = notebook, machine, kernel, "", cell_id, title, folder, *begun
            plain = [_plain(value) if type(value) is str else value for value in values]
            cursor = db.execute(
                "INSERT INTO jobs"
                " (notebook, machine, kernel, cell, cell_id, title, folder, began, ended, state, note)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                plain,
            )
            return _row(db.execute(f"{_FROM} WHERE j.id = ?", (cursor.lastrowid,)).fetchone())

    def get(self, number: int) -> JobRow:
        """Return a job.

        Raises:
            JobError: There is none of that number.
        """
        with self._file.connection() as db:
            row = db.execute(f"{_FROM} WHERE j.id = ?", (number,)).fetchone()
        if row is None:
            raise JobError(f"There is no job {number}.", hint="`jobs` lists those that there are.")
        return _row(row)

    def all(self) -> list[JobRow]:
        """Return all jobs, oldest first; one whose machine has ended before it is lost."""
        with self._file.connection() as db:
            return [_row(row) for row in db.execute(f"{_FROM} ORDER BY j.id").fetchall()]

    def running(self) -> list[JobRow]:
        """Return the jobs that run as far as is known here, oldest first."""
        with self._file.connection() as db:
            rows = db.execute(f"{_FROM} WHERE j.state = ? ORDER BY j.id", (JobState.RUNNING,)).fetchall()
        return [job for job in map(_row, rows) if job.state is JobState.RUNNING]

    def mark(self) -> tuple[Any, ...]:
        """Return what is another when a job began, ended or was forgotten; cheap."""
        with self._file.connection() as db:
            return tuple(
                db.execute(
                    "SELECT COUNT(*), MAX(j.id), SUM(j.state = ?), SUM(j.state = ? AND m.final IS NOT 0)"
                    " FROM jobs j LEFT JOIN machines m ON m.name = j.machine",
                    (JobState.RUNNING, JobState.RUNNING),
                ).fetchone()
            )

    def sent(self, number: int, cell: str) -> None:
        """Note the message id of a job's cell."""
        with self._file.transaction() as db:
            db.execute("UPDATE jobs SET cell = ? WHERE id = ?", (cell, number))

    def end(self, number: int, state: JobState, note: str = "", at: float | None = None) -> None:
        """Note what became of a job; who comes first is right."""
        with self._file.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, note = ?, ended = ? WHERE id = ? AND state = ?",
                (state, _plain(note), at or time.time(), number, JobState.RUNNING),
            )

    def forget(self, number: int) -> None:
        """Remove a job from the list."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (number,))


def _row(row: tuple[Any, ...] | sqlite3.Row) -> JobRow:
    *known, state, note, final = row
    if state == JobState.RUNNING and final != 0:
        state, note = JobState.LOST, "its machine has ended"
    values = *known, JobState(state), note
    return JobRow(*values)


def _plain(text: str) -> str:
    # a file name that is no UTF-8 has characters that SQLite refuses
    return text.encode("utf-8", "backslashreplace").decode()
