"""The kernel "Python (remote GPU)": a whole notebook on a machine.

A Jupyter kernel that runs nothing itself. It answers `kernel_info` at once while the machine is still
coming up; from then on every message goes to the remote kernel as it is and comes back as it is.

Two threads: one owns the sockets to the frontends; the main thread does what takes long (launch, files),
one job after another, so that Ctrl-C reaches it.
"""

from __future__ import annotations

import contextlib
import json
import platform
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.connect import ConnectionFileMixin

from . import __version__
from .agent import wire
from .config import load_settings
from .errors import GpuRemoteError
from .kernel import Execution, Message, RemoteKernel
from .notebook import Notebook, notebook_key
from .options import request as request_from
from .status import StatusLine, in_cell

_CHANNELS = {"shell": wire.SHELL, "control": wire.CONTROL, "stdin": wire.STDIN}
_KERNEL_INFO = {
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
_BEFORE_READY: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "complete_request": lambda c: {
        "matches": [],
        "cursor_start": c["cursor_pos"],
        "cursor_end": c["cursor_pos"],
        "metadata": {},
    },
    "inspect_request": lambda c: {"found": False, "data": {}, "metadata": {}},
    "history_request": lambda c: {"history": []},
    "comm_info_request": lambda c: {"comms": {}},
}
"""What is answered while there is no remote kernel yet, rather than keep the frontend waiting."""


class Frontends(ConnectionFileMixin):  # type: ignore[misc]
    """The sockets that frontends connect to, as the connection file says."""

    def __init__(self, connection_file: str) -> None:
        super().__init__(connection_file=connection_file)
        self.load_connection_file()
        self.context: Any = zmq.Context.instance()
        self.sockets = {name: self._bind(zmq.ROUTER, getattr(self, f"{name}_port")) for name in _CHANNELS}
        self.iopub = self._bind(zmq.XPUB, self.iopub_port)
        heartbeat = self._bind(zmq.ROUTER, self.hb_port)
        threading.Thread(target=zmq.proxy, args=(heartbeat, heartbeat), daemon=True).start()

    def _bind(self, kind: int, port: int) -> Any:
        socket = self.context.socket(kind)
        socket.linger = 1000
        socket.sndhwm = 0
        if kind == zmq.ROUTER:
            socket.router_handover = 1
        socket.bind(self._make_url_for(port))
        return socket

    def _make_url_for(self, port: int) -> str:
        return f"{self.transport}://{self.ip}{':' if self.transport == 'tcp' else '-'}{port}"

    def frames(self, idents: list[bytes], parts: list[Any]) -> list[Any]:
        """Return the frames of a message whose parts are serialized already."""
        return [*idents, b"<IDS|MSG>", self.session.sign([bytes(p) for p in parts[:4]]), *parts]


