"""Which files below a folder are being written: held open, or mapped, by a process of this user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def open_for_writing(folder: str) -> list[str]:
    """Return the names of what is below `folder` and may still be written to."""
    below, found = folder.rstrip("/") + "/", set[str]()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                found.update(_open(process, below))
                found.update(_mapped(process, below))
    return sorted(found)


def _open(process: Path, below: str) -> Iterator[str]:
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith(below) and _writes(process / "fdinfo" / descriptor.name):
                yield target[len(below) :].removesuffix(" (deleted)")


def _writes(fdinfo: Path) -> bool:
    words = dict(line.split(":", 1) for line in fdinfo.read_text().splitlines() if ":" in line)
    return bool(int(words["flags"], 8) & os.O_ACCMODE)


def _mapped(process: Path, below: str) -> Iterator[str]:
    text = (process / "maps").read_text(errors="surrogateescape")
    if below in text:
        for line in text.splitlines():
            words = line.split(None, 5)
            if len(words) == 6 and words[5].startswith(below) and words[1].startswith("rw-s"):
                yield words[5][len(below) :].removesuffix(" (deleted)")
