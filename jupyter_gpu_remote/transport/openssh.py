"""SSH by the OpenSSH client, over a ControlMaster of our own."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import BinaryIO, cast

from ..errors import ConnectionLostError, TransportError, TransportTimeoutError
from ..model import Address
from . import diagnosis
from .base import Completed, Process, Stream, Transport
from .bulk import BulkTransport
from .commands import PipeStream, command_line, end_remote, new_mark
from .login import environment
from .master import Master

_ANSWER = 5.0
_STREAM = 30.0
_HOST = "gpu-remote"  # a mux client needs some word there; the socket decides
_lane_numbers = itertools.count()


class OpenSshTransport(BulkTransport):
    """One machine over OpenSSH.

    Args:
        address: Where it is.
        lane: For a connection of this process alone, a name that begins with a dash.
    """

    def __init__(self, address: Address, *, lane: str = "") -> None:
        super().__init__(address)
        self._master = Master(address, lane)
        self._lock = threading.Lock()
        self._opened = False
        self._suspect = False  # also of a connection that was left: another look is due
        self._piped = False

    def open(self, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise diagnosis.no_answer(self.address, timeout)
        try:
            if self._opened and not self._suspect and self._master.listening():
                return
            self._opened = False
            with self._master.locked(deadline):
                if not self._reuse(min(_ANSWER, timeout / 3)):
                    self._master.start(max(1.0, deadline - time.monotonic()))
            self._opened, self._suspect = True, False
        finally:
            self._lock.release()

    def _reuse(self, timeout: float) -> bool:
        """Return whether a master is there and its connection answers; what does not is cleared away."""
        with contextlib.suppress(ConnectionLostError, TransportTimeoutError):
            self._master.probe(timeout)
            return True
        if self._master.path.exists():
            self._master.kill()
        return False

    def alive(self) -> bool:
        return not self._suspect and self._master.listening()

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 60) -> Completed:
        mark = new_mark()
        try:
            done = subprocess.run(
                self._command(argv, mark),
                input=input,
                capture_output=True,
                timeout=timeout,
                start_new_session=True,
                env=environment(),
            )
        except subprocess.TimeoutExpired:
            self._suspect = True
            end_remote(self, mark)
            raise diagnosis.still_running(self.address, argv[0], timeout) from None
        except BaseException:
            end_remote(self, mark)
            raise
        code = self._exit_code(done.returncode)
        if code == 255 and b"session request failed" in done.stderr:
            raise TransportError(
                f"{diagnosis.place(self.address)} allows no more commands at once: "
                + done.stderr.decode(errors="replace").strip(),
                hint="Raise MaxSessions in its sshd_config.",
            )
        return Completed(tuple(argv), code, done.stdout, done.stderr)

    def popen(
        self, argv: Sequence[str], *, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None
    ) -> Process:
        if not self._master.listening():
            raise diagnosis.lost(self.address)
        mark = new_mark()
        process = subprocess.Popen(
            self._command(argv, mark),
            stdin=stdin or subprocess.PIPE,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment(),
        )
        return _Process(self, process, argv[0], mark, stdin, stdout)

    def _command(self, argv: Sequence[str], mark: str) -> list[str]:
        self._master.settle()
        return [*self._master.client, _HOST, command_line(argv, mark)]

    def _exit_code(self, code: int) -> int:
        """Return `code` if it is the command's, which cannot be when the connection is gone."""
        if code < 0 or (code == 255 and not self._master.listening()):
            raise diagnosis.lost(self.address)
        return code

    def connect_unix(self, path: str, *, sure: bool = True) -> Stream:
        if not self._piped:
            try:
                stream = self._master.connect(path, _STREAM, sure)
            except TransportTimeoutError:
                self._suspect = True
                raise
            if stream:
                return _Socket(self, stream)
        # Nobody listens, or forwarding is not allowed: a refusal does not say which.
        piped = PipeStream(self, path)
        self._piped = True
        return piped

    @property
    def rsync_shell(self) -> Sequence[str] | None:
        return tuple(self._master.client)

    def learnt_host_key(self) -> str:
        # a connection that another process made counts: it learnt the key
        known = self.address.host_key or self._opened or self._master.listening()
        return self._master.login.host_key() if known else ""

    def close(self) -> None:
        self._close_lanes()
        self._opened, self._suspect = False, True

    def disconnect(self) -> None:
        self.close()
        self._master.remove(10)

    def _new_lane(self) -> Transport:
        return OpenSshTransport(self.address, lane=f"-{os.getpid()}-{next(_lane_numbers)}")

    def _round_trip(self) -> float:
        return self._master.probe(_STREAM)


class _Process:
    """A mux client of the master."""

    def __init__(
        self,
        transport: OpenSshTransport,
        process: subprocess.Popen[bytes],
        program: str,
        mark: str,
        stdin: BinaryIO | None,
        stdout: BinaryIO | None,
    ) -> None:
        self.stdin = cast(BinaryIO, stdin or process.stdin)
        self.stdout = cast(BinaryIO, stdout or process.stdout)
        self.stderr = cast(BinaryIO, process.stderr)
        self._transport = transport
        self._process = process
        self._program = program
        self._mark = mark

    def wait(self, timeout: float | None = None) -> int:
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise diagnosis.still_running(self._transport.address, self._program, timeout or 0) from None
        return self._transport._exit_code(code)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def kill(self) -> None:
        if self._process.poll() is None:
            self.close()
            end_remote(self._transport, self._mark)


class _Socket:
    """A forwarded unix socket; one that never says anything casts doubt on the connection."""

    def __init__(self, transport: OpenSshTransport, sock: socket.socket) -> None:
        self._transport = transport
        self._socket = sock
        self._heard = False

    def recv(self, size: int, /) -> bytes:
        data = self._socket.recv(size)
        if data:
            self._heard = True
        elif not self._transport._master.listening():
            raise ConnectionResetError(f"the SSH connection to {self._transport.address.host} is gone")
        return data

    def sendall(self, data: bytes | memoryview, /) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._transport._suspect |= not self._heard
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
