"""Who works on a machine now: a lease in the registry's file, which ends with its process."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress

from .errors import ConflictError, RegistryError
from .owner import Owner
from .statefile import StateFile

SCHEMA = (
    "CREATE TABLE leases (name TEXT PRIMARY KEY, fence INTEGER NOT NULL, host TEXT NOT NULL,"
    " pid INTEGER NOT NULL, started REAL NOT NULL, expires REAL NOT NULL)"
)


class Lease:
    """The right to work on one machine, until it is released, expires or its process ends."""

    def __init__(self, file: StateFile, name: str, fence: int) -> None:
        self.name, self.fence, self._file = name, fence, file

    def renew(self, seconds: float) -> None:
        """Keep it for `seconds` from now; raise `ConflictError` when it is lost."""
        with self._file.transaction() as db:
            self.check(db)
            db.execute("UPDATE leases SET expires = ? WHERE name = ?", (time.time() + seconds, self.name))

    def release(self) -> None:
        """Give it back; no effect when it is lost."""
        with self._file.transaction() as db:
            db.execute(
                "UPDATE leases SET fence = fence + 1, expires = 0 WHERE name = ? AND fence = ?",
                (self.name, self.fence),
            )

    def check(self, db: sqlite3.Connection) -> None:
        """Raise `ConflictError` unless it is still ours, within the transaction of `db`."""
        if db.execute("SELECT fence FROM leases WHERE name = ?", (self.name,)).fetchone() != (self.fence,):
            raise ConflictError(f"Another process took over {self.name!r} while this one was busy.")

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(RegistryError):  # it would hide what went wrong; the lease ends by itself
            self.release()


def take(file: StateFile, name: str, seconds: float) -> Lease:
    """Take the lease on `name`; raise `ConflictError` when a live process holds it."""
    me, now = Owner.me(), time.time()
    with file.transaction() as db:
        row = db.execute(
            "SELECT fence, host, pid, started, expires FROM leases WHERE name = ?", (name,)
        ).fetchone()
        if row and row[4] > now and not (owner := Owner(*row[1:4])).dead():
            raise ConflictError(
                f"Another process is working on {name!r}: {owner}.",
                hint="Wait until it is done, or end that process.",
            )
        fence = row[0] + 1 if row else 1
        db.execute(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)",
            (name, fence, me.host, me.pid, me.started, now + seconds),
        )
    return Lease(file, name, fence)


def owner(db: sqlite3.Connection, name: str) -> Owner | None:
    """Return the live process that holds the lease on `name`."""
    columns = "SELECT host, pid, started FROM leases"
    row = db.execute(f"{columns} WHERE name = ? AND expires > ?", (name, time.time())).fetchone()
    found = Owner(*row) if row else None
    return found if found and not found.dead() else None
