"""A real agent on this machine, without SSH, that a test may freeze, kill and replace."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from jupyter_gpu_remote.agent.handover import Dialog
from jupyter_gpu_remote.kernel import Execution, Message, RemoteKernel

from .conftest import wait_for

REPOSITORY = Path(__file__).parents[1]


class Agents:
    """The agents of one root folder, one after the other.

    Args:
        root: Their folder.
        constants: Assignments to limits of the agent's modules, such as ``{"process.START_LIMIT": 1}``.
    """

    def __init__(self, root: Path, constants: dict[str, float] | None = None) -> None:
        self.root = root
        self.constants = constants or {}
        self.work = root.parent / "work"
        self.opened: list[RemoteKernel] = []

    def start(self, version: str = "0.1.0") -> dict[str, Any]:
        """Make sure that an agent of at least this version runs."""
        done = subprocess.run(self.command(version), capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    def command(self, version: str) -> list[str]:
        """Return the argv that starts an agent."""
        lines = [
            "import sys",
            f"sys.path.insert(0, {str(REPOSITORY)!r})",
            "from jupyter_gpu_remote.agent import guard, journal, load, process, server, __main__ as main",
            *(f"{name} = {value}" for name, value in self.constants.items()),
            f"sys.argv = ['agent', {str(self.root)!r}, {version!r}]",
            "main.main()",
        ]
        return [sys.executable, "-c", "\n".join(lines)]

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.root / "agent.json").read_text())
        return facts

    @property
    def pid(self) -> int:
        return int(self.facts["pid"])

    @property
    def log(self) -> str:
        return (self.root / "agent.log").read_text()

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the agent and wait until it is gone."""
        process = psutil.Process(self.pid)
        process.kill()
        wait_for(lambda: not process.is_running() or process.status() == "zombie", "the agent to be gone")

    def ask(self, op: str, **arguments: Any) -> Any:
        with Dialog(self.facts["socket"], 20) as dialog:
            return dialog.ask(op, **arguments)

    def connect(self, sure: bool = True) -> socket.socket:
        """Return a stream to the agent; it is started if it does not run."""
        if sure:
            self.start()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.facts["socket"])
        return Shut(connection)  # type: ignore[return-value]

    def kernel(self, name: str = "notebook", **options: Any) -> Seen:
        """Return an opened kernel."""
        seen = Seen(self, name, **options)
        seen.kernel.open()
        return seen

    def memory(self) -> int:
        """Return the agent's resident memory in MB."""
        return psutil.Process(self.pid).memory_info().rss >> 20

    def kernels(self) -> list[psutil.Process]:
        """Return all kernel processes of this root, the spare one included."""
        sockets = (self.root / "sockets").read_text()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if any(sockets in word for word in process.cmdline()) and process.status() != "zombie":
                    found.append(process)
        return found

    def end(self) -> None:
        """End everything."""
        for kernel in self.opened:
            kernel.close()
        with suppress(OSError, ValueError, psutil.Error):
            agent = psutil.Process(self.pid)
            agent.kill()
        with suppress(OSError):
            for process in self.kernels():
                with suppress(psutil.Error):
                    process.kill()
            shutil.rmtree((self.root / "sockets").read_text(), ignore_errors=True)


class Shut:
    """A socket whose `close` wakes who reads from it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.recv, self.sendall = connection.recv, connection.sendall

    def close(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Seen:
    """A kernel, and all that came from it."""

    def __init__(self, agents: Agents, name: str = "notebook", patience: float = 60, **start: Any) -> None:
        self.messages: list[Message] = []
        self.news: list[str] = []
        self.streams: list[Any] = []
        self.on_message: Callable[[Message], None] = lambda message: None
        options = {"python": sys.executable, "cwd": str(agents.work), "env": {}, **start}

        def connect(sure: bool) -> Any:
            self.streams.append(agents.connect(sure))
            return self.streams[-1]

        self.kernel = RemoteKernel(name, connect, options, self, patience)
        agents.opened.append(self.kernel)

    def message(self, message: Message) -> None:
        self.messages.append(message)
        self.on_message(message)

    def connection(self, text: str) -> None:
        self.news.append(text)

    def run(self, code: str, limit: float = 60, **options: Any) -> dict[str, Any]:
        """Run a cell to its end and return the content of its reply."""
        return self.kernel.execute(code, **options).future.result(limit)

    def value(self, expression: str) -> str:
        """Return the repr of an expression over there."""
        reply = self.run("", user_expressions={"it": expression})
        text = reply["user_expressions"]["it"].get("data", reply["user_expressions"]["it"])
        return str(text.get("text/plain", text))

    def text(self, execution: Execution | None = None) -> str:
        """Return what was printed, by one cell or by all."""
        return "".join(
            m.content["text"]
            for m in list(self.messages)
            if m.type == "stream" and execution in (None, m.parent_id)
        )

    def cut(self) -> None:
        """Cut the connection."""
        self.streams[-1].close()


def threads() -> list[str]:
    """Return the names of the threads of links."""
    return [t.name for t in threading.enumerate() if t.name.startswith("link")]


def gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