class RelayKernel:
    """The kernel process.

    Args:
        connection_file: What Jupyter gave us.
    """

    def __init__(self, connection_file: str) -> None:
        self.front = Frontends(connection_file)
        self.notebook = Notebook(load_settings(), notebook_key(connection_file), Path.cwd(), self, self._show)
        self.jobs: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._out: queue.SimpleQueue[tuple[Any, list[Any]]] = queue.SimpleQueue()
        self._idents: dict[str, tuple[str, list[bytes]]] = {}
        self._begun: set[str] = set()
        self._held: dict[str, list[Message]] = {}
        self._busy_with_job = False
        self._status = self._launch = StatusLine()
        wake = f"inproc://wake-{id(self)}"
        self._woken = self.front.context.socket(zmq.PULL)
        self._woken.bind(wake)
        self._waker = self.front.context.socket(zmq.PUSH)
        self._waker.connect(wake)
        self._waker_lock = threading.Lock()

    # -- the main thread ------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until told to shut down."""
        self._publish("status", {"execution_state": "starting"}, {})
        threading.Thread(target=self._serve_frontends, name="frontends", daemon=True).start()
        self.jobs.put(self._prepare_early)
        while True:
            try:
                job = self.jobs.get()
                if job is None:
                    break
                self._busy_with_job = True
                job()
            except KeyboardInterrupt:
                if not self._busy_with_job and self.notebook.kernel is not None:
                    self.notebook.kernel.interrupt()
            finally:
                self._busy_with_job = False
        self.notebook.detach()

    def _prepare_early(self) -> None:
        """Begin to launch as soon as the kernel starts; what fails is told to the first cell, which retries."""
        with contextlib.suppress(GpuRemoteError):
            self._prepare()

    def _prepare(self) -> None:
        """Get the machine; the first cell that waits for it shows how far that is."""
        machine = self.notebook.prepare(request_from(self.notebook.config), self._report)
        seconds = self._launch.seconds
        self._launch.end(f"{machine.offer.title} · {machine.name} · ready in {seconds:.1f} s")

    def _report(self, phase: str, text: str) -> None:
        self._launch.phase(phase, text)

    def _place(self, header: dict[str, Any]) -> Callable[[str], None]:
        """Return what shows a status line in the cell of a request."""
        return in_cell(lambda kind, content: self._publish(kind, content, header))

    def _execute(self, parts: list[bytes]) -> None:
        """Send a cell; first make sure of the machine and send changed files."""
        header = json.loads(parts[0])
        self._status = StatusLine(self._place(header))
        try:
            if not self._ready():
                self._launch = self._status
                self._prepare()
                self._status = StatusLine(self._place(header))
            kernel = self.notebook.kernel
            assert kernel is not None
            if self.notebook.sync is not None:
                self._warn(self.notebook.sync.push().warnings(), header)
        except (GpuRemoteError, KeyboardInterrupt) as e:
            self._launch.end()
            self._fail(header, e)
            return
        execution = kernel.follow(header["msg_id"])
        self._held[execution.msg_id] = []
        execution.future.add_done_callback(lambda _: self.jobs.put(lambda: self._finish(header, execution)))
        kernel.forward(wire.SHELL, parts, execution.msg_id)

    def _finish(self, header: dict[str, Any], execution: Execution) -> None:
        """Fetch changed files, then let the frontend know that the cell is over."""
        held = self._held.pop(execution.msg_id, [])
        error = execution.future.exception()
        if isinstance(error, GpuRemoteError):
            return self._fail(header, error)
        if execution.files_changed and self.notebook.sync is not None:
            self.notebook.sync.remote_changed()
            try:
                self._warn(self.notebook.sync.pull().warnings(), header)
            except (GpuRemoteError, KeyboardInterrupt) as e:
                self._warn(
                    [str(e) or "Fetching files was interrupted; the next cell goes on with it."], header
                )
        for message in held:
            self._forward_back(message)

    def _show(self, done: int, total: int, what: str) -> None:
        self._status.progress(what, done, total)

    def _warn(self, warnings: list[str], parent: dict[str, Any]) -> None:
        for text in warnings:
            self._publish("stream", {"name": "stderr", "text": text + "\n"}, parent)

    def _fail(self, header: dict[str, Any], error: BaseException) -> None:
        """Answer an execute request with an error of ours."""
        name, text = type(error).__name__, str(error)
        content = {"ename": name, "evalue": text, "traceback": f"{name}: {text}".splitlines()}
        self._publish("error", content, header)
        self._reply("execute_reply", {"status": "error", "execution_count": 0, **content}, header)
        self._publish("status", {"execution_state": "idle"}, header)

    def _ready(self) -> bool:
        kernel = self.notebook.kernel
        return kernel is not None and kernel.is_open

    # -- from the remote kernel, in its thread --------------------------------------------------------

    def message(self, message: Message) -> None:
        """Send a remote message to the frontends as it is; the end of a cell waits for its files."""
        ends = message.type == "execute_reply" or (
            message.type == "status" and message.content["execution_state"] == "idle"
        )
        if ends and message.parent_id in self._held:
            self._held[message.parent_id].append(message)
        elif message.type == "status" and message.parent_id in self._begun:
            self._begun.discard(message.parent_id)  # "busy" has been said
        else:
            self._forward_back(message)

    def connection(self, text: str) -> None:
        """Show in the log that the connection is lost or back."""
        if text:
            print(text, file=sys.stderr, flush=True)

    def _forward_back(self, message: Message) -> None:
        parts = [*message.parts, *message.buffers]
        if message.channel == wire.IOPUB:
            if message.type != "iopub_welcome":
                topic = f"kernel.{self.front.session.session}.{message.type}".encode()
                self._put(self.front.iopub, self.front.frames([topic], parts))
            return
        if message.channel == wire.STDIN:
            channel, idents = "stdin", self._idents.get(message.parent_id, ("", []))[1]
        else:
            channel, idents = self._idents.get(message.parent_id, ("", []))
        if channel and idents:
            self._put(self.front.sockets[channel], self.front.frames(idents, parts))

    # -- the sockets' thread --------------------------------------------------------------------------

    def _serve_frontends(self) -> None:
        poller = zmq.Poller()
        for socket in (*self.front.sockets.values(), self.front.iopub, self._woken):
            poller.register(socket, zmq.POLLIN)
        names = {socket: name for name, socket in self.front.sockets.items()}
        while True:
            for socket, _ in poller.poll():
                if socket in names:
                    self._take_request(names[socket], socket.recv_multipart())
                elif socket is self._woken:
                    socket.recv()
                    target, frames = self._out.get()
                    target.send_multipart(frames)
                else:
                    self._welcome(socket.recv())

    def _welcome(self, subscription: bytes) -> None:
        """Tell a new subscriber that it hears us."""
        if subscription.startswith(b"\x01"):
            welcome = self.front.session.msg("iopub_welcome", {"subscription": subscription[1:].decode()})
            self.front.session.send(self.front.iopub, welcome, ident=[subscription[1:]])

    def _take_request(self, channel: str, frames: list[bytes]) -> None:
        session = self.front.session
        try:
            idents, signed = session.feed_identities(frames)
            session.deserialize(signed, content=False)  # checks the signature
        except (ValueError, TypeError):
            return
        parts = signed[1:]
        header = json.loads(parts[0])
        kind, msg_id = header["msg_type"], header["msg_id"]
        if channel != "stdin":
            self._idents[msg_id] = (channel, idents)
            if len(self._idents) > 10_000:
                del self._idents[next(iter(self._idents))]
        if kind == "execute_request":
            if not self._ready():
                self._begin(header)
                self._launch.appear(self._place(header))
            self.jobs.put(lambda: self._execute(parts))
        elif kind == "interrupt_request":
            self._interrupt(header)
        elif kind == "shutdown_request":
            self._shutdown(header, restart=json.loads(parts[3]).get("restart", False))
        elif kind == "kernel_info_request":
            self._answer(header, _KERNEL_INFO)
        elif not self._ready():
            self._answer_before_ready(header, parts)
        else:
            kernel = self.notebook.kernel
            assert kernel is not None
            kernel.forward(_CHANNELS[channel], parts, msg_id)

    def _begin(self, header: dict[str, Any]) -> None:
        """Say that the kernel works on a cell which can't be sent yet."""
        self._begun.add(header["msg_id"])
        self._publish("status", {"execution_state": "busy"}, header)

    def _answer_before_ready(self, header: dict[str, Any], parts: list[bytes]) -> None:
        kind, content = header["msg_type"], json.loads(parts[3])
        if kind == "is_complete_request":
            from IPython.core.inputtransformer2 import TransformerManager

            status, indent = TransformerManager().check_complete(content["code"])
            answer = {"status": status, **({"indent": " " * (indent or 0)} if status == "incomplete" else {})}
            self._answer(header, answer)
        elif kind in _BEFORE_READY:
            self._answer(header, {"status": "ok", **_BEFORE_READY[kind](content)})
        elif kind.endswith("_request"):
            self._answer(header, {"status": "error", "ename": "NotReady", "evalue": "", "traceback": []})

    def _interrupt(self, header: dict[str, Any]) -> None:
        if self._busy_with_job:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        elif self.notebook.kernel is not None:
            self.notebook.kernel.interrupt()
        self._reply("interrupt_reply", {"status": "ok"}, header)

    def _shutdown(self, header: dict[str, Any], restart: bool) -> None:
        """End the remote kernel too; the machine goes on until its idle limit."""
        kernel: RemoteKernel | None = self.notebook.kernel
        if kernel is not None:
            kernel.notify("restart" if restart else "stop", kernel=kernel.id)
        self._reply("shutdown_reply", {"status": "ok", "restart": restart}, header)
        self._publish("shutdown_reply", {"status": "ok", "restart": restart}, header)
        self.jobs.put(None)
        if self._busy_with_job:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    # -- out, from any thread -------------------------------------------------------------------------

    def _answer(self, header: dict[str, Any], content: dict[str, Any]) -> None:
        self._publish("status", {"execution_state": "busy"}, header)
        self._reply(header["msg_type"].replace("_request", "_reply"), content, header)
        self._publish("status", {"execution_state": "idle"}, header)

    def _reply(self, kind: str, content: dict[str, Any], header: dict[str, Any]) -> None:
        channel, idents = self._idents[header["msg_id"]]
        self._put(self.front.sockets[channel], self._new(kind, content, header, idents))

    def _publish(self, kind: str, content: dict[str, Any], header: dict[str, Any]) -> None:
        topic = f"kernel.{self.front.session.session}.{kind}".encode()
        self._put(self.front.iopub, self._new(kind, content, header, [topic]))

    def _new(
        self, kind: str, content: dict[str, Any], header: dict[str, Any], idents: list[bytes]
    ) -> list[Any]:
        message = self.front.session.msg(kind, content, parent={"header": header} if header else None)
        frames: list[Any] = self.front.session.serialize(message, ident=idents)
        return frames

    def _put(self, socket: Any, frames: list[Any]) -> None:
        self._out.put((socket, frames))
        with self._waker_lock:
            self._waker.send(b"")


def main() -> None:
    """Run the kernel for the connection file named with ``-f``."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    RelayKernel(sys.argv[sys.argv.index("-f") + 1]).run()


if __name__ == "__main__":
    main()
