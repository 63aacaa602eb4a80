"""Dask's dashboard in a browser here: an address of this computer that leads to it, through SSH."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import PurePosixPath

from .crossing import join
from .errors import JobError, TransportError
from .machine import LiveMachine
from .notebook import Notebook

_NEWEST = 'ls -t -d "$1"/dask-*'
_open: dict[str, int] = {}
"""The ports of this computer that lead to dashboards, by where those are."""


def dashboard(notebook: Notebook) -> str:
    """Return the address of the dashboard of the newest cluster on a notebook's machine.

    It works as long as this process runs.

    Raises:
        JobError: There is no cluster.
    """
    live = notebook.live
    sockets = str(PurePosixPath(live.machine.agent_socket).parent) if live else ""
    found = (
        live.transport.run(["sh", "-c", _NEWEST, "sh", sockets]).stdout.decode().splitlines() if live else []
    )
    if not live or not found:
        raise JobError(
            "There is no Dask cluster on this notebook's machine.",
            hint="A cell that calls remote_client() starts one.",
        )
    where = f"{live.machine.name} {found[0]}"
    if where not in _open:
        _open[where] = _serve(live, found[0])
    return f"http://127.0.0.1:{_open[where]}/status"


def _serve(live: LiveMachine, path: str) -> int:
    """Listen on this computer alone, and have every connection lead to a socket of the machine."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            here, _ = listener.accept()
            threading.Thread(target=_join, args=(here, live, path), name="dashboard", daemon=True).start()

    threading.Thread(target=accept, name="dashboard", daemon=True).start()
    return int(listener.getsockname()[1])


def _join(here: socket.socket, live: LiveMachine, path: str) -> None:
    with contextlib.closing(here), contextlib.suppress(OSError, TransportError):
        there = live.transport.connect_unix(path)
        with contextlib.closing(there):
            join(here, there)
