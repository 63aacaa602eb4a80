"""What a kernel answers by itself, as long as it has no machine that could."""

from __future__ import annotations

import contextlib
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import __version__
from .errors import KernelError
from .frontends import Frontends, Request
from .kernel import RemoteKernel

KERNEL_INFO: Mapping[str, Any] = {
    "status": "ok",
    "protocol_version": "5.4",
    "implementation": "ipython",
    "implementation_version": __version__,
    "language_info": {
        "name": "python",
        "version": platform.python_version(),
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    },
    "banner": f"Python {platform.python_version()} on a remote machine",
    "help_links": [],
    "debugger": True,
    "supported_features": ["debugger", "kernel subshells"],
}


def _complete(content: Mapping[str, Any]) -> dict[str, Any]:
    at = content["cursor_pos"]
    return {"matches": [], "cursor_start": at, "cursor_end": at, "metadata": {}}


def _is_complete(content: Mapping[str, Any]) -> dict[str, Any]:
    from IPython.core.inputtransformer2 import TransformerManager

    status, indent = TransformerManager().check_complete(content["code"])
    return {"status": status, **({"indent": " " * (indent or 0)} if status == "incomplete" else {})}


_ANSWERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "complete_request": _complete,
    "inspect_request": lambda content: {"found": False, "data": {}, "metadata": {}},
    "history_request": lambda content: {"history": []},
    "comm_info_request": lambda content: {"comms": {}},
    "is_complete_request": _is_complete,
}


class Passage:
    """The way of what is no cell to the remote kernel; as long as there is none, what is said instead.

    Args:
        front: The frontends.
        kernel: Returns the remote kernel, if there is one now.
    """

    def __init__(self, front: Frontends, kernel: Callable[[], RemoteKernel | None]) -> None:
        self._front = front
        self._kernel = kernel
        self._lock = threading.Lock()
        self._coming = False
        self._waiting: list[Request] = []

    @contextlib.contextmanager
    def waits(self) -> Iterator[None]:
        """Let what only the remote kernel can answer wait for the end of this block, which brings one."""
        with self._lock:
            self._coming = True
        try:
            yield
        finally:
            with self._lock:
                self._coming = False
                waiting, self._waiting = self._waiting, []
                for request in waiting:
                    self._pass(request)

    def take(self, request: Request) -> None:
        """Send a request to the remote kernel, or answer it."""
        with self._lock:
            self._pass(request)

    def _pass(self, request: Request) -> None:
        if kernel := self._kernel():
            kernel.forward(request.channel, request.parts, request.id)
        elif request.kind in _ANSWERS:
            # rather than keep the frontend waiting
            self._front.answer(request, {"status": "ok", **_ANSWERS[request.kind](request.content)})
        elif self._coming:
            self._waiting.append(request)
        elif request.kind.endswith("_request"):
            why = "There is no remote kernel. Run a cell to start one."
            error = {"status": "error", "ename": KernelError.__name__, "evalue": why, "traceback": [why]}
            self._front.answer(request, error)
        else:
            self._front.status("busy", request)
            self._front.status("idle", request)
