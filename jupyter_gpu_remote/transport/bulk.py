"""`put` and `get`: one file, as fast as the link allows, the same for both transports.

One SSH connection moves at most its window of 2 MiB in each round trip, and more channels on it hardly
help. So a large file on a long link goes as byte ranges over connections of its own; that also keeps it
out of the way of outputs.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from ..errors import TransportError
from ..model import Address
from .base import Process, Progress, Transport
from .commands import PYTHON
from .diagnosis import place

LARGE = 16 << 20
LONG = 0.02
LANES = 4

# path, first byte, length; with "-" for the length: all of it, if it is smaller than the fourth argument.
_GET = """
import os, stat, sys
path, start, length, limit = sys.argv[1:]
try:
    if not stat.S_ISREG(os.stat(path).st_mode):
        sys.exit("Not a regular file")
    with open(path, "rb", buffering=0) as f:
        if length == "-":
            info = os.fstat(f.fileno())
            print("@", info.st_size, info.st_mode & 0o777, file=sys.stderr, flush=True)
            length = info.st_size if info.st_size < int(limit) else 0
        left = int(length)
        f.seek(int(start))
        while left and (data := memoryview(f.read(min(left, 1 << 20)))):
            left -= len(data)
            while data:
                data = data[os.write(1, data):]
    sys.exit("it became shorter meanwhile" if left else 0)
except OSError as e:
    sys.exit(e.strerror)
