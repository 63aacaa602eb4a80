"""Where the outputs of a remote cell go: to the frontends, or into Python's own streams."""

from __future__ import annotations

import sys
from typing import Any

import zmq

from .messages import Message

Parent = dict[str, Any]

_SHOWN = ("display_data", "execute_result", "update_display_data", "clear_output")


class ToFrontends:
    """Send on the local kernel's IOPub, as if its own cell had made the output."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        thread = kernel.iopub_thread
        # what is caught up after a cut comes faster than a page reads; ZMQ's default drops all beyond 1000
        thread.schedule(lambda: thread.socket.setsockopt(zmq.SNDHWM, 0))

    def send(self, message: Message, parent: Parent, count: int) -> None:
        """Send a remote message with the local `parent`."""
        content: Any = message.parts[3]
        if message.type == "execute_result":
            content = {**message.content, "execution_count": count}
        self.publish(message.type, content, parent, message.metadata, message.buffers)

    def publish(
        self, kind: str, content: Any, parent: Parent, metadata: Any = None, buffers: Any = None
    ) -> None:
        """Send a message of `kind`; `content` is a dict, or bytes that are JSON already."""
        kernel = self._kernel
        kernel.session.send(
            kernel.iopub_socket,
            kind,
            content,
            metadata=metadata,
            parent=parent,
            ident=kernel._topic(kind),
            buffers=buffers,
        )


class ToPython:
    """Hand outputs to whatever takes Python's own now: a terminal, `%%capture`, `redirect_stdout`.

    What still leads to the frontends goes to them directly.

    Args:
        shell: The local IPython shell.
        frontends: Where the rest goes; None in a terminal.
    """

    def __init__(self, shell: Any, frontends: ToFrontends | None) -> None:
        self._frontends = frontends
        streams = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._streams = {
            name: stream for name, stream in streams.items() if not frontends or not _is_kernels_own(stream)
        }
        self._display = shell.display_pub if not frontends or _is_capturing(shell.display_pub) else None

    @property
    def is_needed(self) -> bool:
        """Whether anything is redirected."""
        return bool(self._streams or self._display)

    def send(self, message: Message, parent: Parent, count: int) -> None:
        """Write or display a remote message."""
        kind = message.type
        if kind == "stream" and (stream := self._streams.get(message.content["name"])):
            stream.write(message.content["text"])
            stream.flush()
        elif kind in _SHOWN and self._display is not None:
            _show(self._display, kind, message.content)
        elif self._frontends is not None:
            self._frontends.send(message, parent, count)


def _show(publisher: Any, kind: str, content: dict[str, Any]) -> None:
    if kind == "clear_output":
        publisher.clear_output(content.get("wait", False))
        return
    publisher.publish(
        content["data"],
        content.get("metadata"),
        transient=content.get("transient") or {},
        update=kind == "update_display_data",
    )


def _is_kernels_own(stream: Any) -> bool:
    from ipykernel.iostream import OutStream

    return isinstance(stream, OutStream)


def _is_capturing(publisher: Any) -> bool:
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(publisher, CapturingDisplayPublisher)
