"""Changes to a folder, put in place one path at a time, each only if what is there is what was known."""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from .manifest import INCOMING, Applied, Changes, Entry, leads_outside

IN_THE_WAY = "something else is there now: it has just changed, is ignored, or differs in case alone"


class Refused(Exception):
    """This path stays as it is; says why."""


class Placing:
    """One run of changes.

    Args:
        root: The folder.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._real: set[str] = set()
        self._done = Applied()

    def run(self, changes: Changes) -> Applied:
        """Do the renames, then the removals, then make what is new."""
        for path, (new, expected) in changes.rename.items():
            self._change(path, expected, partial(self._rename, path, new))
        for path in sorted(changes.remove, reverse=True):
            self._change(path, changes.remove[path], partial(self._remove, path))
        for path in sorted(changes.make):
            entry, known = changes.make[path]
            if path in changes.content:
                self._unwrap(path, entry, *changes.content[path])
            self._change(path, known, partial(self._make, path, entry), entry)
        return self._done

    def entry(self, path: str) -> Entry | None:
        """Return what is at `path`, None for nothing; what is behind a link counts as nothing."""
        if not self._parents_are_real(path):
            return None
        full = self._full(path)
        try:
            return entry_of(path, full, os.lstat(full))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _change(
        self,
        path: str,
        expected: Entry | None,
        act: Callable[[Entry | None], None],
        wanted: Entry | None = None,
    ) -> None:
        try:
            now = self.entry(path)
            if now != expected and (wanted is None or now != wanted):
                raise Refused(IN_THE_WAY)
            act(now)
            self._done.now[path] = self.entry(path)
        except Refused as e:
            self._done.refused[path] = str(e)
        except OSError as e:
            self._done.refused[path] = e.strerror or str(e)

    def _rename(self, path: str, new: str, now: Entry | None) -> None:
        self._real.clear()
        if os.path.lexists(self._full(new)):
            raise Refused(f"{new} is there already")
        os.rename(self._full(path), self._full(new))

    def _remove(self, path: str, now: Entry | None) -> None:
        full = self._full(path)
        if now is None or now.kind != "d":
            os.unlink(full)
            return
        self._real.clear()
        try:
            os.rmdir(full)
        except OSError as e:
            # what it still holds does not sync, and keeps it in place
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def _make(self, path: str, entry: Entry, now: Entry | None) -> None:
        if now == entry:
            return
        if not self._parents_are_real(path, make=True):
            raise Refused("a file or a link is where its folder should be")
        full, incoming = self._full(path), self._full(f"{INCOMING}/{path}")
        if entry.kind == "f":
            _finish(incoming, entry)
        if now and now.kind == "d":
            self._real.clear()
            try:
                os.rmdir(full)
            except OSError as e:
                raise Refused("a folder that still holds other files is there") from e
        if entry.kind == "d":
            if now:
                os.unlink(full)
            os.mkdir(full)
            return
        if entry.kind == "l":
            os.makedirs(os.path.dirname(incoming), exist_ok=True)
            with suppress(FileNotFoundError):
                os.unlink(incoming)
            os.symlink(os.fsencode(entry.target), incoming)
        os.replace(incoming, full)

    def _unwrap(self, path: str, entry: Entry, mode: int, content: str) -> None:
        incoming = self._full(f"{INCOMING}/{path}")
        with suppress(OSError):  # what is not there afterwards is refused
            os.makedirs(os.path.dirname(incoming), exist_ok=True)
            with open(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
                file.write(base64.b64decode(content))
            os.utime(incoming, ns=(entry.mtime_ns, entry.mtime_ns))

    def _parents_are_real(self, path: str, make: bool = False) -> bool:
        """Return whether all folders above `path` are there and none is a link, which could lead outside."""
        parent = path.rpartition("/")[0]
        if not parent or parent in self._real:
            return True
        if not self._parents_are_real(parent, make):
            return False
        full = self._full(parent)
        if make:
            with suppress(FileExistsError):
                os.mkdir(full)
        with suppress(OSError):
            if stat.S_ISDIR(os.lstat(full).st_mode):
                self._real.add(parent)
                return True
        return False

    def _full(self, path: str) -> bytes:
        return os.path.join(self._root, os.fsencode(path))


def entry_of(path: str, full: bytes, status: os.stat_result) -> Entry:
    """Return the entry for `path`, found at `full` with `status`.

    Raises:
        Refused: It is nothing that syncs, or may not be read.
    """
    mode = status.st_mode
    if stat.S_ISREG(mode):
        if mode & 0o444 != 0o444 and not os.access(full, os.R_OK):
            raise Refused("it may not be read")
        return Entry("f", status.st_size, status.st_mtime_ns, bool(mode & stat.S_IXUSR))
    if stat.S_ISDIR(mode):
        return Entry("d")
    if stat.S_ISLNK(mode):
        target = os.fsdecode(os.readlink(full))
        if leads_outside(path, target):
            raise Refused(f"a link that leads outside the folder, to {target}")
        return Entry("l", target=target)
    raise Refused("neither a file, a folder nor a link")


def _finish(incoming: bytes, entry: Entry) -> None:
    """Give a file that came in its times and mode, or refuse it when it is not what was sent for."""
    try:
        status = os.lstat(incoming)
    except FileNotFoundError:
        raise Refused("it could not be read, or was gone, when its turn came") from None
    second = 10**9
    if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns // second < entry.mtime_ns // second:
        raise Refused("what arrived is not what was asked for")
    if status.st_mtime_ns // second == entry.mtime_ns // second:
        os.utime(incoming, ns=(entry.mtime_ns, entry.mtime_ns))
    mode = stat.S_IMODE(status.st_mode) & ~0o111
    # who may read may run
    os.chmod(incoming, mode | (mode & 0o444) >> 2 if entry.executable else mode)
