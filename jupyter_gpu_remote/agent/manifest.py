"""What both ends say to each other about a folder.

Names are `str` with surrogate escapes, so any bytes survive; their parts are joined by ``/``.
"""

from __future__ import annotations

import json
import posixpath
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PRIVATE = ".jupyter_gpu_remote"
"""Our own folder inside the user's: for good on the machine, here only while files come in."""

INCOMING = f"{PRIVATE}/incoming"

OUTPUTS = f"{PRIVATE}/outputs"
"""Where, in a bucket with a copy of the folder, the journals of the kernels lie that work in it."""

NEVER = frozenset({".git", ".ipynb_checkpoints", "__pycache__", "node_modules", PRIVATE})
"""Names that never sync, whatever the rules say."""

Outer = Sequence[tuple[str, str]]
"""Rules from above the folder: the way from theirs down to it, and their text as latin-1."""


Content = dict[str, tuple[int, str]]
"""Small files: mode, and content in base 64."""


class Entry(NamedTuple):
    """What is known of one path; two equal ones hold the same.

    `kind` is "f" (file), "d" (folder) or "l" (link). `size` is in bytes. A folder has a kind alone.
    """

    kind: str
    size: int = 0
    mtime_ns: int = 0
    executable: bool = False
    target: str = ""


@dataclass
class Manifest:
    """What a folder holds.

    Attributes:
        entries: What syncs, by path relative to the folder.
        refused: What is there and cannot sync, with the reason; nothing is known of what is below.
        skipped: Virtual environments; nothing is known of what is below.
        ident: Another one when the folder on the machine is not the one it was.
        free: Bytes that can still come in, those of an interrupted transfer included.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    ident: str = ""
    free: int = 0


@dataclass
class Changes:
    """What a folder is to do, each with the entry that must be there for it to happen.

    Attributes:
        rename: Paths with their new names.
        remove: Paths.
        make: Paths with what they become, and what they are now.
        content: Those files of `make` that are not in `INCOMING`.
    """

    rename: dict[str, tuple[str, Entry]] = field(default_factory=dict)
    remove: dict[str, Entry] = field(default_factory=dict)
    make: dict[str, tuple[Entry, Entry | None]] = field(default_factory=dict)
    content: Content = field(default_factory=dict)


@dataclass
class Applied:
    """What came of `Changes`: each path as it is now, or why it was left alone."""

    now: dict[str, Entry | None] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def pack(what: Any) -> bytes:
    """Return `what` as compressed JSON; dataclasses become objects, entries become lists."""
    plain = what if isinstance(what, (dict, list)) else vars(what)
    return zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 1)


def unpack(data: bytes) -> Any:
    """Return what `pack` was given, as plain lists and dicts."""
    return json.loads(zlib.decompress(data))


def manifest_from(data: bytes) -> Manifest:
    """Return a packed manifest, leaving out what must not be made here.

    The other end is not trusted with paths: whatever would be written outside the folder is refused.
    """
    found = Manifest(**unpack(data))
    found.entries = {path: Entry(*entry) for path, entry in found.entries.items()}
    for path in sorted(found.entries):
        entry = found.entries[path]
        above = found.entries.get(posixpath.dirname(path))
        if not _harmless(path) or entry.kind not in "dfl" or (above and above.kind != "d"):
            del found.entries[path]
            found.refused[path] = "not a name that can be in this folder"
        elif entry.kind == "l" and leads_outside(path, entry.target):
            del found.entries[path]
            found.refused[path] = "a link that leads outside the folder"
    return found


def changes_from(data: bytes) -> Changes:
    """Return packed changes."""
    plain = unpack(data)
    return Changes(
        {p: (new, Entry(*e)) for p, (new, e) in plain["rename"].items()},
        {p: Entry(*e) for p, e in plain["remove"].items()},
        {p: (Entry(*e), old and Entry(*old)) for p, (e, old) in plain["make"].items()},
        plain["content"],
    )


def applied_from(data: bytes) -> Applied:
    """Return what came of changes, unpacked."""
    plain = unpack(data)
    return Applied({p: e and Entry(*e) for p, e in plain["now"].items()}, plain["refused"])


def leads_outside(path: str, target: str) -> bool:
    """Return whether a link at `path` that says `target` leaves the folder."""
    if target.startswith("/") or Path(target).is_absolute():
        return True
    end = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return end == ".." or end.startswith("../")


def _harmless(path: str) -> bool:
    parts = path.split("/")
    return not ("\0" in path or Path(path).is_absolute() or {"", ".", "..", *NEVER} & set(parts))
