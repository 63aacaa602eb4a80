"""One end of the notebook folder: what is in it that syncs, and how changes are put in place.

The same code runs here and on the machine. What travels is first moved into `INCOMING` by somebody else;
`Folder.apply` then swaps it in by renaming, and only where what is to go is still what the caller knew.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .changes import Placing, Refused, entry_of
from .ignore import Rules, is_ignored, rules_in
from .manifest import (
    INCOMING,
    NEVER,
    PRIVATE,
    Applied,
    Changes,
    Content,
    Entry,
    Manifest,
    Outer,
    changes_from,
    pack,
    unpack,
)
from .watch import Watch

_NEVER = frozenset(map(os.fsencode, NEVER))
_ENVIRONMENT_MARKS = frozenset({b"pyvenv.cfg", b"conda-meta"})


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

    def changed(self) -> bool:
        """Return whether it may hold something else than at the last `scan`."""
        return self.watch is None or self.watch.changed()

    def scan(self, outer: Outer = ()) -> Manifest:
        """Return what the folder holds.

        Raises:
            OSError: The folder itself cannot be listed.
        """
        found = Manifest(ident=self.ident())
        if self.watch:
            self.watch.reset()
        device = os.stat(self.root).st_dev
        todo = [(b"", [(os.fsencode(way), 0, Rules(text.encode("latin-1"))) for way, text in outer])]
        while todo:
            folder, rules = todo.pop()
            path = os.path.join(self.root, folder) if folder else self.root
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
                        found.entries[name] = entry_of(name, item.path, item.stat(follow_symlinks=False))
                    except Refused as e:
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

    def read(self, paths: Iterable[str]) -> Content:
        """Return small files whole; those that cannot be read are left out."""
        found: Content = {}
        for path in paths:
            with suppress(OSError), open(self._full(path), "rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                found[path] = mode, base64.b64encode(file.read()).decode()
        return found

    def apply(self, changes: Changes) -> Applied:
        """Put changes in place: renames, then removals, then what is new; what came in is used up."""
        placing = Placing(self.root)
        done = placing.run(changes)
        if self.watch:
            # a folder is not pardoned: a new one has yet to be watched
            own = {self._full(p): (p, now) for p, now in done.now.items() if not now or now.kind != "d"}
            self.watch.pardon(own, lambda: all(placing.entry(p) == now for p, now in own.values()))
        shutil.rmtree(self._full(INCOMING if self.create else PRIVATE), ignore_errors=True)
        return done

    def ident(self) -> str:
        """Return what tells this folder from another one of its path; empty on the user's end."""
        if not self.create:
            return ""
        os.makedirs(self._full(INCOMING), exist_ok=True)
        mark = self._full(f"{PRIVATE}/id")
        with suppress(FileExistsError), open(mark, "x") as file:
            file.write(uuid.uuid4().hex)
        with open(mark) as file:
            return file.read()

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
    if question == "read":
        return pack(folder.read(unpack(data)))
    return pack(folder.apply(changes_from(data)))


def _listing(folder: bytes, device: int) -> list[os.DirEntry[bytes]]:
    with os.scandir(folder) as entries:
        if os.lstat(folder).st_dev != device:
            raise OSError(errno.EXDEV, "another file system is mounted there")
        return list(entries)
