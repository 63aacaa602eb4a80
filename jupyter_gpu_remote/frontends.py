"""The frontends of a kernel: the sockets that its connection file names, and one thread that owns them."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import zmq
from jupyter_client.connect import ConnectionFileMixin

from .agent import wire
from .messages import Message
from .tables import Rich

_CHANNELS = {"shell": wire.SHELL, "control": wire.CONTROL, "stdin": wire.STDIN}
_REMEMBERED = 10_000
"""Requests whose answers still find their way back."""
_LAST_WORDS_MS = 1000
_CLOSE_LIMIT = 5.0

_log = logging.getLogger(__name__)


@dataclass
class Request:
    """What a frontend sent: header, parent header, metadata and content as JSON, and buffers."""

    channel: int
    idents: list[bytes]
    parts: list[bytes]
    header: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its message type."""
        return str(self.header["msg_type"])

    @property
    def id(self) -> str:
        """Its message id."""
        return str(self.header["msg_id"])

    @cached_property
    def content(self) -> dict[str, Any]:
        """Its content."""
        content: dict[str, Any] = json.loads(self.parts[3])
        return content


class Frontends(ConnectionFileMixin):  # type: ignore[misc]
    """Every frontend that is connected. What is sent may come from any thread.

    Args:
        connection_file: What Jupyter gave us.
        take: Called with each request, in the sockets' thread; must not block.
    """

    def __init__(self, connection_file: str, take: Callable[[Request], None]) -> None:
        super().__init__(connection_file=connection_file)
        self.load_connection_file()
        self._take = take
        self._context: Any = zmq.Context()
        self._requests = {
            self._bind(zmq.ROUTER, getattr(self, f"{name}_port")): channel
            for name, channel in _CHANNELS.items()
        }
        self._sockets = {channel: socket for socket, channel in self._requests.items()}
        self._sockets[wire.IOPUB] = self._bind(zmq.XPUB, self.iopub_port)
        self._heartbeat = self._bind(zmq.ROUTER, self.hb_port)
        self._idents: dict[str, tuple[int, list[bytes]]] = {}
        self._out: deque[tuple[Any, list[Any]]] = deque()
        self._woken, self._waker = self._context.socket(zmq.PULL), self._context.socket(zmq.PUSH)
        self._woken.bind(f"inproc://{id(self)}")
        self._waker.connect(f"inproc://{id(self)}")
        self._waker_lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="frontends", daemon=True)

    def _bind(self, kind: int, port: int) -> Any:
        socket = self._context.socket(kind)
        socket.linger = _LAST_WORDS_MS
        socket.sndhwm = 0
        if kind == zmq.ROUTER:
            socket.router_handover = 1
        socket.bind(f"{self.transport}://{self.ip}{':' if self.transport == 'tcp' else '-'}{port}")
        return socket

    def start(self) -> None:
        """Begin to take requests."""
        self._thread.start()

    def close(self) -> None:
        """Send what is left and close the sockets."""
        self._closing = True
        self._wake()
        self._thread.join(_CLOSE_LIMIT)

    # -- out, from any thread -------------------------------------------------------------------------

    def publish(
        self,
        kind: str,
        content: Mapping[str, Any],
        parent: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Any] = (),
    ) -> None:
        """Send a message to all frontends.

        Args:
            kind: Its type.
            content: Its content.
            parent: Header of the request that it belongs to, if any.
            metadata: Its metadata.
            buffers: Its buffers.
        """
        self._put(wire.IOPUB, [*self._new(kind, content, parent, [self._topic(kind)], metadata), *buffers])

    def status(self, state: str, request: Request) -> None:
        """Say whether the kernel works on a request."""
        self.publish("status", {"execution_state": state}, request.header)

    def reply(self, request: Request, content: Mapping[str, Any]) -> None:
        """Answer a request."""
        kind = request.kind.replace("_request", "_reply")
        self._put(request.channel, self._new(kind, content, request.header, request.idents))

    def answer(self, request: Request, content: Mapping[str, Any]) -> None:
        """Answer a request that takes no time."""
        self.status("busy", request)
        self.reply(request, content)
        self.status("idle", request)

    def say(self, request: Request, text: str, stream: str = "stdout") -> None:
        """Print a line in the cell of a request; show what has a form for notebooks in that."""
        if isinstance(text, Rich):
            data = {"text/plain": text, "text/html": text.html}
            self.publish("display_data", {"data": data, "metadata": {}}, request.header)
            return
        self.publish("stream", {"name": stream, "text": text + "\n"}, request.header)

    def fail(self, request: Request, error: BaseException, count: int, debug: bool) -> None:
        """Answer a cell with an error that is not its own.

        Args:
            request: The cell.
            error: The error.
            count: The number of the cell.
            debug: Whether to show our own traceback.
        """
        name, text = type(error).__name__, str(error)
        lines = f"{name}: {text}".splitlines() if text else [name]
        if debug:
            lines = "".join(traceback.format_exception(error)).splitlines()
        content = {"ename": name, "evalue": text, "traceback": lines}
        self.publish("error", content, request.header)
        self.reply(request, {"status": "error", "execution_count": count, **content})

    def pass_on(self, message: Message) -> None:
        """Send a message of another kernel as it is, to whoever it is for."""
        parts = [*message.parts, *message.buffers]
        if message.channel == wire.IOPUB:
            self._put(wire.IOPUB, self._signed([self._topic(message.type)], parts))
            return
        channel, idents = self._idents.get(message.parent_id, (0, []))
        if idents:
            channel = wire.STDIN if message.channel == wire.STDIN else channel
            self._put(channel, self._signed(idents, parts))

    def _topic(self, kind: str) -> bytes:
        return f"kernel.{self.session.session}.{kind}".encode()

    def _new(
        self,
        kind: str,
        content: Mapping[str, Any],
        parent: Mapping[str, Any],
        idents: list[bytes],
        metadata: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        parent_message = {"header": parent} if parent else None
        message = self.session.msg(kind, content, parent=parent_message, metadata=metadata)
        frames: list[Any] = self.session.serialize(message, ident=idents)
        return frames

    def _signed(self, idents: list[bytes], parts: list[Any]) -> list[Any]:
        return [*idents, b"<IDS|MSG>", self.session.sign([bytes(p) for p in parts[:4]]), *parts]

    def _put(self, channel: int, frames: list[Any]) -> None:
        self._out.append((self._sockets[channel], frames))
        self._wake()

    def _wake(self) -> None:
        # full, it is yet to take earlier ones, and will send all there is
        with self._waker_lock, contextlib.suppress(zmq.Again):
            self._waker.send(b"", zmq.NOBLOCK)

    # -- the sockets' thread --------------------------------------------------------------------------

    def _serve(self) -> None:
        poller = zmq.Poller()
        iopub = self._sockets[wire.IOPUB]
        for socket in (*self._requests, iopub, self._heartbeat, self._woken):
            poller.register(socket, zmq.POLLIN)
        while not self._closing:
            for socket, _ in poller.poll():
                if socket is self._woken:
                    socket.recv()
                elif socket is iopub:
                    self._welcome(socket.recv())
                elif socket is self._heartbeat:
                    socket.send_multipart(socket.recv_multipart())
                else:
                    self._receive(self._requests[socket], socket.recv_multipart())
                self._send_all()
        self._send_all()
        self._context.destroy()  # waits for the last words, as long as the sockets linger

    def _send_all(self) -> None:
        while self._out:
            socket, frames = self._out.popleft()
            socket.send_multipart(frames, copy=False)

    def _welcome(self, subscription: bytes) -> None:
        """Tell a new subscriber that it hears us."""
        if subscription.startswith(b"\x01"):
            welcome = self.session.msg("iopub_welcome", {"subscription": subscription[1:].decode()})
            self.session.send(self._sockets[wire.IOPUB], welcome, ident=[subscription[1:]])

    def _receive(self, channel: int, frames: list[bytes]) -> None:
        try:
            idents, signed = self.session.feed_identities(frames)
            self.session.deserialize(signed, content=False)  # checks the signature
            request = Request(channel, idents, signed[1:], json.loads(signed[1]))
            if channel != wire.STDIN:
                self._idents[request.id] = (channel, idents)
                if len(self._idents) > _REMEMBERED:
                    del self._idents[next(iter(self._idents))]
            self._take(request)
        except Exception as e:  # a frontend's mistake must not end the kernel
            _log.warning("a message could not be taken: %r", e)
