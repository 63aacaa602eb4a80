"""What an rclone that was killed leaves in its cache, put right before the next one reads it.

Of each file rclone keeps a note: which parts are here, and whether it is dirty. It empties a note before it
writes it anew, and throws a file away whose note can't be read. And it notes only when a file is closed what
was written to it: of a dirty file that was open it would fetch from the bucket what stood there before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_RECENT = 60.0
"""Seconds between the last change of a file and that of its note, where the file was written to, not read."""


def recover(cache: Path) -> None:
    """Have the notes of dirty files say what is in these files.

    A file whose note is lost counts as dirty if all of it is here and new: rather is one brought to its
    bucket again that was fetched from there a moment ago than one lost that was written.

    Args:
        cache: What an rclone that is dead was given as ``--cache-dir``.
    """
    for file in _files(cache / "vfs"):
        note = cache / "vfsMeta" / file.relative_to(cache / "vfs")
        with suppress(OSError):  # without a note there was nothing in it yet
            facts = file.stat()
            known = _known(note)
            lost = known is None
            if lost and abs(note.stat().st_mtime - facts.st_mtime) < _RECENT and _is_whole(file):
                at = datetime.fromtimestamp(facts.st_mtime, timezone.utc).isoformat()
                known = {"ModTime": at, "ATime": at, "Size": 0, "Rs": [], "Fingerprint": "", "Dirty": True}
            if known and known["Dirty"] and (lost or facts.st_size > known["Size"]):
                added = {"Pos": known["Size"], "Size": facts.st_size - known["Size"]}
                known["Rs"] = [*(known["Rs"] or ()), *([added] if added["Size"] else ())]
                known["Size"] = facts.st_size
                new = cache / "note"
                new.write_text(json.dumps(known))
                new.replace(note)


def _known(note: Path) -> dict[str, Any] | None:
    """Return what a note says, None where it can't be read."""
    try:
        known = json.loads(note.read_bytes())
    except ValueError:
        return None
    return known if isinstance(known, dict) and "Dirty" in known else None


def _is_whole(file: Path) -> bool:
    """Return whether all of a file is here: what rclone has not fetched of one is a hole."""
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        return not size or os.lseek(opened.fileno(), 0, os.SEEK_HOLE) == size


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
