"""What is compressed is what arrives sooner for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import zstandard

from jupyter_gpu_remote.variables import codec

SLOW, FAST = 1e5, 1e15
"""Bytes a second: a link that any compression is faster than, and one that none is."""
TEXT = Path(__file__).read_bytes() * 300
NOISE = random.Random(0).randbytes(300_000)


def unpacked(packed: bool, data: codec.Data) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data) if packed else bytes(data)


@pytest.mark.parametrize("rate", [SLOW, FAST])
def test_noise_is_never_compressed(rate: float) -> None:
    packed, data = codec.pack(NOISE, rate)
    assert not packed and data is NOISE


def test_text_is_compressed_for_a_slow_link() -> None:
    packed, data = codec.pack(TEXT, SLOW)
    assert packed and len(data) < len(TEXT) / 2


def test_text_is_sent_as_it_is_over_a_very_fast_link() -> None:
    assert codec.pack(TEXT, FAST) == (False, TEXT)


@pytest.mark.parametrize("data", [b"", b"a", b"a" * 4095, TEXT, NOISE, bytes(10_000_000)])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_arrives_is_what_was_sent(data: bytes, kind: type) -> None:
    assert unpacked(*codec.pack(kind(data), SLOW)) == data


def test_data_whose_middle_only_seems_to_be_compressible_is_not_made_larger() -> None:
    data = NOISE + bytes(100_000) + NOISE
    _, sent = codec.pack(data, SLOW)
    assert len(memoryview(sent)) <= len(data)


def test_data_of_other_items_than_bytes_is_cut_by_bytes() -> None:
    data = memoryview(bytes(800_000)).cast("d")
    packed, sent = codec.pack(data, SLOW)
    assert packed and unpacked(packed, sent) == bytes(800_000)


def test_the_size_is_said_at_the_beginning() -> None:
    packed, data = codec.pack(TEXT, SLOW)
    assert packed and zstandard.frame_content_size(bytes(data[:18])) == len(TEXT)
