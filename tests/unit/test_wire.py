from __future__ import annotations

import random
import struct

import pytest

from jupyter_gpu_remote.agent import wire


def records(seed: int) -> list[wire.Record]:
    chance = random.Random(seed)
    sizes = [0, 1, 7, 8, 255, 4096, 70_000]
    return [
        wire.Record(
            chance.randrange(1 << 63),
            chance.randrange(6),
            [chance.randbytes(chance.choice(sizes)) for _ in range(chance.choice([0, 1, 4, 6, 40]))],
        )
        for _ in range(20)
    ]


def packed(some: list[wire.Record]) -> bytes:
    return b"".join(wire.pack(r.channel, r.parts, r.sequence) for r in some)


@pytest.mark.parametrize("seed", range(30))
def test_records_survive_any_split_of_the_byte_stream(seed: int) -> None:
    chance = random.Random(seed)
    sent, decoder, got = records(seed), wire.Decoder(), []
    data = packed(sent)
    at = 0
    while at < len(data):
        size = chance.choice([1, 2, 13, 100, 5000, 100_000])
        got += decoder.feed(data[at : at + size])
        at += size
    assert got == sent


def test_records_survive_byte_by_byte() -> None:
    sent, decoder = records(1)[:3], wire.Decoder()
    data = packed(sent)
    assert [r for i in range(len(data)) for r in decoder.feed(data[i : i + 1])] == sent


@pytest.mark.parametrize(
    "header",
    [
        wire.HEADER.pack(0, wire.SHELL, 1, 1 << 63),
        wire.HEADER.pack(0, wire.SHELL, 1, wire.MAX_BYTES + 1),
        wire.HEADER.pack(0, wire.SHELL, wire.MAX_PARTS + 1, 0),
        wire.HEADER.pack(0, 200, 1, 1),
        wire.HEADER.pack(0, wire.SHELL, 2, 8) + struct.pack("<QQ", 1 << 63, 8) + b"12345678",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_record_is_refused_as_soon_as_it_shows(header: bytes) -> None:
    with pytest.raises(ValueError, match="no record of ours"):
        list(wire.Decoder().feed(header))


def test_a_decoder_can_have_a_lower_limit() -> None:
    with pytest.raises(ValueError, match="101 bytes"):
        list(wire.Decoder(100).feed(wire.pack(wire.SHELL, [b"x" * 101])))


def test_what_came_before_junk_is_delivered() -> None:
    got: list[wire.Record] = []
    feed = wire.Decoder().feed(wire.pack(wire.EVENT, [b"{}"], 7) + b"\xff" * 100)
    with pytest.raises(ValueError, match="no record"):
        for record in feed:
            got.append(record)  # noqa: PERF402
    assert [r.sequence for r in got] == [7]
