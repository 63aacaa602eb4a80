"""How a command is put to the machine, whichever SSH carries it."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import threading
from collections.abc import Sequence

from ..errors import ConnectionLostError, TransportError
from . import diagnosis
from .base import Process, Transport

PYTHON = ("python3", "-I", "-S", "-c")
"""An interpreter over there that starts fast and loads nothing of the user's."""

ENDING = "end-remote-command"
"""Name of the threads that end commands over there."""
_MARK = "GPU_REMOTE_COMMAND"

# Closing a channel does not end what it runs, so what carries our mark is looked up and ended by hand.
_END = """
import os, signal, sys, time
def marked():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if sys.argv[1].encode() in f.read().split(b"\\0"):
                    yield int(pid)
        except OSError:
            pass
for number, wait in (signal.SIGTERM, 2), (signal.SIGKILL, 0):
    for pid in marked():
        try:
            os.kill(pid, number)
        except OSError:
            pass
    end = time.monotonic() + wait
    while time.monotonic() < end and any(marked()):
        time.sleep(0.02)
"""

_PIPE = """
import os, socket, sys, threading
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError as e:
    sys.exit(e.strerror or str(e))
out = open(1, "wb", buffering=0)
def send(data):
    data = memoryview(data)
    while data:
        data = data[out.write(data):]
def up():
    for data in iter(lambda: os.read(0, 1 << 18), b""):
        s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
send(b"+")
for data in iter(lambda: s.recv(1 << 18), b""):
    send(data)
os._exit(0)
"""


def new_mark() -> str:
    """Return a token by which one command is found again."""
    return secrets.token_hex(8)


def command_line(argv: Sequence[str], mark: str) -> str:
    """Return what the login shell over there is given.

    A shell of ours stays in between, so that a death by signal is an exit code whatever the login shell.
    """
    script = f'export {_MARK}="$0"; "$@"; exit $?'
    return shlex.join(["sh", "-c", script, mark, *argv])


def end_remote(transport: Transport, mark: str) -> None:
    """End the command that carries `mark`, in the background: the machine may be silent."""

    def end() -> None:
        # where it is the machine that failed, nothing can be ended
        with contextlib.suppress(TransportError, OSError):
            process = transport.popen([*PYTHON, _END, f"{_MARK}={mark}"])
            try:
                process.stdin.close()
                process.wait(10)
            finally:
                process.close()

    threading.Thread(target=end, name=ENDING, daemon=True).start()


class PipeStream:
    """A stream to a unix socket over there through the stdin and stdout of a small program."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._process: Process = transport.popen([*PYTHON, _PIPE, path])
        # a program that does not start says so: its end is the end of stdout
        said = ""
        with contextlib.suppress(ConnectionError):  # `wait` says so better
            if self._process.stdout.read(1) == b"+":
                return
            said = self._process.stderr.read().decode(errors="replace").strip()
        self._process.wait(10)
        raise diagnosis.nobody_listens(transport.address, path, said.rpartition("\n")[2])

    def recv(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        data: bytes = self._process.stdout.read1(size)  # type: ignore[attr-defined]
        if not data:
            try:
                self._process.wait(10)
            except ConnectionLostError as e:
                raise ConnectionResetError(str(e)) from e
        return data

    def sendall(self, data: bytes | memoryview, /) -> None:
        """Send it all."""
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def close(self) -> None:
        """Hang up: the program ends with its stdin."""
        self._process.close()
