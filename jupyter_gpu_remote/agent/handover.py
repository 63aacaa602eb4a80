"""A newer agent takes over the kernels of the one that runs, and not a message is lost or doubled.

The new one subscribes to what each kernel publishes, tells the old one to hear no more requests, opens the
other sockets, and has each kernel publish a mark. The old one journals what comes before the mark and ends;
the new one journals what comes after.
"""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from . import wire
from .kernels import Kernel

_SUBSCRIBED = 0.5
"""Seconds to wait for a kernel to confirm that it publishes to us as well."""
_MARKED = 3.0
"""Seconds a kernel gets to publish its mark."""
_QUIET = 0.05
"""Seconds for replies that are still on their way to the old agent when it has."""


class Dialog:
    """A connection to an agent, for a few requests.

    Args:
        path: The socket it listens on.
        limit: Seconds it may take for an answer.

    Raises:
        OSError: Nobody listens there.
    """

    def __init__(self, path: str, limit: float) -> None:
        self._decoder = wire.Decoder()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(limit)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Dialog:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def ask(self, op: str, **arguments: Any) -> Any:
        """Put one request and return its answer.

        Raises:
            LookupError: The agent refused.
            OSError: It does not answer.
        """
        self._socket.sendall(wire.pack_json(wire.AGENT, {"op": op, "id": 1, **arguments}))
        while data := self._socket.recv(1 << 16):
            for record in self._decoder.feed(data):
                answer = json.loads(record.parts[0])
                if "error" in answer:
                    raise LookupError(answer["error"])
                return answer["result"]
        raise ConnectionError("the agent closed the connection")


def found_kernels(root: Path, sockets: Path) -> list[Kernel]:
    """Return the kernels of an earlier agent that still run; clean up after the others."""
    kernels = []
    for folder in sorted(root.glob("kernels/*/")):
        kernel = Kernel(folder.name, folder, sockets)
        if kernel.process.find():
            kernels.append(kernel)
        else:
            kernel.process.remove()
    return kernels


def subscribe(kernels: list[Kernel]) -> None:
    """Get a copy of what `kernels` publish."""
    for kernel in kernels:
        kernel.process.watch()
        kernel.listen()
    end = time.monotonic() + _SUBSCRIBED
    for kernel in kernels:
        kernel.sockets[wire.IOPUB].poll(int(max(0, end - time.monotonic()) * 1000))


def take_over(kernels: list[Kernel], old: Dialog) -> None:
    """Have the old agent leave `kernels` to us; it ends.

    Raises:
        OSError, LookupError: It does not do its part.
    """
    # told before they are published, for else the old agent may not know a mark when it sees it
    old.ask("pause", marks={k.id: k.choose_mark() for k in kernels})
    for kernel in kernels:
        kernel.take_over()
        kernel.publish_mark()
    unmarked = old.ask("release")
    for kernel in kernels:
        if kernel.id in unmarked:
            kernel.mark = ""  # it is frozen or deep in foreign code, and publishes nothing


class Release:
    """The old agent's part: end when each kernel has published its mark.

    Args:
        kernels: All of them.
    """

    def __init__(self, kernels: list[Kernel]) -> None:
        self.missing: Future[list[str]] = Future()
        self._kernels = [k for k in kernels if k.hand_over_at]
        self._marked_by = time.monotonic() + _MARKED
        self._quiet_at = 0.0

    def look(self) -> bool:
        """Return whether it is time to end; `missing` tells then whose mark did not come."""
        now = time.monotonic()
        missing = [k.id for k in self._kernels if not k.handed_over]
        if missing and now < self._marked_by:
            return False
        self._quiet_at = self._quiet_at or now + _QUIET
        if now < self._quiet_at:
            return False
        self.missing.set_result(missing)
        return True
