"""A kernel process with its sockets, its journal and its life.

Kernels run in process sessions of their own and speak over unix sockets, so they outlive the agent; a
later agent finds them by the `kernel.json` in their folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq

from . import wire
from .folder import Folder
from .journal import Journal

_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
_SOCKETS = {
    wire.SHELL: (zmq.DEALER, 1),
    wire.IOPUB: (zmq.SUB, 2),
    wire.STDIN: (zmq.DEALER, 3),
    wire.CONTROL: (zmq.DEALER, 4),
}
_DELIMITER = b"<IDS|MSG>"
# shell and stdin must show the same identity, and a later agent's replaces ours (ROUTER_HANDOVER)
_IDENTITY = b"agent"


def message(msg_type: str, content: Mapping[str, Any]) -> list[bytes]:
    """Return the parts of a message from the agent itself."""
    header = {
        "msg_id": f"agent-{time.time_ns()}",
        "msg_type": msg_type,
        "username": "agent",
        "session": "agent",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": "5.4",
    }
    return [json.dumps(part).encode() for part in (header, {}, {}, content)]


def _started(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot, None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] == b"Z" else int(fields[19])


def _oom_kills() -> int:
    """Return how many processes the kernel of this machine has killed for memory."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0


class Kernel:
    """One kernel.

    Args:
        kernel_id: Its name; also the name of its folder.
        folder: Where its journal and its facts lie.
        sockets: Folder for its unix sockets; its path must be short.
    """

    def __init__(self, kernel_id: str, folder: Path, sockets: Path) -> None:
        self.id = kernel_id
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.sockets: dict[int, zmq.Socket[bytes]] = {}
        self.seen: dict[str, None] = {}
        self.running: dict[str, float] = {}
        self.executions: deque[tuple[str, int]] = deque(maxlen=100)
        self.active_at = time.time()
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.work: Folder | None = None
        self._sockets = sockets
        self._oom_kills = _oom_kills()
        self._journaled: set[str] = set()
        self._probe: dict[str, list[str]] = {}

    # -- life ---------------------------------------------------------------------------------------

    def start(self, python: str, cwd: str, env: Mapping[str, str]) -> None:
        """Start the process and connect to it; its messages wait until there is a journal.

        Raises:
            OSError: There is no such Python or folder.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = self._sockets / f"{self.id[:12]}-{time.time_ns() % 10**9:x}"
        # no key: the sockets lie in a folder that only this user may enter
        connection = {"transport": "ipc", "ip": str(base), "key": "", "signature_scheme": "hmac-sha256"}
        file = base.with_suffix(".json")  # not in the kernel's folder, which moves when a spare is taken
        file.write_text(json.dumps({**connection, **_PORTS}))
        launcher = Path(__file__).with_name("launcher.py")
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self.process = subprocess.Popen(
                [python, "-Xfrozen_modules=off", str(launcher), "-f", str(file)],
                cwd=cwd,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        pid = self.process.pid
        self.facts = {
            "id": self.id,
            "pid": pid,
            "started": _started(pid),
            "python": python,
            "cwd": cwd,
            "base": str(base),
            "created": time.time(),
        }
        self.save()
        self.connect()

    def save(self) -> None:
        """Write down what a later agent needs to find the process again."""
        new = self.folder / "kernel.json.new"
        new.write_text(json.dumps(self.facts))
        new.replace(self.folder / "kernel.json")

    def find(self) -> bool:
        """Read the facts that an earlier agent wrote; False when that process is gone."""
        try:
            self.facts = json.loads((self.folder / "kernel.json").read_text())
        except (OSError, ValueError):
            return False
        return self.alive()

    def open_journal(self) -> None:
        """Begin or continue the journal; what it has already is not written again."""
        self.journal = Journal(self.folder / "journal")
        if self.journal.next:
            self.seen = dict.fromkeys(self.journal.events("ack"))
            self._journaled = set(self.journal.message_ids())
            finished = set(self.journal.events("finished"))
            started = zip(self.journal.events("execute"), self.journal.events("at"), strict=True)
            self.executions.extend(started)
            self.running = {m: time.time() for m, _ in self.executions if m not in finished}

    def assign(self, kernel_id: str, folder: Path) -> None:
        """Turn a spare kernel into the one called `kernel_id`."""
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.rename(folder)
        self.id, self.folder = kernel_id, folder
        self.facts["id"] = kernel_id
        self.facts["created"] = self.active_at = time.time()
        self.open_journal()
        self.save()

    def move(self, cwd: str, env: Mapping[str, str]) -> None:
        """Change folder and environment of a kernel that has run nothing yet."""
        code = f"__import__('os').chdir({cwd!r}); __import__('os').environ.update({dict(env)!r})"
        request = {"code": code, "silent": True, "store_history": False, "allow_stdin": False}
        self.sockets[wire.SHELL].send_multipart([_DELIMITER, b"", *message("execute_request", request)])
        self.facts["cwd"] = cwd
        self.save()

    def connect(self) -> None:
        """Open the sockets to the process."""
        self.pidfd = os.pidfd_open(self.facts["pid"])
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        for channel, (kind, port) in _SOCKETS.items():
            socket = context.socket(kind)
            socket.linger = 0
            socket.rcvhwm = socket.sndhwm = 0
            socket.reconnect_ivl = 2
            if kind == zmq.SUB:
                socket.subscribe(b"")
            else:
                socket.identity = _IDENTITY
            socket.connect(f"ipc://{self.facts['base']}-{port}")
            self.sockets[channel] = socket

    def ask_what_is_over(self) -> None:
        """Find out which running cells ended unseen: the kernel answers this after what came before."""
        if self.running:
            request = message("kernel_info_request", {})
            self._probe = {json.loads(request[0])["msg_id"]: list(self.running)}
            self.sockets[wire.SHELL].send_multipart([_DELIMITER, b"", *request])

    def log_tail(self) -> str:
        """Return the last lines that the process wrote outside of Jupyter's channels."""
        with contextlib.suppress(OSError):
            return (self.folder / "log").read_text(errors="replace").strip()[-600:]
        return ""

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self.facts.get("started") is not None and _started(self.facts["pid"]) == self.facts["started"]

    def signal(self, number: int) -> None:
        """Signal the kernel and the processes it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.facts["pid"], number)

    def disconnect(self) -> None:
        """Let go of the sockets; the process goes on."""
        for socket in self.sockets.values():
            socket.close()
        self.sockets = {}
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def cause_of_death(self) -> str:
        """Return why the process ended, as far as that can be known."""
        code = self.process.wait() if self.process else None
        if code is None:
            return "it ended while no agent watched it"
        if code == -signal.SIGKILL and _oom_kills() > self._oom_kills:
            return "the machine ran out of memory and killed it"
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}"
        return f"it exited with code {code}"

    # -- messages -----------------------------------------------------------------------------------

    def event(self, **event: Any) -> None:
        """Journal something about this kernel."""
        self.journal.append(wire.EVENT, [json.dumps(event).encode()])

    def send(self, channel: int, parts: Sequence[bytes]) -> None:
        """Pass a client's message on, once, however often it is sent."""
        header = json.loads(parts[0])
        msg_id = header["msg_id"]
        if msg_id in self.seen:
            return
        # written before it is passed on: after a crash it may be lost, but it can't run twice
        executes = header["msg_type"] == "execute_request"
        started = {"execute": msg_id, "at": self.journal.next} if executes else {}
        self.event(ack=msg_id, **started)
        self.seen[msg_id] = None
        if len(self.seen) > 20_000:
            del self.seen[next(iter(self.seen))]
        if executes:
            self.running[msg_id] = self.active_at = time.time()
            self.executions.append((msg_id, started["at"]))
        if channel in self.sockets:
            self.sockets[channel].send_multipart([_DELIMITER, b"", *parts], copy=False)

    def receive(self, channel: int, limit: int = 64) -> None:
        """Journal what the kernel has sent, up to `limit` messages."""
        socket = self.sockets[channel]
        for _ in range(limit):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            start = next((i for i, f in enumerate(frames) if f.buffer == _DELIMITER), None)
            if start is None:
                continue  # iopub_welcome of ipykernel 7 has no message in it
            parts = [frame.buffer for frame in frames[start + 2 :]]
            if self._journaled and json.loads(bytes(parts[0])).get("msg_id") in self._journaled:
                continue  # an earlier agent had it too, just before we took over
            if self.running and channel == wire.SHELL:
                parent = json.loads(bytes(parts[1])).get("msg_id")
                if self.running.pop(parent, None) is not None:
                    self._finish(parent)
                for msg_id in self._probe.pop(parent, ()):
                    if self.running.pop(msg_id, None) is not None:
                        self.event(lost=msg_id)
            self.journal.append(channel, parts)

    def _finish(self, msg_id: str) -> None:
        """Say that a cell has ended, before its reply does, and whether files have changed meanwhile."""
        self.active_at = time.time()
        changed = self.work is not None and self.work.changed()
        self.event(finished=msg_id, files=changed, disk_full=self.journal.in_memory)
