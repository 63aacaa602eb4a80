"""Buckets as the server's clients see them: mounted on machines, and read from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..storage.browse import entries, open_file
from ..storage.faults import explain
from ..storage.urls import parse_bucket

_MOST = 2000
"""Entries of a folder that are listed."""
_CHUNK = 256 * 1024
"""Bytes that are read at a time."""


def mount_view(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mount, as the agent tells of it, as the schema has it."""
    return {
        "url": state["url"],
        "path": state["path"],
        "read_only": bool(state["read_only"]),
        "up": bool(state["up"]),
        "why": explain(state["error"] or state["why"] or ""),
        "unsent": state["count"],
        "unsent_bytes": state["bytes"],
        "names": list(state["names"]),
        "open": list(state["open"]),
        "expires_at": state["expires"] or None,
    }


def folder_view(url: str) -> dict[str, Any]:
    """Return what is in a folder of a bucket, folders first.

    Raises:
        ConfigurationError: It is no bucket, or a library is missing.
        StorageError: It can't be read.
    """
    bucket = parse_bucket(url)
    found = sorted(entries(bucket), key=lambda entry: (not entry.is_folder, entry.name))
    below = str(bucket) if str(bucket).endswith("/") else f"{bucket}/"
    return {
        "url": str(bucket),
        "entries": [
            {
                "name": entry.name,
                "url": below + entry.name,
                "folder": entry.is_folder,
                "size": None if entry.is_folder else entry.size,
                "changed_at": entry.changed,
            }
            for entry in found[:_MOST]
        ],
        "more": max(0, len(found) - _MOST),
    }


@dataclass(frozen=True)
class Download:
    """A file on its way to a client; whoever has it closes it."""

    name: str
    size: int
    file: BinaryIO

    @classmethod
    def open(cls, url: str) -> Download:
        """Open a file of a bucket.

        Raises:
            ConfigurationError: It is no bucket, or a library is missing.
            StorageError: It can't be read, or is a folder.
        """
        bucket = parse_bucket(url)
        size, file = open_file(bucket)
        return cls(bucket.prefix.rpartition("/")[2], size, file)

    def read(self) -> bytes:
        """Return the next bytes; none at its end."""
        return self.file.read(_CHUNK)
