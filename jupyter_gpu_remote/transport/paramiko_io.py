"""A channel of paramiko as files, and with a cut as the error it is elsewhere."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import paramiko

# paramiko copies what is left to send at each step, so it is given no more than a step
STEP = 1 << 15


class Reader(io.RawIOBase):
    """What `recv` returns, as a file."""

    def __init__(self, recv: Callable[[int], bytes]) -> None:
        self._recv = recv

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = receive(self._recv, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Writer(io.RawIOBase):
    """A channel to write to, as a file; closing it sends end-of-file."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return send(self._channel, data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            try:
                self._channel.shutdown_write()
            except (EOFError, paramiko.SSHException) as e:
                raise ConnectionResetError("the SSH connection is gone") from e


def close(channel: paramiko.Channel) -> None:
    """Close `channel`, also when its connection is gone."""
    # the other side is told, which then fails
    with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
        channel.close()


def receive(recv: Callable[[int], bytes], size: int) -> bytes:
    """Return what `recv` does; a cut is an `OSError`."""
    # receiving makes paramiko send, which fails in its own ways when the connection is cut
    try:
        return recv(size)
    except (EOFError, paramiko.SSHException) as e:
        raise ConnectionResetError("the SSH connection is gone") from e


def send(channel: paramiko.Channel, data: Any) -> int:
    """Send all of `data` and return its length; a cut is an `OSError`."""
    view = memoryview(data).cast("B")
    sent = 0
    try:
        while sent < len(view):
            sent += channel.send(bytes(view[sent : sent + STEP]))
    except (EOFError, paramiko.SSHException) as e:
        raise ConnectionResetError("the SSH connection is gone") from e
    return sent
