"""The records that travel between client and agent, and lie in the journal as they travel.

A record is a header, the lengths of its parts, then the parts::

    u64 sequence · u8 channel · u32 parts · u64 bytes in all parts · u64 length × parts · the parts

A Jupyter message is four parts (header, parent header, metadata, content; JSON) and its buffers. On the
channels `AGENT` and `EVENT` the one part is a JSON object of ours.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

AGENT = 0
"""Requests to the agent and its answers; never in the journal."""
SHELL = 1
CONTROL = 2
STDIN = 3
IOPUB = 4
EVENT = 5
"""What the agent has to say about a kernel; in the journal."""

HEADER = struct.Struct("<QBIQ")
MAX_BYTES = 4 << 30
"""Bytes in all parts of one record; nothing larger is written, and who announces more is not one of us."""
MAX_PARTS = 1 << 16

Part = bytes | bytearray | memoryview


class Record(NamedTuple):
    """One record; `sequence` counts from 0 in each journal and is free on the way to the agent."""

    sequence: int
    channel: int
    parts: list[bytes]


def head(sequence: int, channel: int, parts: Sequence[Part]) -> bytes:
    """Return everything of a record that comes before its parts."""
    lengths = [len(p) for p in parts]
    return HEADER.pack(sequence, channel, len(parts), sum(lengths)) + struct.pack(
        f"<{len(lengths)}Q", *lengths
    )


def pack(channel: int, parts: Sequence[Part], sequence: int = 0) -> bytes:
    """Return a whole record as bytes."""
    return b"".join((head(sequence, channel, parts), *parts))


def pack_json(channel: int, value: Any) -> bytes:
    """Return a record whose one part is `value` as JSON."""
    return pack(channel, [json.dumps(value).encode()])


class Decoder:
    """Turn a byte stream into records.

    Args:
        limit: Bytes that one record may have.
    """

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self._buffer = bytearray()
        self._wanted = HEADER.size
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take the next bytes and yield every record they complete.

        Raises:
            ValueError: They are no records of ours.
        """
        self._buffer += data
        while len(self._buffer) >= self._wanted:
            sequence, channel, count, size = HEADER.unpack_from(self._buffer)
            if channel > EVENT or count > MAX_PARTS or size > self._limit:
                raise ValueError(f"no record of ours: channel {channel}, {count} parts, {size} bytes")
            start = HEADER.size + 8 * count
            if len(self._buffer) < start + size:
                # a large record comes in many pieces: look again only when it is whole
                self._wanted = start + size
                return
            lengths = struct.unpack_from(f"<{count}Q", self._buffer, HEADER.size)
            if sum(lengths) != size:
                raise ValueError("no record of ours: its parts are not as long as the whole")
            parts = []
            with memoryview(self._buffer) as view:
                for length in lengths:
                    parts.append(bytes(view[start : start + length]))
                    start += length
            del self._buffer[:start]
            self._wanted = HEADER.size
            yield Record(sequence, channel, parts)