"""

# part, first byte, length; then, to make a file of it: target, mode
_PUT = """
import os, sys
part, start, length = sys.argv[1], *map(int, sys.argv[2:4])
left = length
try:
    with open(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb", buffering=0) as f:
        f.seek(start)
        while left and (data := memoryview(os.read(0, min(left, 1 << 20)))):
            left -= len(data)
            while data:
                data = data[f.write(data):]
    if left or len(sys.argv) > 4 and os.path.getsize(part) != start + length:
        raise OSError(5, "it did not arrive complete")
    if len(sys.argv) > 4:
        os.chmod(part, int(sys.argv[5]))
        os.replace(part, sys.argv[4])
except OSError as e:
    try:
        os.unlink(part)
    except OSError:
        pass
    sys.exit(e.strerror)
"""


class BulkTransport(Transport):
    """A transport that copies files by commands over there, and over further connections of its kind."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._lanes: list[Transport] = []
        self._lanes_lock = threading.Lock()
        self._distance: float | None = None

    @abstractmethod
    def _new_lane(self) -> Transport:
        """Return another connection to the same machine, not open yet."""

    @abstractmethod
    def _round_trip(self) -> float:
        """Return the seconds of one round trip, measured now."""

    def put(self, source: Path, target: str, progress: Progress | None = None) -> None:
        part = posixpath.join(posixpath.dirname(target), f".{secrets.token_hex(8)}.part")
        with source.open("rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            size = info.st_size
            keep = [target, str(info.st_mode & 0o777)]
            job = _Job(f"{target} cannot be written on {place(self.address)}", size, progress)
            lanes = self._open_lanes() if size >= LARGE and self._far() else []
            with job:
                if not lanes:
                    job.add(self.popen([*PYTHON, _PUT, part, "0", str(size), *keep], stdin=file), file)
                for lane, start, length in _ranges(lanes, size):
                    piece = job.enter(source.open("rb", buffering=0))
                    piece.seek(start)
                    process = lane.popen([*PYTHON, _PUT, part, str(start), str(length)])
                    job.add(process, piece, start, feed=length)
                job.wait()
            if lanes:
                argv = [*PYTHON, _PUT, part, str(size), "0", *keep]
                with _Job(job.failure, size, progress) as last:
                    process = self.popen(argv)
                    process.stdin.close()
                    last.add(process, file, size)
                    last.wait()

    def get(self, source: str, target: Path, progress: Progress | None = None) -> None:
        part = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            # readable by others only once its own mode says so
            part.touch(mode=0o600, exist_ok=False)
            with part.open("r+b", buffering=0) as file:
                mode = self._receive(source, part, file, progress)
            part.chmod(mode)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _receive(self, source: str, part: Path, file: BinaryIO, progress: Progress | None) -> int:
        """Fill `file`, which is at `part`; return the permission bits of `source`."""
        job = _Job(f"{source} cannot be read on {place(self.address)}", 0, progress)
        limit = LARGE if self._far() else sys.maxsize
        with job:
            process = self.popen([*PYTHON, _GET, source, "0", "-", str(limit)], stdout=file)
            job.add(process, file, head=True)
            job.wait()
        if job.total >= limit:
            lanes = self._open_lanes() or [self]
            with _Job(job.failure, job.total, progress) as ranges:
                for lane, start, length in _ranges(lanes, job.total):
                    piece = ranges.enter(part.open("r+b", buffering=0))
                    piece.seek(start)
                    argv = [*PYTHON, _GET, source, str(start), str(length), "0"]
                    ranges.add(lane.popen(argv, stdout=piece), piece, start)
                ranges.wait()
        if os.fstat(file.fileno()).st_size != job.total:
            raise TransportError(f"{job.failure}: it did not arrive complete.")
        return job.mode

    def _far(self) -> bool:
        """Return whether one connection cannot fill the link."""
        if self._distance is None:
            self._distance = self._round_trip()
            if self._distance > LONG:  # or this computer was busy
                self._distance = min(self._distance, self._round_trip(), self._round_trip())
        return self._distance > LONG

    def _open_lanes(self) -> list[Transport]:
        """Return the further connections that work; fewer than wanted where the machine allows no more."""
        with self._lanes_lock:
            self._lanes += [self._new_lane() for _ in range(LANES - len(self._lanes))]
            with ThreadPoolExecutor(LANES) as pool:
                opened = list(pool.map(_try_open, self._lanes))
            return [lane for lane, works in zip(self._lanes, opened, strict=True) if works]

    def _close_lanes(self) -> None:
        with self._lanes_lock:
            while self._lanes:
                self._lanes.pop().disconnect()


class _Job(ExitStack):
    """The processes that move one file, and how far they are.

    Args:
        failure: What to say when one fails, without the reason.
        total: Bytes in all; -1 until a process says it.
        progress: Who wants to know.
    """

    def __init__(self, failure: str, total: int, progress: Progress | None) -> None:
        super().__init__()
        self.failure = failure
        self.total = total
        self.mode = 0
        self._progress = progress
        self._files: list[tuple[BinaryIO, int]] = []
        self._ends: list[Future[str]] = []
        self._pool = self.enter_context(ThreadPoolExecutor(2 * LANES))
        self._processes: list[Process] = []
        self.callback(self._close_processes)

    def enter(self, file: BinaryIO) -> BinaryIO:
        """Close `file` with the job."""
        return self.enter_context(file)

    def add(
        self, process: Process, file: BinaryIO, start: int = 0, *, feed: int = 0, head: bool = False
    ) -> None:
        """Watch `process`, which moves `file` on from `start`.

        Args:
            process: It.
            file: Unbuffered; its position tells how far the process is.
            start: The position it started from.
            feed: Bytes of `file` to write to the process; 0 when it has the file itself.
            head: Whether it says first how large the file is.
        """
        self._processes.append(process)
        self._files.append((file, start))
        if feed:
            self._ends.append(self._pool.submit(_feed, process, file, feed))
        self._ends.append(self._pool.submit(self._follow, process, head))

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
                raise TransportError(f"{self.failure}: {failed[0]}.")
            if self._progress and self.total:
                moved = sum(file.tell() - start for file, start in self._files)
                self._progress(min(moved, self.total), self.total)

    def _follow(self, process: Process, head: bool) -> str:
        """Return why `process` failed, empty when it did not."""
        said = b""
        for line in process.stderr:
            if head and line.startswith(b"@"):
                self.total, self.mode = map(int, line.split()[1:])
            else:
                said = line
        code = process.wait()
        return (said.decode(errors="replace").strip() or f"exit code {code}") if code else ""

    def _close_processes(self) -> None:
        for process in self._processes:
            process.close()


def _feed(process: Process, file: BinaryIO, left: int) -> str:
    with contextlib.suppress(OSError, ValueError):  # the process says why it ended
        while left and (data := file.read(min(left, 1 << 20))):
            process.stdin.write(data)
            left -= len(data)
        process.stdin.close()
    return ""


def _ranges(lanes: Sequence[Transport], size: int) -> Iterator[tuple[Transport, int, int]]:
    """Yield each lane with its first byte and its number of bytes."""
    for i, lane in enumerate(lanes):
        start = size * i // len(lanes)
        yield lane, start, size * (i + 1) // len(lanes) - start


def _try_open(lane: Transport) -> bool:
    try:
        lane.open()
    except TransportError:
        return False
    return True
