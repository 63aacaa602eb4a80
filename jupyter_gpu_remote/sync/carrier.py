"""The content of files on its way from one side to the other, as fast as can be had here."""

from __future__ import annotations

from pathlib import Path

from ..agent.folder import Folder
from ..agent.manifest import Content
from ..errors import SyncError
from ..transport.base import Transport
from .movers import Files, Mover, NoRsyncError, Progress, Rsync, Tar, rsync_here
from .report import RemoteFolder, size

SMALL = 500_000
SMALL_FILES = 100
"""So many bytes in so many files ride with the changes themselves: one round trip, where rsync takes five."""


class Carrier:
    """Carries files between one local folder and its copy on one machine.

    Args:
        transport: The way there.
        root: The folder here.
        remote_root: Absolute path of the folder there.
        progress: Told bytes done, bytes in all and what is going on.
    """

    def __init__(self, transport: Transport, root: Path, remote_root: str, progress: Progress) -> None:
        self._way = (transport, root, remote_root, progress)
        self._mover: Mover | None = None

    def carry(self, outward: bool, entries: Files, source: Folder | RemoteFolder, free: int) -> Content:
        """Bring files across, to where `apply` looks for them; return the content of few that are small.

        Args:
            outward: Whether to the machine.
            entries: They, as they are in the source; what is no file among them needs no carrying.
            source: The folder that has them.
            free: Bytes that there is room for on the other side.

        Raises:
            SyncError: There is not enough room.
            ConnectionLostError: The connection broke.
        """
        files = {path: entry for path, entry in entries.items() if entry.kind == "f"}
        need = sum(entry.size for entry in files.values())
        if need > free:
            raise SyncError(
                f"{size(need)} have to be copied, and the disk {'there' if outward else 'here'} has "
                f"{size(free)} free.",
                hint="Make room, or name what need not travel in .gpuignore.",
            )
        if files and need <= SMALL and len(files) <= SMALL_FILES:
            return source.read(files)
        if files:
            self._move(outward, files)
        return {}

    def _move(self, outward: bool, files: Files) -> None:
        if self._mover is None:
            rsync = rsync_here() and self._way[0].rsync_shell is not None
            self._mover = (Rsync if rsync else Tar)(*self._way)
        try:
            (self._mover.push if outward else self._mover.pull)(files)
        except NoRsyncError:
            self._mover = Tar(*self._way)
            self._move(outward, files)
