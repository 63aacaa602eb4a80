"""What a connection to a machine can do, whichever SSH is underneath.

Synchronous and safe to use from several threads. Arguments are argv lists; the one place where a remote
shell sees a string is inside a transport, through `shlex.join`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import TransportError
from ..model import Address

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


@dataclass(frozen=True)
class Completed:
    """How a command over there ended."""

    argv: Sequence[str]
    returncode: int
    stdout: bytes
    stderr: bytes

    def check(self) -> Completed:
        """Return self when the command succeeded.

        Raises:
            TransportError: It exited with another code than 0.
        """
        if self.returncode:
            said = (self.stderr or self.stdout).decode("utf-8", "replace").strip()
            raise TransportError(
                f"{self.argv[0]} on the machine exited with code {self.returncode}: "
                f"{said[-2000:] or 'no output'}"
            )
        return self


class Process(Protocol):
    """A running command over there. Closing `stdin` sends end-of-file; flush what must arrive before that."""

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, 128 + N when signal N ended it.

        Raises:
            TransportTimeoutError: It still runs after `timeout` seconds.
            ConnectionLostError: The connection broke before it ended.
        """

    def close(self) -> None:
        """Free the channel; a command that still runs meets the end of its streams."""

    def kill(self) -> None:
        """End it, and free the channel."""


class Stream(Protocol):
    """A two-way byte stream, as a connected socket behaves."""

    def recv(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end; raise `OSError` when cut."""

    def sendall(self, data: bytes | memoryview, /) -> None:
        """Send it all; raise `OSError` when cut."""

    def close(self) -> None:
        """Close at once; a `recv` waiting in another thread returns or raises."""


class Transport(ABC):
    """One machine over SSH.

    Args:
        address: Where it is, with the key to log in and the host key to insist on.
    """

    def __init__(self, address: Address) -> None:
        self.address = address

    @abstractmethod
    def open(self, timeout: float = 30) -> None:
        """Connect and authenticate; no effect when connected and alive.

        Raises:
            HostKeyError: The machine shows another host key than the pinned one.
            SshAuthError: It does not accept our key.
            TransportTimeoutError: It did not answer within `timeout` seconds.
            TransportError: Anything else.
        """

    @abstractmethod
    def alive(self) -> bool:
        """Return whether the connection is believed to work, without a round trip."""

    @abstractmethod
    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 60) -> Completed:
        """Run a command to its end.

        Raises:
            TransportTimeoutError: It was still running after `timeout` seconds; it is ended.
            ConnectionLostError: The connection broke.
        """

    @abstractmethod
    def popen(
        self, argv: Sequence[str], *, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None
    ) -> Process:
        """Start a command and return its streams.

        Args:
            argv: The command and its arguments.
            stdin: An open file, read from where it stands, in place of a pipe.
            stdout: An open file, written from where it stands, in place of a pipe.

        Raises:
            ConnectionLostError: There is no connection.
        """

    @abstractmethod
    def connect_unix(self, path: str, *, sure: bool = True) -> Stream:
        """Return a stream to the unix socket `path` over there.

        Args:
            path: Absolute path.
            sure: Wait until it is known that somebody listens; otherwise, where nobody does, the stream may
                end before its first byte, and a caller that speaks first saves a round trip.

        Raises:
            TransportError: Nobody listens there, or the connection broke.
        """

    @abstractmethod
    def put(self, source: Path, target: str, progress: Progress | None = None) -> None:
        """Copy one file out, with its permission bits; it appears under `target` only when complete.

        Over several connections at once when it is large and the link is long.

        Raises:
            TransportError: It cannot be written over there.
            OSError: It cannot be read here.
        """

    @abstractmethod
    def get(self, source: str, target: Path, progress: Progress | None = None) -> None:
        """Copy one file back, like `put`.

        Raises:
            TransportError: It cannot be read over there.
            OSError: It cannot be written here.
        """

    @abstractmethod
    def lanes(self, size: int) -> Sequence[Transport]:
        """Return the connections over which commands move `size` bytes fastest side by side.

        One may be named more than once, for as many commands.
        """

    @property
    @abstractmethod
    def rsync_shell(self) -> Sequence[str] | None:
        """The argv for rsync's ``-e``, host excluded; None where rsync cannot be carried."""

    @abstractmethod
    def learnt_host_key(self) -> str:
        """The host key of the machine that answered, to be pinned; empty before there is a connection."""

    @abstractmethod
    def close(self) -> None:
        """Release what this object holds; a connection shared with other processes stays for them."""

    def disconnect(self) -> None:
        """End the connection for every process and delete its files: for when the machine is gone."""
        self.close()
