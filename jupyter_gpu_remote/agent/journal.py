"""An append-only file of records for each kernel, read by any number of clients at their own pace.

Segments of some megabytes, each named by its first sequence number, so that old ones can be dropped. A
record is written in one call before anybody is told of it, so a killed agent leaves at most a torn last
record, which the next one cuts off. Each segment on disk begins with a checkpoint: what its owner must
know of all before, so that a later agent reads the last segment alone. Where the disk is full, segments go
on in memory until it has room again.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import wire

SEGMENT_BYTES = 4 << 20
"""Where journals are kept in a bucket, the last segment goes there anew whenever it grew."""
LIMIT_BYTES = 4 << 30
MEMORY_LIMIT_BYTES = 256 << 20
RETRY_SECONDS = 1.0
"""How often a full disk is looked at again."""
_SPARE_BYTES = 1 << 20
"""What must be free beyond the next record for a disk to count as having room."""


class Segment:
    """A run of records in one file; in memory when `path` is None."""

    def __init__(self, first: int, path: Path | None) -> None:
        self.first = first
        self.path = path
        self._file = io.FileIO(os.memfd_create("journal") if path is None else self._open(path), "r+b")
        self.end = os.fstat(self._file.fileno()).st_size

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def append(self, buffers: list[wire.Part], size: int) -> None:
        """Write a whole record or nothing."""
        written = 0
        try:
            while written < size:
                written += os.pwritev(self._file.fileno(), buffers, self.end + written)
                if written < size:
                    # a short write (signal, or nearly full): go on with what is left as one buffer
                    buffers = [b"".join(buffers)[-(size - written) :]]
        except OSError:
            os.ftruncate(self._file.fileno(), self.end)
            raise
        self.end += size

    def seal(self) -> None:
        """Free the descriptor of a file that is complete; readers open their own."""
        if self.path:
            self._file.close()

    def reader(self) -> io.FileIO:
        """Return a file of its own: what is dropped meanwhile can still be read to its end."""
        if self._file.closed:
            assert self.path
            return io.FileIO(self.path)
        return io.FileIO(os.dup(self._file.fileno()))

    def records(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield (sequence, offset, channel, first part) of each whole record, in order."""
        if not self.end:
            return
        with self.reader() as file, mmap.mmap(file.fileno(), self.end, access=mmap.ACCESS_READ) as data:
            offset, expected = 0, self.first
            while offset + wire.HEADER.size + 8 <= self.end:
                sequence, channel, count, size = wire.HEADER.unpack_from(data, offset)
                part = offset + wire.HEADER.size + 8 * count
                # another sequence: the machine went down before all of the file was on its disk
                if part + size > self.end or sequence != expected or not count:
                    return
                (length,) = struct.unpack_from("<Q", data, offset + wire.HEADER.size)
                yield sequence, offset, channel, data[part : part + length]
                offset, expected = part + size, sequence + 1

    def cut_off_torn(self) -> int:
        """Keep only the whole records; return the sequence number that comes next."""
        following, end = self.first, 0
        for sequence, offset, _, _ in self.records():
            following, end = sequence + 1, self._end_of(offset)
        os.ftruncate(self._file.fileno(), end)
        self.end = end
        return following

    def _end_of(self, offset: int) -> int:
        _, _, count, size = wire.HEADER.unpack(os.pread(self._file.fileno(), wire.HEADER.size, offset))
        return int(offset + wire.HEADER.size + 8 * count + size)

    def drop(self) -> None:
        """Forget the segment; its space is free when the last reader is done with it."""
        self._file.close()
        if self.path:
            self.path.unlink(missing_ok=True)


