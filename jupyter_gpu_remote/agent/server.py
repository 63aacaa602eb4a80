"""The agent's one loop: kernels on one side, clients on the other, journals between them.

One thread and one poller. A client is a unix socket: it sends records, and gets answers and, once it is
attached to a kernel, the tail of that kernel's journal.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import math
import os
import resource
import shutil
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import zmq

from . import wire
from .folder import Folder
from .guard import Guard
from .journal import Tail
from .kernels import Kernel
from .manifest import changes_from, pack
from .watch import watch as watch_folder

_TICK = 1.0
_GUARD_EVERY = 5.0
_SPARE_DELAY = 2.0
"""Seconds: the first cell gets the processor before the next kernel does."""
_YOUNG = 10.0
"""Seconds: a kernel that dies younger is not started again by itself."""


class Client:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.decoder = wire.Decoder()
        self.answers = bytearray()
        self.tail: Tail | None = None
        self.kernel: Kernel | None = None
        self.name = ""
        self.blocked = False

    def answer(self, **value: Any) -> None:
        """Queue an answer; it goes between two records of the tail."""
        self.answers += wire.pack_json(wire.AGENT, value)

    def flush(self) -> None:
        """Send until there is nothing more or the socket takes no more.

        Raises:
            OSError: The client is gone.
        """
        self.blocked = False
        try:
            while True:
                if self.answers and (self.tail is None or self.tail.at_boundary()):
                    del self.answers[: self.socket.send(self.answers)]
                elif self.tail is not None and self.tail.pending():
                    self.tail.send(self.socket)
                else:
                    return
        except BlockingIOError:
            self.blocked = True


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
        self.kernels: dict[str, Kernel] = {}
        self.spare: Kernel | None = None
        self._spare_python, self._spare_at = sys.executable, 0.0
        self.guard = Guard(root)
        self._guarded_at = time.monotonic()
        self.clients: dict[int, Client] = {}
        self.folders: dict[str, Folder] = {}
        self.poller = zmq.Poller()
        self.handlers: dict[Any, Callable[[int], None]] = {}
        self.running = True
        self.worker = ThreadPoolExecutor(1)
        self._done: list[tuple[Client, Any, Future[Any]]] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._listen(self._wake_read, lambda _: self._finish_work())

    # -- the loop -----------------------------------------------------------------------------------

    def serve(self, listener: socket.socket) -> None:
        """Answer clients until told to stop."""
        listener.setblocking(False)
        self._listen(listener.fileno(), lambda _: self._accept(listener))
        while self.running:
            if time.monotonic() >= self._spare_at:
                self._make_spare()
            wait = min(_TICK, self._spare_at - time.monotonic())
            for source, events in self.poller.poll(int(max(0, wait) * 1000)):
                if source in self.handlers:
                    self.handlers[source](events)
            for client in list(self.clients.values()):
                if not client.blocked:
                    self._flush(client)
            if time.monotonic() - self._guarded_at > _GUARD_EVERY:
                self._guarded_at = time.monotonic()
                self._end_if_idle()

    def idle_left(self) -> float | None:
        """Return the seconds until the machine ends itself unless it is used; None when it does not."""
        active = max((k.active_at for k in self.kernels.values()), default=0.0)
        return self.guard.idle_left(active, any(k.running for k in self.kernels.values()))

    def _end_if_idle(self) -> None:
        left = self.idle_left()
        if left is not None and left <= 0:
            for kernel in self.kernels.values():
                kernel.event(ending="nobody has used the machine for a while")
            self.guard.power_off()

    def _listen(self, source: Any, handler: Callable[[int], None]) -> None:
        self.poller.register(source, zmq.POLLIN)
        self.handlers[source] = handler

    def _ignore(self, source: Any) -> None:
        self.poller.unregister(source)
        del self.handlers[source]

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            client = Client(connection)
            self.clients[connection.fileno()] = client
            self._listen(connection.fileno(), lambda events: self._serve_client(client, events))

    def _flush(self, client: Client) -> None:
        was = client.blocked
        try:
            client.flush()
        except OSError:
            return self._drop(client)
        if client.blocked != was:
            self.poller.modify(client.socket.fileno(), zmq.POLLIN | (zmq.POLLOUT if client.blocked else 0))

    def _serve_client(self, client: Client, events: int) -> None:
        if events & zmq.POLLOUT:
            self._flush(client)
        if not events & ~zmq.POLLOUT or client.socket.fileno() < 0:
            return
        try:
            data = client.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._drop(client)
        try:
            for record in client.decoder.feed(data):
                if record.channel == wire.AGENT:
                    self._request(client, json.loads(record.parts[0]))
                elif client.kernel:
                    client.kernel.send(record.channel, record.parts)
        except (ValueError, KeyError, IndexError, MemoryError):
            self._drop(client)  # not one of ours

    def _drop(self, client: Client) -> None:
        number = client.socket.fileno()
        if number >= 0:
            self._ignore(number)
            del self.clients[number]
            client.socket.close()

    # -- requests -----------------------------------------------------------------------------------

    def _request(self, client: Client, request: dict[str, Any]) -> None:
        """Answer one request; an error of ours is an answer too."""
        number = request.pop("id", None)
        operation = getattr(self, f"do_{request.pop('op')}", None)
        try:
            if operation is None:
                raise LookupError("this agent does not know that request")
            result = operation(client, **request)
        except (OSError, LookupError, TypeError, ValueError) as e:
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
        os.read(self._wake_read, 4096)
        while self._done:
            client, number, future = self._done.pop(0)
            error = future.exception()
            if error:
                client.answer(id=number, error=str(error), kind=type(error).__name__)
            else:
                client.answer(id=number, result=future.result())

    def do_ping(self, client: Client) -> str:
        """Answer, to show that the agent lives."""
        return "pong"

    def do_status(self, client: Client) -> dict[str, Any]:
        """Tell the version, the kernels and the memory the agent has needed at most, in KiB."""
        return {
            "version": self.version,
            "pid": os.getpid(),
            "idle_left": self.idle_left(),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "kernels": [
                {**k.facts, "alive": k.alive(), "running": len(k.running), "active": k.active_at}
                for k in self.kernels.values()
            ],
        }

    def do_extend(self, client: Client, minutes: float) -> float | None:
        """Keep the machine for some minutes from now, used or not; tell the seconds it has left."""
        self.guard.extend(minutes * 60)
        return self.idle_left()

    def do_attach(
        self,
        client: Client,
        kernel: str,
        since: int | None = None,
        name: str = "",
        start: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make the client a tail of a kernel's journal, from record `since` or from now on."""
        found = self.kernels.get(kernel)
        if found is None:
            if start is None:
                raise LookupError(f"there is no kernel {kernel}")
            found = self._start_kernel(kernel, **start)
        for other in list(self.clients.values()):
            # the same client again: its old connection is dead, it just does not know
            if name and other is not client and other.name == name and other.kernel is found:
                self._drop(other)
        first = found.journal.first
        since = found.journal.next if since is None else since
        client.kernel, client.name, client.tail = found, name, found.journal.tail(since)
        return {
            "version": self.version,
            "next": since,
            "missed": max(0, first - since),
            "running": list(found.running),
            "executions": list(found.executions),
            "kernel": found.facts,
        }

    def do_interrupt(self, client: Client, kernel: str) -> None:
        """Interrupt what the kernel runs."""
        self.kernels[kernel].signal(signal.SIGINT)

    def do_restart(self, client: Client, kernel: str) -> None:
        """Replace the kernel's process; its journal goes on."""
        self._respawn(self.kernels[kernel], "it was restarted")

    def do_stop(self, client: Client, kernel: str) -> None:
        """End a kernel and forget it."""
        found = self.kernels.pop(kernel)
        found.event(died="it was shut down", again=False)
        self._detach(found)
        found.signal(signal.SIGKILL)
        self._part(found)
        shutil.rmtree(found.folder, ignore_errors=True)

    def do_scan(self, client: Client, folder: str, outer: list[tuple[str, str]]) -> Future[Any]:
        """Tell what lies in a folder."""
        return self._with_folder(folder, lambda work: _packed(work.scan(outer)))

    def do_digest(self, client: Client, folder: str, paths: list[str]) -> Future[Any]:
        """Tell a hash of each of some files."""
        return self._with_folder(folder, lambda work: work.digest(paths))

    def do_apply(self, client: Client, folder: str, changes: str) -> Future[Any]:
        """Put in place what has been sent, and remove what is gone."""
        wanted = changes_from(base64.b64decode(changes))
        return self._with_folder(folder, lambda work: _packed(work.apply(wanted)))

    def _with_folder(self, path: str, act: Callable[[Folder], Any]) -> Future[Any]:
        return self.worker.submit(act, self._folder(path))

    def _folder(self, path: str) -> Folder:
        """Return the one `Folder` of a path, which knows whether it has changed since it was scanned."""
        if path not in self.folders:
            self.folders[path] = Folder(Path(path), watch_folder(path), create=True)
        return self.folders[path]

    def do_release(self, client: Client) -> None:
        """Leave the kernels to a newer agent and stop."""
        for kernel in self.kernels.values():
            for channel in kernel.sockets:
                kernel.receive(channel, limit=1 << 30)
        if self.spare:
            self.spare.signal(signal.SIGKILL)
        self.running = False

    def do_quit(self, client: Client) -> None:
        """End every kernel and stop."""
        for kernel in [*self.kernels.values(), *([self.spare] if self.spare else [])]:
            kernel.signal(signal.SIGKILL)
        self.running = False

    # -- kernels ------------------------------------------------------------------------------------

    def adopt(self, kernels: list[Kernel], crashed: bool) -> None:
        """Take over kernels that an earlier agent started; their sockets are open.

        Args:
            kernels: The kernels.
            crashed: Whether that agent ended by itself, so that nobody listened for a while.
        """
        for kernel in kernels:
            kernel.open_journal()
            self.kernels[kernel.id] = kernel
            self._attend(kernel)
            if crashed and kernel.running:
                kernel.event(unheard=list(kernel.running))
                kernel.ask_what_is_over()
            self._want_spare(kernel.facts["python"])

    def _attend(self, kernel: Kernel) -> None:
        for channel, zmq_socket in kernel.sockets.items():
            self._listen(zmq_socket, functools.partial(self._receive, kernel, channel))
        self._listen(kernel.pidfd, lambda _: self._died(kernel))
        if kernel.facts.get("watched"):
            kernel.work = self._folder(kernel.facts["cwd"])

    def _receive(self, kernel: Kernel, channel: int, _: int) -> None:
        kernel.receive(channel)

    def _detach(self, kernel: Kernel) -> None:
        for zmq_socket in kernel.sockets.values():
            self._ignore(zmq_socket)
        if kernel.pidfd >= 0:
            self._ignore(kernel.pidfd)
        kernel.disconnect()

    def _start_kernel(
        self, name: str, python: str, cwd: str, env: dict[str, str], watch: bool = False
    ) -> Kernel:
        folder = self.root / "kernels" / name
        shutil.rmtree(folder, ignore_errors=True)  # of a kernel that is gone
        Path(cwd).mkdir(parents=True, exist_ok=True)
        spare = self.spare
        if spare and spare.facts["python"] == python and spare.alive():
            self.spare = None
            kernel = spare
            kernel.assign(name, folder)
            kernel.move(cwd, env)
        else:
            kernel = Kernel(name, folder, self.sockets)
            kernel.start(python, cwd, env)
            kernel.open_journal()
        kernel.facts["watched"] = watch
        kernel.facts["env"] = env
        kernel.save()
        self.kernels[name] = kernel
        self._attend(kernel)
        self._want_spare(python)
        return kernel

    def _want_spare(self, python: str) -> None:
        self._spare_python, self._spare_at = python, time.monotonic() + _SPARE_DELAY

    def _make_spare(self) -> None:
        """Start a kernel for whoever comes next, so that it waits for no interpreter."""
        self._spare_at = math.inf
        if self.spare and self.spare.alive() and self.spare.facts["python"] == self._spare_python:
            return
        if self.spare:
            self.spare.signal(signal.SIGKILL)
            self.spare.disconnect()
        name = f"spare-{uuid.uuid4().hex[:8]}"
        self.spare = Kernel(name, self.root / "spare" / name, self.sockets)
        try:
            self.spare.start(self._spare_python, str(Path.home()), {})
        except OSError:
            self.spare = None  # whoever needs a kernel will get this error, with a client to tell

    def _died(self, kernel: Kernel) -> None:
        young = time.time() - kernel.facts["created"] < _YOUNG
        cause = kernel.cause_of_death()
        if young and (log := kernel.log_tail()):
            cause += f"; it said: {log}"
        self._respawn(kernel, cause, again=not young)

    def _respawn(self, kernel: Kernel, cause: str, again: bool = True) -> None:
        self._detach(kernel)
        kernel.signal(signal.SIGKILL)
        if again:
            facts = kernel.facts
            try:
                kernel.start(facts["python"], facts["cwd"], facts["env"])
            except OSError as e:
                again, cause = False, f"{cause}, and could not be started again: {e}"
        kernel.running.clear()
        kernel.event(died=cause, again=again)
        if again:
            self._attend(kernel)
        else:
            self.kernels.pop(kernel.id, None)
            self._part(kernel)

    def _part(self, kernel: Kernel) -> None:
        """Give clients the last of a kernel's journal, then close it."""
        for client in [c for c in self.clients.values() if c.kernel is kernel]:
            self._flush(client)
            client.kernel = None


def _packed(what: Any) -> str:
    return base64.b64encode(pack(what)).decode()
