"""What a sync did, and what it asks of the other end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..agent.manifest import Applied, Changes, Content, Entry, Manifest, Outer


class RemoteFolder(Protocol):
    """The folder on the machine, as `agent.folder.Folder` is over there."""

    def scan(self, outer: Outer = ()) -> Manifest:
        """Return what it holds."""

    def digest(self, paths: Iterable[str]) -> dict[str, str]:
        """Return a hash of the content of each file that can be read."""

    def read(self, paths: Iterable[str]) -> Content:
        """Return small files whole; those that cannot be read are left out."""

    def apply(self, changes: Changes) -> Applied:
        """Put changes in place, files from `INCOMING`."""


@dataclass
class Report:
    """What a push or a pull did; paths as the folder has them.

    Attributes:
        sent: Files and links that went out.
        received: Files and links that came back.
        deleted: Removed on one side because they were removed on the other.
        kept: Deleted on one side, changed on the other, so still there.
        conflicts: Changed on both sides: the name that the remote one got.
        refused: What did not go, with the reason.
        bytes: Size of what was sent and received.
    """

    sent: list[str] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    conflicts: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.sent or self.received or self.deleted or self.conflicts or self.refused)

    def __str__(self) -> str:
        parts = [
            f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {done}"
            for paths, done in (
                (self.sent, "sent"),
                (self.received, "received"),
                (self.deleted, "deleted"),
                (self.conflicts, "changed on both sides"),
                (self.refused, "left out"),
            )
            if paths
        ]
        return ", ".join(parts) + (f" ({size(self.bytes)})" if self.bytes else "") if parts else "no change"

    def warnings(self) -> list[str]:
        """Return a line for everything that the user should know."""
        return [
            *(
                f"{show(path)} changed on both sides: yours stays, the machine's is {show(new)}"
                for path, new in self.conflicts.items()
            ),
            *(f"{show(path)} was deleted on one side and changed on the other: kept" for path in self.kept),
            *(f"{show(path)} is not synced: {why}" for path, why in sorted(self.refused.items())),
        ]


def show(path: str) -> str:
    """Return a name fit to be printed, whatever bytes are in it."""
    plain = path.isprintable() and path == path.strip()
    return (
        path if plain else repr(path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    )


def size(number: int) -> str:
    """Return a number of bytes as people write it."""
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value >= 1000:
            value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def sizes(paths: Iterable[str], entries: Mapping[str, Entry]) -> dict[str, int | None]:
    """Return the bytes of each path that is a file, and None for folders and what is gone; sorted."""
    found = {path: entries.get(path) for path in sorted(paths)}
    return {path: entry.size if entry and entry.kind != "d" else None for path, entry in found.items()}