class Journal:
    """The journal of one kernel.

    Args:
        folder: Where its segments lie; what is there already is continued.
        checkpoint: Returns what each segment is to begin with.

    Raises:
        OSError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path, checkpoint: Callable[[], Mapping[str, Any]] = dict) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.next = 0
        self._checkpoint = checkpoint
        self._retry_at = 0.0
        paths = sorted(p for p in folder.glob("*.journal") if p.stem.isdigit())
        self.segments = [Segment(int(p.stem), p) for p in paths]
        for segment in self.segments[:-1]:
            segment.seal()
        if self.segments:
            self.next = self.segments[-1].cut_off_torn()
        else:
            self._begin_segment()

    @property
    def first(self) -> int:
        """The oldest sequence number that can still be read."""
        return self.segments[0].first

    @property
    def in_memory(self) -> bool:
        """Whether the disk is full and the newest records are only in memory."""
        return self.segments[-1].path is None

    @property
    def disk_full(self) -> bool:
        """Whether the newest records are only in memory, or the next ones will be."""
        return self.in_memory or not self._fits(0)

    def append(self, channel: int, parts: Sequence[wire.Part]) -> int:
        """Add a record and return its sequence number."""
        size = wire.HEADER.size + 8 * len(parts) + sum(map(len, parts))
        end = self.segments[-1].end
        if (end and end + size > SEGMENT_BYTES) or (self.in_memory and self._has_room(size)):
            self._begin_segment()
        try:
            self._write(channel, parts, size)
        except OSError:
            self._continue_in_memory()
            self._write(channel, parts, size)
        self.next += 1
        return self.next - 1

    def _write(self, channel: int, parts: Sequence[wire.Part], size: int) -> None:
        buffers: list[wire.Part] = [wire.head(self.next, channel, parts), *(p for p in parts if len(p))]
        if len(buffers) > 512:
            buffers = [b"".join(buffers)]  # below IOV_MAX
        self.segments[-1].append(buffers, size)

    def _has_room(self, size: int) -> bool:
        """Look, once in a while, whether the disk has room again."""
        if time.monotonic() < self._retry_at:
            return False
        self._retry_at = time.monotonic() + RETRY_SECONDS
        return self._fits(size)

    def _fits(self, size: int) -> bool:
        try:
            free = os.statvfs(self.folder)
        except OSError:
            return False
        return free.f_bavail * free.f_frsize > size + _SPARE_BYTES

    def _begin_segment(self) -> None:
        """Begin a segment, on the disk if that can be written."""
        try:
            segment = Segment(self.next, self.folder / f"{self.next:020d}.journal")
        except OSError:
            return self._continue_in_memory()
        if self.next:
            checkpoint = [json.dumps({"checkpoint": self._checkpoint()}).encode()]
            data = wire.pack(wire.EVENT, checkpoint, self.next)
            try:
                segment.append([data], len(data))
            except OSError:
                segment.drop()
                return self._continue_in_memory()
            self.next += 1
        self._add(segment)

    def _continue_in_memory(self) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if self.segments and not self.segments[-1].end:
            self.segments.pop().drop()
        if not (self.segments and self.in_memory and self.segments[-1].end < SEGMENT_BYTES):
            self._add(Segment(self.next, None))

    def _add(self, segment: Segment) -> None:
        if self.segments:
            self.segments[-1].seal()
        self.segments.append(segment)
        disk = [s for s in self.segments[:-1] if s.path]
        memory = [s for s in self.segments[:-1] if not s.path]
        for kept, limit in ((disk, LIMIT_BYTES), (memory, MEMORY_LIMIT_BYTES)):
            while kept and sum(s.end for s in kept) > limit:
                oldest = kept.pop(0)
                self.segments.remove(oldest)
                oldest.drop()

    def go_on_at(self, sequence: int) -> None:
        """Never give out a number below `sequence`: a client has seen those, in a memory that is lost."""
        if sequence > self.next:
            self.next = sequence
            self._begin_segment()

    def tail(self, since: int) -> Tail:
        """Return a reader that starts at record `since`, or at the oldest one kept."""
        since = min(max(since, self.first), self.next)
        if since == self.next:
            return Tail(self, self.segments[-1], self.segments[-1].end)
        segment = next(s for s in reversed(self.segments) if s.first <= since)
        offsets = (offset for sequence, offset, _, _ in segment.records() if sequence >= since)
        return Tail(self, segment, next(offsets, segment.end))

    def events(self) -> Iterator[Any]:
        """Yield the events of the last segment, oldest first; a checkpoint sums up all before."""
        for _, _, channel, part in self.segments[-1].records():
            if channel == wire.EVENT:
                yield json.loads(part)

    def close(self) -> None:
        """Close the files; they stay."""
        for segment in self.segments:
            segment.seal()


class Tail:
    """One client's place in a journal."""

    def __init__(self, journal: Journal, segment: Segment, offset: int) -> None:
        self._journal = journal
        self._segment = segment
        self._file = segment.reader()
        self._offset = offset
        self._boundary = offset

    def at_boundary(self) -> bool:
        """Return whether a whole number of records has been sent."""
        return self._offset == self._boundary

    def pending(self) -> bool:
        """Return whether there is more to send.

        Raises:
            OSError: What is to come was deleted.
        """
        while self._offset >= self._segment.end:
            # the segment is done, or was dropped while this client lagged: go on with the next one kept
            following = [s for s in self._journal.segments if s.first > self._segment.first]
            if not following:
                return False
            self._file.close()
            self._segment = following[0]
            self._file = self._segment.reader()
            self._offset = self._boundary = 0
        return True

    def send(self, to: socket.socket) -> int:
        """Send what the socket takes now and return how many bytes went; call when `pending`.

        Raises:
            BlockingIOError: It takes nothing now.
            OSError: It is closed, or the file has lost its end.
        """
        if self._offset == self._boundary:
            self._boundary = self._segment.end
        sent = os.sendfile(to.fileno(), self._file.fileno(), self._offset, self._boundary - self._offset)
        if not sent:
            raise OSError("the journal's file was cut")
        self._offset += sent
        return sent
