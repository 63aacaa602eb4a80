"""SSH by paramiko: where there is no OpenSSH that can share a connection, as on Windows."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO, cast

import paramiko

from ..errors import TransportError
from ..model import Address
from . import diagnosis
from .base import Completed, Process, Stream, Transport
from .bulk import BulkTransport
from .commands import PipeStream, command_line, end_remote, new_mark
from .paramiko_io import STEP, Reader, Writer, close, receive, send
from .paramiko_login import Connection, ParamikoLogin

_ANSWER = 5.0
_CHANNEL = 30.0
# Nobody can listen there: the refusal takes exactly one round trip and starts nothing.
_NOWHERE = "/dev/null/probe"
# Commands that have ended count among those a machine allows for a moment more.
_PAUSES = (0.02, 0.1, 0.4)
_PIECE = 1 << 18


class ParamikoTransport(BulkTransport):
    """One machine over paramiko; the connection is this object's alone."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._suspect = False
        self._host_key = address.host_key

    def open(self, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise diagnosis.no_answer(self.address, timeout)
        try:
            if self.alive() and not (self._suspect and self._silent(min(_ANSWER, timeout / 3))):
                return
            if self._connection:
                self._connection.close()
            self._connection = ParamikoLogin(self.address).connect(deadline)
            self._suspect = False
            key = self._connection.get_remote_server_key()
            self._host_key = f"{key.get_name()} {key.get_base64()}"
        finally:
            self._lock.release()

    def _silent(self, timeout: float) -> bool:
        """Return whether the connection only seems to be there."""
        try:
            self._probe(timeout)
        except TransportError:
            return True
        self._suspect = False
        return False

    def alive(self) -> bool:
        return self._connection is not None and self._connection.is_active()

    def _channel(self, start: Callable[[Connection], paramiko.Channel], timeout: float) -> paramiko.Channel:
        """Return the channel that `start` opens; a refusal stays a `ChannelException`."""
        connection = self._connection
        if connection is None or not connection.is_active():
            raise diagnosis.lost(self.address)
        try:
            return start(connection)
        except paramiko.ChannelException:
            raise
        except (OSError, EOFError, paramiko.SSHException) as e:
            if connection.is_active():
                self._suspect = True
                raise diagnosis.no_answer(self.address, timeout) from e
            raise diagnosis.lost(self.address) from e

    def _start(self, argv: Sequence[str], timeout: float) -> _Process:
        mark = new_mark()
        line = command_line(argv, mark)
        for pause in (*_PAUSES, 0.0):
            started = self._session(line, timeout)
            if started:
                return _Process(self, started, argv[0], mark)
            time.sleep(pause)
        raise TransportError(
            f"{diagnosis.place(self.address)} allows no more commands at once.",
            hint="Raise MaxSessions in its sshd_config.",
        )

    def _session(self, line: str, timeout: float) -> paramiko.Channel | None:
        try:
            return self._channel(lambda c: c.start_command(line, timeout), timeout)
        except paramiko.ChannelException:
            return None

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 60) -> Completed:
        deadline = time.monotonic() + timeout
        process = self._start(argv, timeout)
        out, err = io.BytesIO(), io.BytesIO()
        try:
            process.feed(io.BytesIO(input))
            process.drain(process.stdout, out)
            process.drain(process.stderr, err)
            code = process.wait(deadline - time.monotonic())
            process.close()
        except BaseException:
            self._suspect = True
            process.kill()
            raise
        return Completed(tuple(argv), code, out.getvalue(), err.getvalue())

    def popen(
        self, argv: Sequence[str], *, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None
    ) -> Process:
        process = self._start(argv, _CHANNEL)
        if stdin:
            process.feed(stdin)
        if stdout:
            process.drain(process.stdout, stdout)
        return process

    def connect_unix(self, path: str, *, sure: bool = True) -> Stream:
        try:
            channel = self._channel(lambda c: c.open_unix(path, _CHANNEL), _CHANNEL)
        except paramiko.ChannelException:
            # Nobody listens, or forwarding is not allowed: a refusal does not say which.
            return PipeStream(self, path)
        return _ChannelStream(channel)

    @property
    def rsync_shell(self) -> Sequence[str] | None:
        return None

    def learnt_host_key(self) -> str:
        return self._host_key

    def close(self) -> None:
        self._close_lanes()
        if self._connection:
            self._connection.close()
            self._connection = None

    def _new_lane(self) -> Transport:
        return ParamikoTransport(self.address)

    def _round_trip(self) -> float:
        return self._probe(_CHANNEL)

    def _probe(self, timeout: float) -> float:
        start = time.monotonic()
        with contextlib.suppress(paramiko.ChannelException):
            self._channel(lambda c: c.open_unix(_NOWHERE, timeout), timeout).close()
        return time.monotonic() - start


class _Process:
    """A command on a channel."""

    def __init__(
        self, transport: ParamikoTransport, channel: paramiko.Channel, program: str, mark: str
    ) -> None:
        self.stdin = cast(BinaryIO, io.BufferedWriter(Writer(channel), STEP))
        self.stdout = cast(BinaryIO, io.BufferedReader(Reader(channel.recv), _PIECE))
        self.stderr = cast(BinaryIO, io.BufferedReader(Reader(channel.recv_stderr), _PIECE))
        self._transport = transport
        self._channel = channel
        self._program = program
        self._mark = mark
        self._copies: list[threading.Thread] = []
        self._failure: OSError | None = None

    def feed(self, source: BinaryIO) -> None:
        """Send `source` to the command's stdin from now on."""

        def copy() -> None:
            try:
                while data := source.read(_PIECE):
                    self.stdin.write(data)
                self.stdin.close()
            except (OSError, ValueError):
                pass  # the command ended without reading it all, which its exit code explains

        self._copy(copy)

    def drain(self, source: BinaryIO, target: BinaryIO) -> None:
        """Write what the command says on `source` to `target` from now on."""

        def copy() -> None:
            try:
                while data := cast(io.BufferedReader, source).read1(_PIECE):
                    target.write(data)
            except OSError as e:
                self._failure = e
                close(self._channel)

        self._copy(copy)

    def _copy(self, copy: Callable[[], None]) -> None:
        thread = threading.Thread(target=copy, name=f"ssh {self._program}", daemon=True)
        thread.start()
        self._copies.append(thread)

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = self._channel.status_event.wait(timeout)
        for thread in self._copies:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            ended = ended and not thread.is_alive()
        if not ended:
            raise diagnosis.still_running(self._transport.address, self._program, timeout or 0)
        if self._failure and not isinstance(self._failure, ConnectionError):
            raise self._failure
        if self._failure or self._channel.exit_status < 0:
            raise diagnosis.lost(self._transport.address)
        return int(self._channel.exit_status)

    def close(self) -> None:
        close(self._channel)

    def kill(self) -> None:
        if not self._channel.exit_status_ready():
            end_remote(self._transport, self._mark)
        self.close()


class _ChannelStream:
    """A channel to a unix socket."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def recv(self, size: int, /) -> bytes:
        data = receive(self._channel.recv, size)
        if not data and not self._channel.get_transport().is_active():
            raise ConnectionResetError("the SSH connection is gone")
        return data

    def sendall(self, data: bytes | memoryview, /) -> None:
        send(self._channel, data)

    def close(self) -> None:
        close(self._channel)
