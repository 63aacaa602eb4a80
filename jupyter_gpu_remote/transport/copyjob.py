"""The processes over there that move one file together."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import TransportError
from .base import Process, Progress

_PIECE = 1 << 20


class CopyJob(ExitStack):
    """One copy: its processes, their failures, how far they are. Leaving it ends what still runs.

    Args:
        failure: What to say when a process fails, without the reason.
        total: Bytes in all; 0 until a process tells.
        progress: Who wants to know.

    Attributes:
        mode: Permission bits of the file, when a process told.
    """

    def __init__(self, failure: str, total: int, progress: Progress | None) -> None:
        super().__init__()
        self.total = total
        self.mode = 0
        self._failure = failure
        self._progress = progress
        self._starts: dict[BinaryIO, int] = {}
        self._ends: list[Future[str]] = []
        # more than any copy has processes: each has a thread that waits for it
        self._pool = self.enter_context(ThreadPoolExecutor(16))
        self._processes: list[Process] = []
        self.callback(self._close)

    def opened(self, path: Path, mode: str) -> BinaryIO:
        """Return `path`, open and unbuffered until the job ends."""
        return cast(BinaryIO, self.enter_context(path.open(mode, buffering=0)))

    def add(self, process: Process, file: BinaryIO, move: Callable[[], bytes] | None = None) -> None:
        """Watch a process.

        Args:
            process: It.
            file: Unbuffered; its position tells how far the process is.
            move: What is to be done for it here; returns what it said, if anything.
        """
        self._processes.append(process)
        self._starts[file] = file.tell()
        self._ends.append(self._pool.submit(_follow, process, move))

    def feed(self, process: Process, file: BinaryIO, left: int) -> bytes:
        """Write the next `left` bytes of `file` to the process."""
        with contextlib.suppress(OSError, ValueError):  # the process says why it ended
            while left and (data := file.read(min(left, _PIECE))):
                process.stdin.write(data)
                left -= len(data)
            process.stdin.close()
        return b""

    def head(self, process: Process) -> bytes:
        """Take note of the size and mode it tells; return what it said instead."""
        line = b""
        for line in process.stderr:
            if line.startswith(b"@"):
                total, self.mode = map(int, line.split()[1:])
                # several that tell different sizes would make a mixture
                if total != (self.total or total):
                    raise TransportError(f"{self._failure}: it changed meanwhile.")
                self.total = total
                return b""
        return line

    def fetch(self, process: Process, file: BinaryIO, i: int, n: int) -> bytes:
        """Write to `file` the range `i` of `n`, after the size."""
        if said := self.head(process):
            return said
        self._starts[file] = self.total * i // n
        file.seek(self._starts[file])
        while data := cast(io.BufferedReader, process.stdout).read1(_PIECE):
            file.write(data)
        return b""

    def wait(self) -> None:
        """Wait until all have ended.

        Raises:
            TransportError: One failed.
        """
        pending = set(self._ends)
        while pending:
            done, pending = wait(pending, timeout=0.1, return_when="FIRST_EXCEPTION")
            failed = [said for said in (end.result() for end in done) if said]
            if failed:
                raise TransportError(f"{self._failure}: {failed[0]}.")
            if self._progress and self.total:
                moved = sum(max(0, file.tell() - start) for file, start in self._starts.items())
                self._progress(min(moved, self.total), self.total)

    def _close(self) -> None:
        for process in self._processes:
            process.close()


def _follow(process: Process, move: Callable[[], bytes] | None) -> str:
    """Return why `process` failed, empty when it did not."""
    said = b""
    with contextlib.suppress(ConnectionError):  # `wait` says so better
        said = move() if move else b""
        # the reason is in the last line
        said = (process.stderr.read().strip() or said.strip()).rpartition(b"\n")[2]
    code = process.wait()
    return (said.decode(errors="replace") or f"exit code {code}") if code else ""
