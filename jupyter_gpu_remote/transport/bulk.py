"""`put` and `get`: one file, as fast as the link allows, the same for both transports.

A channel moves at most its window of 2 MiB in each round trip, and a second one on the same connection
helps a tenth. So a large file on a long link goes as byte ranges over connections of its own; that also
keeps it out of the way of outputs.
"""

from __future__ import annotations

import os
import posixpath
import secrets
import sys
import threading
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ..errors import TransportError
from ..model import Address
from .base import Progress, Transport
from .commands import PYTHON
from .copyjob import CopyJob
from .diagnosis import place

LARGE = 16 << 20
LONG = 0.02
LANES = 4
CHANNELS = 2

# The machine may have a Python as old as 3.6.
# Path, which of how many ranges, and from which size on none is sent. Size and mode go out first.
_GET = """
import os, stat, sys
path, i, n, limit = sys.argv[1], *map(int, sys.argv[2:])
try:
    if not stat.S_ISREG(os.stat(path).st_mode):
        sys.exit("Not a regular file")
    with open(path, "rb", buffering=0) as f:
        info = os.fstat(f.fileno())
        size = info.st_size
        print("@", size, info.st_mode & 0o777, file=sys.stderr, flush=True)
        start, end = size * i // n, size * (i + 1) // n
        while start < end and size < limit:
            sent = os.sendfile(1, f.fileno(), start, end - start)
            if not sent:
                sys.exit("it became shorter meanwhile")
            start += sent
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
        room = memoryview(bytearray(1 << 18))
        while left:
            got = os.readv(0, [room[:left]])
            if not got:
                break
            left -= got
            data = room[:got]
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
        failure = f"{target} cannot be written on {place(self.address)}"
        with source.open("rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            size = info.st_size
            argv = [*PYTHON, _PUT, part]
            keep = [target, str(info.st_mode & 0o777)]
            lanes = self.lanes(size)
            ranges = lanes if len(lanes) > 1 else []
            with CopyJob(failure, size, progress) as job:
                for i, lane in enumerate(ranges):
                    start, end = size * i // len(ranges), size * (i + 1) // len(ranges)
                    piece = job.opened(source, "rb")
                    piece.seek(start)
                    process = lane.popen([*argv, str(start), str(end - start)])
                    job.add(process, piece, partial(job.feed, process, piece, end - start))
                job.wait()
                # the rest, which is all or nothing
                start = size if ranges else 0
                file.seek(start)
                job.add(self.popen([*argv, str(start), str(size - start), *keep], stdin=file), file)
                job.wait()

    def lanes(self, size: int) -> Sequence[Transport]:
        lanes = self._open_lanes() if size >= LARGE and self._far() else []
        return lanes * CHANNELS or [self]

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
        failure = f"{source} cannot be read on {place(self.address)}"
        far = self._far()
        # those that are open already are asked at once: a round trip less
        lanes = [lane for lane in self._lanes if lane.alive()] if far else []
        if not lanes:
            limit = LARGE if far else sys.maxsize
            with CopyJob(failure, 0, progress) as job:
                process = self.popen([*PYTHON, _GET, source, "0", "1", str(limit)], stdout=file)
                job.add(process, file, partial(job.head, process))
                job.wait()
            if job.total >= limit:
                lanes = self._open_lanes() or [self]
        if lanes:
            ranges = lanes * CHANNELS
            with CopyJob(failure, 0, progress) as job:
                for i, lane in enumerate(ranges):
                    process = lane.popen([*PYTHON, _GET, source, str(i), str(len(ranges)), str(sys.maxsize)])
                    piece = job.opened(part, "r+b")
                    job.add(process, piece, partial(job.fetch, process, piece, i, len(ranges)))
                job.wait()
        if os.fstat(file.fileno()).st_size != job.total:
            raise TransportError(f"{failure}: it did not arrive complete.")
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


def _try_open(lane: Transport) -> bool:
    try:
        lane.open()
    except TransportError:
        return False
    return True
