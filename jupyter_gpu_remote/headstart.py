"""A cell that begins as its kernel is attached, where nothing has to go there before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config import GpuRemote
from .exchange import Outgoing, alone
from .group import asks_for_others
from .kernel import Early, Execution, RemoteKernel
from .relay import Relay
from .sync import FolderSync

if TYPE_CHECKING:
    from .localside import LocalSide


class HeadStart:
    """What lets the next cell begin early.

    Args:
        relay: Shows its outputs.
        local: What the notebook has here.
        names: The notebook's variables.
    """

    def __init__(self, relay: Relay, local: LocalSide, names: dict[str, Any]) -> None:
        self._relay = relay
        self._local = local
        self._names = names
        self._next: tuple[str, GpuRemote, bool] | None = None
        self._early: tuple[Early, Outgoing] | None = None

    def aim(self, cell: str, config: GpuRemote, whole: bool) -> None:
        """Make this the next cell, until its execution is taken."""
        self._next = cell, config, whole

    def take(self) -> tuple[Execution, Outgoing] | None:
        """Return the execution of the next cell and what went with it, if it began; forget the cell."""
        started, self._next, self._early = self._early, None, None
        if started is None:
            return None
        early, outgoing = started
        if early.began:
            return early.execution, outgoing
        self._relay.end(early.execution)
        return None

    def offer(self, kernel: RemoteKernel, sync: FolderSync | None) -> Early | None:
        """Serve a new remote kernel; return the next cell if nothing has to go there before it."""
        self._relay.serve(kernel)
        if self._next is None:
            return None
        cell, config, whole = self._next
        if _takes_more(config) or self._local.wants.any(config.env):
            return None
        outgoing = alone(cell, self._names if config.auto_in else {})
        folder = sync.expects() if sync is not None and config.sync else None
        if outgoing is None or folder == "":
            return None
        early = kernel.early(cell, folder, allow_stdin=self._relay.can_ask, gpu_remote=outgoing.wish)
        self._early = early, outgoing
        self._relay.begin(early.execution, whole)
        return early


def _takes_more(config: GpuRemote) -> bool:
    brings = config.in_ or config.out or config.mount or config.out_dir
    return bool(brings or config.detach or config.sweep or asks_for_others(config))
