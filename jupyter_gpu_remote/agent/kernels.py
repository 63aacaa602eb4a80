"""One kernel: its process, the sockets to it, and its journal."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq

from . import process, wire
from .cells import Cells
from .folder import Folder
from .journal import Journal
from .process import Process

_SOCKETS = {
    wire.SHELL: (zmq.DEALER, process.SHELL_PORT),
    wire.IOPUB: (zmq.SUB, process.IOPUB_PORT),
    wire.STDIN: (zmq.DEALER, process.STDIN_PORT),
    wire.CONTROL: (zmq.DEALER, process.CONTROL_PORT),
}
_DELIMITER = b"<IDS|MSG>"
_OURS = b'"agent-'
"""In the parent header of what answers a message from the agent itself: no client's business."""
_INPUT, _STATUS, _BUSY = b'"execute_input"', b'"status"', b'"busy"'
HOLD = 0.005
"""Seconds; a cell that does nothing is over by then."""
_WELCOME = b'"iopub_welcome"'
_NOW = int(zmq.NOBLOCK)
_DRAIN = 2.0
_MOMENT_MS = 5
"""Seconds for what a dead process has left in its sockets; after this many milliseconds nothing comes."""
# shell and stdin must show the same identity, and a later agent's replaces ours (ROUTER_HANDOVER)
_IDENTITY = b"agent"


def new_id() -> str:
    """Return the id for a message from the agent itself."""
    return f"agent-{uuid.uuid4().hex}"


def message(msg_type: str, content: Mapping[str, Any], msg_id: str = "") -> list[bytes]:
    """Return the parts of a message from the agent itself."""
    header = {
        "msg_id": msg_id or new_id(),
        "msg_type": msg_type,
        "username": "agent",
        "session": "agent",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": "5.4",
    }
    return [json.dumps(part).encode() for part in (header, {}, {}, content)]


