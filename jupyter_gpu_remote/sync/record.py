"""What both folders held at their last sync, on disk, and who may change it now."""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..agent.manifest import Entry, pack, unpack
from ..errors import SyncError
from .plan import Pair

WAIT = 600.0
"""Seconds to wait for another process that syncs the same folder."""


class Record:
    """The base of the three-way comparison, kept in one file.

    A file that is missing or cannot be read is no base: both sides are then compared by content.

    Args:
        file: Where; its folder must exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp = (0, 0)
        self._saved = ""
        self.ident = ""
        self.pairs: dict[str, Pair] = {}
        self.touched = False

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the record alone; yields whether another process changed it since; saves at the end.

        Raises:
            SyncError: Another process held it for too long.
        """
        with _locked(self._file.with_name(self._file.name + ".lock")):
            changed = self._stamp != self._stat()
            if changed:
                self._load()
            try:
                yield changed
            finally:
                if self.touched:
                    self._save()

    def begin(self, ident: str) -> None:
        """Start over when the folder on the machine is not the one on record."""
        if ident != self.ident:
            self.ident = ident
            self.forget()

    def forget(self) -> None:
        """Take nothing for granted: whatever differs is then new, never deleted."""
        self.pairs = {}
        self.touched = True

    def set(self, path: str, here: Entry | None, there: Entry | None) -> None:
        """Note that both sides are in step at `path`."""
        self.touched = True
        if here is None and there is None:
            self.pairs.pop(path, None)
        else:
            self.pairs[path] = (here, there)

    def _stat(self) -> tuple[int, int]:
        with suppress(OSError):
            status = self._file.stat()
            return status.st_mtime_ns, status.st_ino
        return 0, 0

    def _load(self) -> None:
        self.ident, self.pairs = "", {}
        with suppress(OSError, ValueError, KeyError, TypeError, zlib.error):
            plain = unpack(self._file.read_bytes())
            pairs: dict[str, Pair] = {}
            for path, pair in plain["pairs"].items():
                here, *there = [e and Entry(*e) for e in pair]
                pairs[path] = (here, there[0] if there else here)
            self.ident, self.pairs = plain["ident"], pairs
        self._stamp = self._stat()
        self.touched = False

    def _save(self) -> None:
        # most paths are the same on both sides: say it once
        pairs = {p: (h,) if h == t else (h, t) for p, (h, t) in self.pairs.items()}
        new = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pack({"ident": self.ident, "pairs": pairs}))
        new.replace(self._file)
        self._stamp = self._stat()
        self.touched = False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    end = time.monotonic() + WAIT
    with path.open("a+b") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > end:
                raise SyncError(
                    f"Another process has been syncing this folder for over {WAIT:.0f} s.",
                    hint="Wait for it, or end it; nothing is lost by that.",
                )
            time.sleep(0.05)
        try:
            yield
        finally:
            if sys.platform == "win32":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)


def _try_lock(fd: int) -> bool:
    """Lock an open file, until it is closed or its process ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, 0, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
