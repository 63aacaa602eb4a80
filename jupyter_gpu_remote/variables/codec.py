"""Whether to compress what goes over a link, and how hard: decided from a sample and the link's speed."""

from __future__ import annotations

import time

import zstandard

Data = bytes | bytearray | memoryview

LEVELS = (1, 6)
_SMALL = 4096
_SAMPLE = 64 << 10
"""Bytes; below, it is not worth the trouble; and how much is tried."""
_GAIN = 0.9
"""Compression must bring the time below this part of what sending as it is takes."""


def pack(data: Data, rate: float) -> tuple[bool, Data]:
    """Return whether a blob was compressed, and what to send.

    Args:
        data: The blob.
        rate: Bytes a second that the link takes.
    """
    view = memoryview(data).cast("B")
    if view.nbytes < _SMALL:
        return False, data
    middle = max(0, view.nbytes // 2 - _SAMPLE // 2)
    sample = view[middle : middle + _SAMPLE]
    best, level = _GAIN / rate, 0
    for tried in LEVELS:
        start = time.perf_counter()
        ratio = len(zstandard.ZstdCompressor(level=tried).compress(sample)) / sample.nbytes
        # a blob is sent when all of it is compressed
        cost = ratio / rate + (time.perf_counter() - start) / sample.nbytes
        if cost < best:
            best, level = cost, tried
    if not level:
        return False, data
    packed = zstandard.ZstdCompressor(level=level).compress(view)
    return (True, packed) if len(packed) < view.nbytes else (False, data)
