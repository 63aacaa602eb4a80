"""The way of variables between a namespace here and a kernel on a machine."""

from __future__ import annotations

import functools
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from .config import GpuRemote
from .exchange import Exchange
from .exchange.ledger import Ledger
from .kernel import RemoteKernel
from .machine import LiveMachine
from .registry import Registry
from .removal import blob_folder
from .synced import Requests

if TYPE_CHECKING:
    from .exchange.blobs import Blobs


def _missing(agent: Requests, blobs: list[str]) -> list[str]:
    """Ask the agent which blobs the machine lacks."""
    return list(agent.request("missing", blobs=blobs))


def exchange_with(
    live: LiveMachine,
    kernel: RemoteKernel,
    cwd: str,
    registry: Registry,
    config: GpuRemote,
    progress: Callable[[int, int, str], None],
    namespace: MutableMapping[str, Any],
    ledger: Ledger,
) -> Exchange:
    """Return what moves the variables of `namespace` to and from a kernel that works in the folder `cwd`."""
    folder, key = kernel.store

    def open_blobs() -> Blobs:
        from .exchange.blobs import Blobs
        from .variables.store import Store

        here = Store(blob_folder(live.machine.name), key)
        missing = functools.partial(_missing, kernel)
        patience = config.reconnect_timeout
        return Blobs(live.transport, live.machine.python, folder, missing, here, progress, patience)

    def distrusted() -> str:
        machine = registry.get(live.machine.name)
        if machine.provider != "ssh" or machine.trusted:
            return ""
        return f"{machine.name} was not made here: taking variables from it would run here what it sends."

    return Exchange(namespace, ledger, open_blobs, folder, key, cwd, live.bring_uv, distrusted)
