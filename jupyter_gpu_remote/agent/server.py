"""The agent's one loop: kernels on one side, clients on the other, journals between them.

One thread and one poller. A client is a unix socket: it sends records, and gets answers and, once it is
attached to a kernel, the tail of that kernel's journal.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import requests, wire
from .clients import Client
from .handover import Release
from .keeper import Keeper
from .kernels import HOLD, Kernel
from .load import Load
from .loop import READ, WRITE, Loop, safely
from .mounts import Mounts
from .prospects import Prospects

_TICK = 1.0
_ALIVE_EVERY = 30.0
"""Seconds between two signs of life for whoever guards the machine when the agent does not."""


class Agent:
    """Serve kernels and folders to the clients of one machine.

    Args:
        root: Folder of everything the agent keeps.
        sockets: Folder for unix sockets; short path, only ours.
        version: What is told to clients.
    """

    def __init__(self, root: Path, sockets: Path, version: str) -> None:
        self.root = root
        self.sockets = sockets
        self.version = version
        self._looked_at = self._alive_at = time.monotonic() - _ALIVE_EVERY
        self.clients: dict[int, Client] = {}
        self._loop = Loop()
        self.keeper = Keeper(root, sockets, self._loop, self._part)
        self.kernels = self.keeper.kernels
        self.running = True
        self.later: list[Callable[[], None]] = []
        """What to do once all that is answered has been answered."""
        self.worker = ThreadPoolExecutor(1)
        self.mounts = Mounts(root / "mounts", sockets, self.keeper.journals)
        self.load = Load(lambda: [k.facts["pid"] for k in list(self.kernels.values())])
        self.prospects = Prospects(root, self.kernels, self.load, self.mounts, self._wake)
        self._heir: Client | None = None
        self._release: Release | None = None
        self._done: list[tuple[Client, Any, Future[Any]]] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop.listen(self._wake_read, lambda _: self._finish_work())

    # -- the loop -----------------------------------------------------------------------------------

    def serve(self, listener: socket.socket) -> None:
        """Answer clients until told to stop."""
        listener.setblocking(False)
        self.load.start()
        self._loop.listen(listener.fileno(), lambda _: self._accept(listener))
        while self.running:
            self._loop.turn(0.01 if self._release else min(self._held_for(), self._spare_due_in()))
            self._flush_all()
            while self.later:
                safely(self.later.pop(0))
            safely(self._look_around)
        self.keeper.spare.end()

    def _held_for(self) -> float:
        now = time.monotonic()
        return HOLD if any(k.holds(now) for k in self.kernels.values()) else _TICK

    def _flush_all(self) -> None:
        now = time.monotonic()
        holding = {k for k in self.kernels.values() if k.holds(now)}
        for client in list(self.clients.values()):
            if not client.waits and (client.answers or client.kernel not in holding):
                self._flush(client)
        for kernel in self.kernels.values():
            if kernel not in holding:
                kernel.sent()

    def _look_around(self) -> None:
        """Do what no message calls for."""
        if self._release and self._release.look():
            self._finish_work()
            for client in list(self.clients.values()):
                self._flush(client)
            self.running = False
        if self._spare_due_in() <= 0:
            self.keeper.spare.make()
        if time.monotonic() - self._looked_at < _TICK:
            return
        self._looked_at = time.monotonic()
        self.keeper.look_around()
        self.mounts.look_around()
        self.prospects.look()
        if time.monotonic() - self._alive_at > _ALIVE_EVERY:
            self._alive_at = time.monotonic()
            (self.root / "alive").touch()

    def _spare_due_in(self) -> float:
        return self.keeper.spare.due_in(any(k.cells.running for k in self.kernels.values()))

    def _wake(self) -> None:
        """Have the loop look around at once; from any thread."""
        self._looked_at -= _TICK
        os.write(self._wake_write, b"x")

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            client = Client(connection)
            self.clients[connection.fileno()] = client
            self._loop.listen(connection.fileno(), functools.partial(self._serve_client, client), 0)
            self._watch(client)

    def _watch(self, client: Client) -> None:
        """Have the poller look for what may happen next on a client's connection."""
        hears = client.reads_answers and self._heir in (None, client)
        events = (READ if hears else 0) | (WRITE if client.waits else 0)
        if events != client.events:
            client.events = events
            self._loop.change(client.socket.fileno(), events)

    def _flush(self, client: Client) -> None:
        try:
            client.flush()
        except OSError:
            return self.drop(client)
        self._watch(client)

    def _serve_client(self, client: Client, events: int) -> None:
        if events & WRITE:
            self._flush(client)
        if not events & ~WRITE or client.socket.fileno() < 0:
            return
        try:
            data = client.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self.drop(client)
        self.prospects.client_at = time.time()
        for kernel in self.kernels.values():
            kernel.unseen = 0.0
        try:
            for record in client.decoder.feed(data):
                if record.channel == wire.AGENT:
                    self._request(client, json.loads(record.parts[0]))
                elif client.kernel:
                    client.kernel.send(record.channel, record.parts)
        except Exception as e:
            print(f"dropped a client that is not one of ours: {e!r}", flush=True)
            return self.drop(client)
        if client.socket.fileno() >= 0:
            self._watch(client)

    def drop(self, client: Client) -> None:
        """Cut a client's connection."""
        number = client.socket.fileno()
        if number >= 0:
            self._loop.ignore(number)
            del self.clients[number]
            client.tail = client.kernel = None
            client.socket.close()
        if client is self._heir:
            self._heir = self._release = None
            self.keeper.hand_over_at({})
            for other in self.clients.values():
                self._watch(other)

    def _part(self, kernel: Kernel) -> None:
        """Give clients the last of a kernel's journal."""
        for client in [c for c in self.clients.values() if c.kernel is kernel]:
            self._flush(client)
            client.kernel = None

    # -- requests -----------------------------------------------------------------------------------

    def _request(self, client: Client, request: dict[str, Any]) -> None:
        """Answer one request; an error of ours is an answer too."""
        number = request.pop("id", None)
        operation = requests.OPERATIONS.get(request.pop("op"))
        try:
            if operation is None:
                raise LookupError("this agent does not know that request")
            result = operation(self, client, **request)
        except Exception as e:
            client.answer(id=number, error=str(e) or type(e).__name__, kind=type(e).__name__)
            return
        if isinstance(result, Future):
            result.add_done_callback(lambda future: self._work_done(client, number, future))
        else:
            client.answer(id=number, result=result)

    def _work_done(self, client: Client, number: Any, future: Future[Any]) -> None:
        self._done.append((client, number, future))
        os.write(self._wake_write, b"x")

    def _finish_work(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while self._done:
            client, number, future = self._done.pop(0)
            error = future.exception()
            if error:
                client.answer(id=number, error=str(error), kind=type(error).__name__)
            else:
                client.answer(id=number, result=future.result())

    # -- another agent ------------------------------------------------------------------------------

    def quit(self) -> None:
        """End every kernel and stop."""
        for kernel in list(self.kernels.values()):
            self.keeper.end(kernel, "the agent was told to quit")
        self.mounts.quit()
        self.running = False

    def pause(self, heir: Client, marks: dict[str, str]) -> None:
        """Hear nobody but `heir` until it has taken over, or is gone; after `marks` kernels are its own."""
        self._heir = heir
        self.keeper.hand_over_at(marks)
        for client in self.clients.values():
            self._watch(client)

    def release(self) -> Future[list[str]]:
        """Stop once everything is journaled that each kernel publishes before its mark."""
        self._release = Release(list(self.kernels.values()))
        return self._release.missing
