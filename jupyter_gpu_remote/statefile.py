"""One SQLite file shared by threads and processes, any of which may be killed at any moment."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RegistryError

BUSY_LIMIT = 10.0
"""Seconds to wait for another process in the middle of a change."""

# A forked child must not use its parent's connections, and closing one would drop the parent's locks.
_inherited: list[sqlite3.Connection] = []


class StateFile:
    """The file, opened on first use and readable by its owner alone.

    Args:
        path: Where it is; its folder is made when needed.
        migrations: For each version, the statements that lead to it from the one before. The version of
            a file (``PRAGMA user_version``) is how many it has been through: append, never edit.
    """

    def __init__(self, path: Path, migrations: Sequence[Sequence[str]]) -> None:
        self.path = path
        self._migrations = migrations
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._inode = (0, 0)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file for writing; everything done becomes visible together, or nothing does.

        Raises:
            RegistryError: The file cannot be used; the message says why.
        """
        with self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to this thread for reading; errors as in `transaction`."""
        if self._pid != os.getpid():  # forked: nobody here will ever release the old lock
            _inherited.extend(filter(None, [self._db]))
            self._pid, self._lock, self._db = os.getpid(), threading.RLock(), None
        with self._lock:
            try:
                yield self._current()
            except (sqlite3.Error, OSError) as e:
                raise _explain(e, self.path) from e

    def close(self) -> None:
        """Close it; the next use opens it again."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def _current(self) -> sqlite3.Connection:
        if not self.path.exists():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # before SQLite does: it gives the files beside it the permissions of this one
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        stat = self.path.stat()
        inode = (stat.st_dev, stat.st_ino)
        if self._db is None or inode != self._inode:  # or the user moved the file away under us
            self.close()
            self._db, self._inode = self._open(), inode
        return self._db

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_LIMIT, isolation_level=None, check_same_thread=False)
        try:
            _use_wal(db)
            # a commit survives the process; after a power cut the clouds' tags tell what is missing
            db.execute("PRAGMA synchronous = NORMAL")
            if _version(db) != len(self._migrations):
                self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = _version(db)  # another process may have been faster
            if version > len(self._migrations):
                raise RegistryError(
                    f"The state file {self.path} was written by a newer version of jupyter_gpu_remote.",
                    hint="Update it here too: pip install -U jupyter_gpu_remote",
                )
            for statements in self._migrations[version:]:
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(self._migrations)}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _use_wal(db: sqlite3.Connection) -> None:
    # SQLite does not wait for others while it changes the journal mode, so this does
    end = time.monotonic() + BUSY_LIMIT
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as e:  # one turn, but for a race at the first use
            if "locked" not in str(e) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def corrupt(path: Path, why: object) -> RegistryError:
    """Return the error for a file with nonsense in it."""
    return RegistryError(
        f"The state file {path} is damaged: {why}.",
        hint=f"End every notebook that uses it and move {path}* to another folder. A new file is then"
        " made, and `jupyter gpu-remote reap` ends the machines that only the old one knew.",
        billed="Machines listed in it may still run; look in your cloud's console.",
    )


def _explain(error: sqlite3.Error | OSError, path: Path) -> RegistryError:
    text = str(error)
    if "locked" in text:
        return RegistryError(
            f"Another process has held the state file {path} for more than {BUSY_LIMIT:.0f} s.",
            hint="Try again; if it stays, end the process that has the file open.",
        )
    if "malformed" in text or "not a database" in text:
        return corrupt(path, text)
    if "full" in text or "disk I/O" in text:
        return RegistryError(
            f"The state file {path} cannot be written: {text}.",
            hint="Make room on that disk, then try again.",
        )
    return RegistryError(
        f"The state file {path} cannot be used: {text}.",
        hint="Make that path writable for you, or set JUPYTER_GPU_REMOTE_DIR to a folder that is.",
    )
