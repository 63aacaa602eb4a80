"""One end of the notebook folder: what is in it that syncs, and how changes are put in place.

The same code runs here and on the machine. What travels is first moved into `INCOMING` by somebody else;
`Folder.apply` then swaps it in by renaming, and only where what is to go is still what the caller knew.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from .ignore import Rules, is_ignored, rules_in
from .manifest import (
    INCOMING,
    NEVER,
    PRIVATE,
    Applied,
    Changes,
    Entry,
    Manifest,
    Outer,
    changes_from,
    leads_outside,
    pack,
    unpack,
)
from .watch import Watch

_NEVER = frozenset(map(os.fsencode, NEVER))
_ENVIRONMENT_MARKS = frozenset({b"pyvenv.cfg", b"conda-meta"})
IN_THE_WAY = "something else is there now: it has just changed, is ignored, or differs in case alone"


class _Refused(Exception):
    """This path stays as it is; says why."""


class Folder:
    """One folder on this disk.

    Args:
        root: Where it is.
        watch: Told which folders matter each time they are listed.
        create: Make the folder when it is missing, and give it an identity (the machine's end).
    """

    def __init__(self, root: Path, watch: Watch | None = None, *, create: bool = False) -> None:
        self.root = os.fsencode(root)
        self.watch = watch
        self.create = create
        self._real: set[str] = set()

    def changed(self) -> bool:
        """Return whether it may hold something else than at the last `scan`."""
        return self.watch is None or self.watch.changed()

    def scan(self, outer: Outer = ()) -> Manifest:
        """Return what the folder holds.

        Raises:
            OSError: The folder itself cannot be listed.
        """
        found = Manifest(ident=self._ident())
        if self.watch:
            self.watch.reset()
        device = os.stat(self.root).st_dev
        todo = [(b"", [(os.fsencode(way), 0, Rules(text.encode("latin-1"))) for way, text in outer])]
        while todo:
            folder, rules = todo.pop()
            path = os.path.join(self.root, folder)
            if self.watch:
                self.watch.enter(path)
            try:
                listing = _listing(path, device)
            except OSError as e:
                if not folder:
                    raise
                if not isinstance(e, (FileNotFoundError, NotADirectoryError)):
                    found.refused[os.fsdecode(folder)] = e.strerror or str(e)
                continue
            names = {e.name for e in listing}
            if folder:
                if not names.isdisjoint(_ENVIRONMENT_MARKS):
                    found.skipped.append(os.fsdecode(folder))
                    continue
                found.entries[os.fsdecode(folder)] = Entry("d")
            if text := rules_in(path, names):
                rules = [*rules, (b"", len(folder) + 1 if folder else 0, Rules(text))]
            for item in listing:
                relative = folder + b"/" + item.name if folder else item.name
                is_dir = item.is_dir(follow_symlinks=False)
                if item.name in _NEVER or is_ignored(rules, relative, item.name, is_dir):
                    continue
                if is_dir:
                    todo.append((relative, rules))
                    continue
                name = os.fsdecode(relative)
                with suppress(FileNotFoundError):
                    try:
                        found.entries[name] = _entry(name, item.path, item.stat(follow_symlinks=False))
                    except _Refused as e:
                        found.refused[name] = str(e)
        found.free = self.free()
        return found

    def free(self) -> int:
        """Return how many bytes can still come in, those of an interrupted transfer included."""
        under_way = 0
        for folder, _, names in os.walk(self._full(INCOMING)):
            under_way += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        return shutil.disk_usage(self.root).free + under_way

    def digest(self, paths: Iterable[str]) -> dict[str, str]:
        """Return a hash of the content of each file; those that cannot be read are left out."""
        found = {}
        for path in paths:
            digest = hashlib.blake2b(digest_size=20)
            with suppress(OSError), open(self._full(path), "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                found[path] = digest.hexdigest()
        return found

    def apply(self, changes: Changes) -> Applied:
        """Put changes in place: renames, then removals, then what is new; what came in is used up."""
        self._real.clear()
        done = Applied()
        for path, (new, expected) in changes.rename.items():
            self._change(done, path, expected, partial(self._rename, path, new))
        for path in sorted(changes.remove, reverse=True):
            self._change(done, path, changes.remove[path], partial(self._remove, path))
        for path in sorted(changes.make):
            entry, known = changes.make[path]
            self._change(done, path, known, partial(self._make, path, entry), entry)
        shutil.rmtree(self._full(INCOMING if self.create else PRIVATE), ignore_errors=True)
        return done

    def _ident(self) -> str:
        if not self.create:
            return ""
        os.makedirs(self._full(INCOMING), exist_ok=True)
        mark = self._full(f"{PRIVATE}/id")
        with suppress(FileExistsError), open(mark, "x") as file:
            file.write(uuid.uuid4().hex)
        with open(mark) as file:
            return file.read()

    def _change(
        self,
        done: Applied,
        path: str,
        expected: Entry | None,
        act: Callable[[Entry | None], None],
        wanted: Entry | None = None,
    ) -> None:
        try:
            now = self._entry(path)
            if now != expected and (wanted is None or now != wanted):
                raise _Refused(IN_THE_WAY)
            act(now)
            done.now[path] = self._entry(path)
        except _Refused as e:
            done.refused[path] = str(e)
        except OSError as e:
            done.refused[path] = e.strerror or str(e)

    def _entry(self, path: str) -> Entry | None:
        if not self._parents_are_real(path):
            return None
        full = self._full(path)
        try:
            return _entry(path, full, os.lstat(full))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _rename(self, path: str, new: str, now: Entry | None) -> None:
        self._real.clear()
        if os.path.lexists(self._full(new)):
            raise _Refused(f"{new} is there already")
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
            raise _Refused("a file or a link is where its folder should be")
        full, incoming = self._full(path), self._full(f"{INCOMING}/{path}")
        if entry.kind == "f":
            _finish(incoming, entry)
        if now and now.kind == "d":
            self._real.clear()
            try:
                os.rmdir(full)
            except OSError as e:
                raise _Refused("a folder that still holds other files is there") from e
        if entry.kind == "d":
            if now:
                os.unlink(full)
            os.mkdir(full)
            return
        if entry.kind == "l":
            os.makedirs(os.path.dirname(incoming), exist_ok=True)
            os.symlink(os.fsencode(entry.target), incoming)
        os.replace(incoming, full)

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
        return os.path.join(self.root, os.fsencode(path))


def answer(folder: Folder, question: str, data: bytes) -> bytes:
    """Answer what `sync.remote.AgentFolder` asks of the folder on the machine.

    Args:
        question: The name of a method of `Folder`.
        data: Its packed argument.

    Raises:
        OSError: The folder itself cannot be used.
    """
    if question == "scan":
        return pack(folder.scan(unpack(data)))
    if question == "digest":
        return pack(folder.digest(unpack(data)))
    return pack(folder.apply(changes_from(data)))


def _listing(folder: bytes, device: int) -> list[os.DirEntry[bytes]]:
    with os.scandir(folder) as entries:
        if os.lstat(folder).st_dev != device:
            raise OSError(errno.EXDEV, "another file system is mounted there")
        return list(entries)


def _entry(path: str, full: bytes, status: os.stat_result) -> Entry:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        if mode & 0o444 != 0o444 and not os.access(full, os.R_OK):
            raise _Refused("it may not be read")
        return Entry("f", status.st_size, status.st_mtime_ns, bool(mode & stat.S_IXUSR))
    if stat.S_ISDIR(mode):
        return Entry("d")
    if stat.S_ISLNK(mode):
        target = os.fsdecode(os.readlink(full))
        if leads_outside(path, target):
            raise _Refused(f"a link that leads outside the folder, to {target}")
        return Entry("l", target=target)
    raise _Refused("neither a file, a folder nor a link")


def _finish(incoming: bytes, entry: Entry) -> None:
    """Give a file that came in its times and mode, or refuse it when it is not what was sent for."""
    try:
        status = os.lstat(incoming)
    except FileNotFoundError:
        raise _Refused("it could not be read, or was gone, when its turn came") from None
    second = 10**9
    if not stat.S_ISREG(status.st_mode) or status.st_mtime_ns // second < entry.mtime_ns // second:
        raise _Refused("what arrived is not what was asked for")
    if status.st_mtime_ns // second == entry.mtime_ns // second:
        os.utime(incoming, ns=(entry.mtime_ns, entry.mtime_ns))
    mode = stat.S_IMODE(status.st_mode) & ~0o111
    # who may read may run
    os.chmod(incoming, mode | (mode & 0o444) >> 2 if entry.executable else mode)
