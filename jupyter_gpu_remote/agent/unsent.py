"""Which files of a mount are not in its bucket, as rclone keeps it on disk: what its cache calls dirty.

rclone's queue is not enough: Linux tells rclone of the end of a file a moment after whoever wrote it goes on,
and only then does the file wait in the queue. Dirty it is from the first byte on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TRIES = 5
_PAUSE = 0.002
_SLACK_NS = 10**9
"""A file that changed so little before the last look may have changed after it."""


class Unsent:
    """The dirty files of one cache; only what changed since the last look is read.

    Args:
        folder: Where rclone keeps what it knows of each file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dirty: dict[str, int] = {}
        self._since = 0

    def look(self) -> dict[str, int]:
        """Return names and sizes of what is not in the bucket."""
        began, found = time.time_ns(), dict[str, int]()
        for entry in _files(self._folder):
            with suppress(OSError):  # gone meanwhile
                name = os.path.relpath(entry.path, self._folder)
                if entry.stat().st_mtime_ns > self._since - _SLACK_NS:
                    size = _size_if_dirty(Path(entry.path))
                    if size is not None:
                        found[name] = size
                elif name in self._dirty:
                    found[name] = self._dirty[name]
        self._dirty, self._since = found, began
        return found


def _size_if_dirty(file: Path) -> int | None:
    """Return the size of what a file of the cache tells of, None where that is in the bucket."""
    for _ in range(_TRIES):
        try:
            known = json.loads(file.read_bytes())
            return int(known["Size"]) if known["Dirty"] else None
        except (ValueError, KeyError):  # rclone empties it before it writes it anew
            time.sleep(_PAUSE)
    return 0  # as long as nobody knows it is not there


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    folders = [str(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry
