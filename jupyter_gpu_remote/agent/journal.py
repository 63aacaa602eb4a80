"""An append-only file of records for each kernel, read by any number of clients at their own pace.

Segments of some megabytes, each named by its first sequence number, so that old ones can be dropped. A
record is written in one call before anybody is told of it, so a killed agent leaves at most a torn last
record, which the next one cuts off. Where the disk is full, segments go on in memory.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import wire

SEGMENT_BYTES = 16 << 20
LIMIT_BYTES = 4 << 30
MEMORY_LIMIT_BYTES = 256 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Segment:
    """A run of records in one file, or in memory when `path` is None."""

    def __init__(self, first: int, path: Path | None) -> None:
        self.first = first
        self.path = path
        if path is None:
            self.fd = os.memfd_create(f"journal-{first}")
        else:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.end = os.fstat(self.fd).st_size

    def append(self, buffers: list[wire.Part], size: int) -> None:
        """Write a whole record or nothing."""
        written = 0
        try:
            while written < size:
                written += os.pwritev(self.fd, buffers, self.end + written)
                if written < size:
                    # a short write (signal, or nearly full): go on with what is left as one buffer
                    buffers = [b"".join(buffers)[-(size - written) :]]
        except OSError:
            os.ftruncate(self.fd, self.end)
            raise
        self.end += size

    def offsets(self) -> Iterator[tuple[int, int]]:
        """Yield (sequence, offset) of each whole record, then the place where the next one goes."""
        offset, sequence = 0, self.first
        while offset + wire.HEADER.size <= self.end:
            sequence, _, count, size = wire.HEADER.unpack(os.pread(self.fd, wire.HEADER.size, offset))
            following = offset + wire.HEADER.size + 8 * count + size
            if following > self.end:
                break
            yield sequence, offset
            offset, sequence = following, sequence + 1
        yield sequence, offset

    def drop(self) -> None:
        """Forget the segment and free its space."""
        os.close(self.fd)
        if self.path:
            self.path.unlink(missing_ok=True)


class Journal:
    """The journal of one kernel.

    Args:
        folder: Where its segments lie; what is there already is continued.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.segments = [Segment(int(p.stem), p) for p in sorted(folder.glob("*.journal"))]
        self.next = 0
        self.dropped = 0
        if self.segments:
            last = self.segments[-1]
            for sequence, offset in last.offsets():
                self.next, whole = sequence, offset
            os.ftruncate(last.fd, whole)
            last.end = whole
        else:
            self._roll()

    @property
    def first(self) -> int:
        """The oldest sequence number that can still be read."""
        return self.segments[0].first

    @property
    def in_memory(self) -> bool:
        """Whether the disk is full and the newest records are only in memory."""
        return self.segments[-1].path is None

    def _roll(self) -> None:
        try:
            segment = Segment(self.next, self.folder / f"{self.next:020d}.journal")
        except OSError as e:
            if e.errno not in _FULL:
                raise
            segment = Segment(self.next, None)
        self.segments.append(segment)
        while sum(s.end for s in self.segments) > LIMIT_BYTES and len(self.segments) > 2:
            self.segments.pop(0).drop()

    def append(self, channel: int, parts: Sequence[wire.Part]) -> int:
        """Add a record and return its sequence number."""
        buffers: list[wire.Part] = [wire.head(self.next, channel, parts), *(p for p in parts if len(p))]
        size = sum(map(len, buffers))
        if len(buffers) > 512:
            buffers = [b"".join(buffers)]  # below IOV_MAX
        if self.segments[-1].end + size > SEGMENT_BYTES and self.segments[-1].end:
            self._roll()
        try:
            self.segments[-1].append(buffers, size)
        except OSError as e:
            if e.errno not in _FULL:
                raise
            self._make_room(buffers, size)
        self.next += 1
        return self.next - 1

    def _make_room(self, buffers: list[wire.Part], size: int) -> None:
        """Continue in memory on a full disk; past the limit the oldest of it goes."""
        if not self.segments[-1].end and len(self.segments) > 1:
            self.segments.pop().drop()
        self.segments.append(Segment(self.next, None))
        self.segments[-1].append(buffers, size)
        memory = [s for s in self.segments if s.path is None]
        while sum(s.end for s in memory) > MEMORY_LIMIT_BYTES and len(memory) > 1:
            oldest = memory.pop(0)
            self.segments.remove(oldest)
            oldest.drop()
            self.dropped += 1

    def tail(self, since: int) -> Tail:
        """Return a reader that starts at record `since`, or at the oldest one kept."""
        since = min(max(since, self.first), self.next)
        if since == self.next:
            return Tail(self, self.segments[-1], self.segments[-1].end)
        segment = next(s for s in reversed(self.segments) if s.first <= since)
        return Tail(self, segment, next(o for n, o in segment.offsets() if n >= since))

    def _headers(self, segments: Sequence[Segment]) -> Iterator[tuple[int, bytes]]:
        """Yield (channel, first part) of each record of `segments`."""
        for segment in segments:
            for _, offset in segment.offsets():
                if offset == segment.end:
                    break
                _, channel, count, _ = wire.HEADER.unpack(os.pread(segment.fd, wire.HEADER.size, offset))
                offset += wire.HEADER.size
                (length,) = struct.unpack("<Q", os.pread(segment.fd, 8, offset))
                yield channel, os.pread(segment.fd, length, offset + 8 * count)

    def events(self, key: str) -> Iterator[Any]:
        """Yield the value of `key` in each event record kept, oldest first."""
        for channel, part in self._headers(self.segments):
            if channel == wire.EVENT and key in (event := json.loads(part)):
                yield event[key]

    def message_ids(self) -> Iterator[str]:
        """Yield the id of each recent Jupyter message, from the last two segments."""
        for channel, part in self._headers(self.segments[-2:]):
            if channel != wire.EVENT:
                yield json.loads(part)["msg_id"]

    def close(self) -> None:
        """Close the files; they stay."""
        for segment in self.segments:
            os.close(segment.fd)


class Tail:
    """One client's place in a journal."""

    def __init__(self, journal: Journal, segment: Segment, offset: int) -> None:
        self._journal = journal
        self._segment = segment
        self._offset = offset
        self._boundary = offset

    def at_boundary(self) -> bool:
        """Return whether a whole number of records has been sent."""
        return self._offset == self._boundary

    def pending(self) -> bool:
        """Return whether there is more to send."""
        if self._offset < self._segment.end:
            return True
        segments = self._journal.segments
        if self._segment is segments[-1]:
            return False
        # the segment is done, or was dropped while this client lagged: go on with the next one kept
        self._segment = next(s for s in segments if s.first > self._segment.first)
        self._offset = self._boundary = 0
        return self._segment.end > 0

    def send(self, to: socket.socket) -> int:
        """Send what the socket takes now and return how many bytes went; call when `pending`.

        Raises:
            BlockingIOError: It takes nothing now.
            OSError: It is closed.
        """
        if self._offset == self._boundary:
            self._boundary = self._segment.end
        sent = os.sendfile(to.fileno(), self._segment.fd, self._offset, self._boundary - self._offset)
        self._offset += sent
        return sent