class Kernel:
    """One kernel.

    Args:
        kernel_id: Its name; also the name of its folder.
        folder: Where its journal and its facts lie.
        sockets: Folder for its unix sockets; its path must be short.
    """

    def __init__(self, kernel_id: str, folder: Path, sockets: Path) -> None:
        self.id = kernel_id
        self.process = Process(folder, sockets)
        self.journal: Journal
        self.sockets: dict[int, zmq.Socket[bytes]] = {}
        self.cells = Cells()
        self.active_at = self.worked_at = time.time()
        self.unseen = 0.0
        """Seconds of work that ended since a client was last heard."""
        self.work: Folder | None = None
        self.heard = False
        self.has_run = False
        self.mark = ""
        self.hand_over_at = ""
        self.handed_over = False
        self._hurry = False
        self._waiting_since = 0.0
        self._probe: dict[str, list[str]] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """What is known about its process."""
        return self.process.facts

    # -- life ---------------------------------------------------------------------------------------

    def start(self, python: str, cwd: str, env: Mapping[str, str]) -> None:
        """Start the process and connect to it; its messages wait until there is a journal.

        Raises:
            OSError: There is no such Python, or the folder cannot be made.
        """
        self.process.start(self.id, python, cwd, env)
        self.heard = self.has_run = False
        self._probe = {}
        self.connect()
        self._ask("kernel_info_request", {}, wire.CONTROL)  # its answer shows that it has started

    def open_journal(self) -> None:
        """Begin or continue the journal."""
        self.journal = Journal(self.process.folder / "journal", self.cells.checkpoint)
        for event in self.journal.events():
            self.cells.recall(event)

    def assign(self, kernel_id: str, folder: Path, cwd: str, env: Mapping[str, str]) -> None:
        """Turn a spare kernel, which has run nothing yet, into the one called `kernel_id`."""
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process.folder.rename(folder)
        self.id, self.process.folder = kernel_id, folder
        self.facts.update(cwd=cwd, env=dict(env), created=time.time())
        self.active_at = time.time()
        self.open_journal()
        code = f"__import__('os').chdir({cwd!r}); __import__('os').environ.update({dict(env)!r})"
        request = {"code": code, "silent": True, "store_history": False, "allow_stdin": False}
        self._ask("execute_request", request, wire.SHELL)

    def _ask(self, msg_type: str, content: Mapping[str, Any], channel: int, msg_id: str = "") -> str:
        """Send a message of our own and return its id."""
        parts = message(msg_type, content, msg_id)
        self.sockets[channel].send_multipart([_DELIMITER, b"", *parts])
        return str(json.loads(parts[0])["msg_id"])

    def connect(self) -> None:
        """Open the sockets to the process."""
        self.process.watch()
        self.listen()
        self.take_over()

    def listen(self) -> None:
        """Open the socket that more than one agent can have."""
        self._open(wire.IOPUB)
        self.sockets[wire.IOPUB].subscribe(b"")

    def take_over(self) -> None:
        """Open the other sockets, if they aren't; from then on what the kernel answers comes here."""
        for channel in {wire.SHELL, wire.STDIN, wire.CONTROL} - self.sockets.keys():
            self._open(channel)

    def _open(self, channel: int) -> None:
        kind, port = _SOCKETS[channel]
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        socket = self.sockets[channel] = context.socket(kind)
        socket.linger = 0
        socket.sndhwm = 0
        # outputs that are not read yet wait in the kernel's process: the agent stays small
        socket.rcvhwm = 100 if kind == zmq.SUB else 0
        socket.reconnect_ivl = 2
        if kind == zmq.DEALER:
            socket.identity = _IDENTITY
        socket.connect(f"ipc://{self.facts['base']}-{port}")

    def choose_mark(self) -> str:
        """Return the id of what will part what the old agent journals from what we do."""
        self.mark = new_id()
        return self.mark

    def publish_mark(self) -> None:
        """Have the kernel publish it."""
        self._ask("kernel_info_request", {}, wire.CONTROL, self.mark)

    def ask_what_is_over(self) -> None:
        """Find out which running cells ended unseen: the kernel answers this after what came before."""
        if running := list(self.cells.running):
            self._probe[self._ask("kernel_info_request", {}, wire.SHELL)] = running

    def disconnect(self) -> None:
        """Let go of the process; it goes on."""
        for socket in self.sockets.values():
            socket.close()
        self.sockets = {}
        self.process.unwatch()

    # -- messages -----------------------------------------------------------------------------------

    def event(self, **event: Any) -> None:
        """Journal something about this kernel."""
        self._journal(wire.EVENT, [json.dumps(event).encode()], hurry="ack" not in event)

    def send(self, channel: int, parts: Sequence[bytes]) -> None:
        """Pass a client's message on, once, however often it is sent.

        Raises:
            ValueError, TypeError, KeyError: It is no Jupyter message.
        """
        if len(parts) < 4 or channel not in self.sockets:
            raise ValueError("no message for a kernel")
        header = json.loads(parts[0])
        msg_id = header["msg_id"]
        if msg_id in self.cells.seen:
            return self.event(ack=msg_id)  # the first one may be too old to be kept
        # written before it is passed on: after a crash it may be lost, but it can't run twice
        executes = header["msg_type"] == "execute_request"
        started = {"execute": msg_id, "at": self.journal.next} if executes else {}
        self.event(ack=msg_id, **started)
        self.cells.take(msg_id)
        if executes:
            self.has_run, self.active_at = True, time.time()
            self.cells.begin(msg_id, started["at"])
        self.sockets[channel].send_multipart([_DELIMITER, b"", *parts], copy=False)

    def receive(self, channel: int, limit: int = 64) -> None:
        """Journal what the kernel has sent, up to `limit` messages."""
        socket = self.sockets[channel]
        for _ in range(limit):
            if channel == wire.IOPUB and self.handed_over:
                return  # the rest is for the next agent
            try:
                frames = socket.recv_multipart(_NOW, copy=False)
            except zmq.Again:
                return
            start = next((i for i, f in enumerate(frames) if f.buffer == _DELIMITER), None)
            parts = [frame.buffer for frame in frames[start + 2 :]] if start is not None else []
            if len(parts) < 4 or _WELCOME in bytes(parts[0]):
                continue  # says that we are subscribed, not that the kernel has started
            self.heard = True
            self.worked_at = time.time()
            if self._is_ours(channel, parts):
                continue
            if self.mark and channel == wire.IOPUB:
                continue  # the agent before us has it
            if self.cells.running and channel == wire.SHELL:
                parent = json.loads(bytes(parts[1])).get("msg_id")
                if (began := self.cells.running.get(parent)) is not None:
                    self._finish(parent, began, _outcome(parts))
            self._keep(channel, parts)

    def drain(self) -> None:
        """Journal the last that a process has sent which is no more."""
        for channel, socket in self.sockets.items():
            end = time.monotonic() + _DRAIN
            while socket.poll(_MOMENT_MS) and time.monotonic() < end:
                self.receive(channel)

    def _is_ours(self, channel: int, parts: Sequence[memoryview]) -> bool:
        """Take notice of what answers a message of our own."""
        raw = bytes(parts[1])
        if _OURS not in raw:
            return False
        parent = json.loads(raw)["msg_id"]
        if parent == self.mark and channel == wire.IOPUB:
            self.mark = ""
        if parent == self.hand_over_at and channel == wire.IOPUB:
            self.handed_over = True
        if channel == wire.SHELL:
            for msg_id in self._probe.pop(parent, ()):
                if msg_id in self.cells.running:
                    outcome = {"status": "lost", "at": time.time()}
                    self.cells.end(msg_id, outcome)
                    self.event(lost=msg_id, outcome=outcome)
        return True

    def _keep(self, channel: int, parts: Sequence[memoryview]) -> None:
        size = sum(map(len, parts))
        if size <= wire.MAX_BYTES:
            head = bytes(parts[0]) if channel == wire.IOPUB else b""
            begins = _INPUT in head or (_STATUS in head and _BUSY in parts[3].tobytes())
            return self._journal(channel, parts, hurry=not begins)
        text = f"An output of {size >> 20} MiB was dropped: it is larger than {wire.MAX_BYTES >> 20} MiB.\n"
        header, _, metadata, content = message("stream", {"name": "stderr", "text": text})
        self._journal(wire.IOPUB, [header, parts[1], metadata, content], hurry=True)

    def _journal(self, channel: int, parts: Sequence[wire.Part], hurry: bool) -> None:
        self.journal.append(channel, parts)
        self._hurry = self._hurry or hurry
        self._waiting_since = self._waiting_since or time.monotonic()

    def holds(self, now: float) -> bool:
        """Return whether what is new can wait for what comes next, to go out with it in one piece.

        That a cell has begun interests nobody by itself, and each piece costs six processes a wake-up.
        """
        return bool(self._waiting_since) and not self._hurry and now - self._waiting_since < HOLD

    def sent(self) -> None:
        """Note that clients have been given all there is."""
        self._hurry, self._waiting_since = False, 0.0

    def _finish(self, msg_id: str, began: float, outcome: dict[str, Any]) -> None:
        """Say that a cell has ended, before its reply does, and whether files have changed meanwhile."""
        self.unseen += time.time() - max(began, self.active_at)
        self.active_at = time.time()
        changed = self.work is not None and self.work.changed()
        self.cells.end(msg_id, outcome)
        # the reply may overtake the output for which there is no room
        full = self.journal.disk_full
        self.event(finished=msg_id, files=changed, disk_full=full, outcome=outcome)


def _outcome(reply: Sequence[memoryview]) -> dict[str, Any]:
    """Return how a cell ended, by its reply."""
    content = json.loads(bytes(reply[3]))
    status = "refused" if (content.get("gpu_remote") or {}).get("refused") else content.get("status")
    return {"status": status, "error": content.get("ename", ""), "at": time.time()}
