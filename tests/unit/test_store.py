"""What is kept can be had again, as it was or not at all."""

from __future__ import annotations

import os
import pickle
import random
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from jupyter_gpu_remote.variables import key, pickler, store
from jupyter_gpu_remote.variables.key import make_key
from jupyter_gpu_remote.variables.parcel import Parcel, UnsignedError, open_parcel, place_of, wrap
from jupyter_gpu_remote.variables.store import (
    ForgedBlobError,
    MissingBlobError,
    Store,
    name_of,
    pieces,
)

from ..conftest import mounted

KEY = bytes(32)
PIECE = 1 << 20


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut data into smaller pieces than in real life."""
    monkeypatch.setattr(store, "PIECE", PIECE)


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", KEY)


def put(store: Store, data: bytes, packed: bool = False) -> str:
    name = name_of(data, KEY)
    store.put(name, zstandard.ZstdCompressor().compress(data) if packed else data, packed)
    return name


def file_of(store: Store, name: str) -> Path:
    (file,) = store.folder.glob(f"{name}*")
    return file


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("data", [b"", b"abc", random.Random(0).randbytes(100_000)])
def test_what_is_put_can_be_had(kept: Store, data: bytes, packed: bool) -> None:
    name = put(kept, data, packed)
    assert name in kept
    assert bytes(kept.get([name])) == data


def test_large_data_is_had_in_one_piece(kept: Store) -> None:
    data = random.Random(0).randbytes(2 * PIECE + 5)
    names = [put(kept, bytes(piece), packed=bool(i % 2)) for i, piece in enumerate(pieces(data))]
    assert len(names) == 3
    assert kept.get(names) == data


@pytest.mark.parametrize("size", [5, PIECE, PIECE + 1])
def test_data_may_be_written_to_without_changing_what_is_kept(kept: Store, size: int) -> None:
    names = [put(kept, bytes(piece)) for piece in pieces(bytes(size))]
    memoryview(kept.get(names))[0] = 7
    assert bytes(kept.get(names)) == bytes(size)


def test_names_depend_on_the_key() -> None:
    assert name_of(b"abc", KEY) != name_of(b"abc", bytes(31) + b"1")
    assert name_of(b"abc", KEY) == name_of(bytearray(b"abc"), KEY)


def test_what_is_not_there_is_said_to_be_missing(kept: Store) -> None:
    name = name_of(b"abc", KEY)
    assert name not in kept
    for names in ([name], [put(kept, b"x"), name]):
        with pytest.raises(MissingBlobError):
            kept.get(names)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("harm", [b"", b"xyz", b"longer than it was", b"\x28\xb5\x2f\xfd"])
def test_damaged_data_is_refused_and_removed(kept: Store, packed: bool, several: bool, harm: bytes) -> None:
    name = put(kept, b"abc", packed)
    file_of(kept, name).write_bytes(harm)
    with pytest.raises(ForgedBlobError):
        kept.get([name, put(kept, b"other")] if several else [name])
    assert name not in kept
    put(kept, b"abc")
    assert bytes(kept.get([name])) == b"abc"


def test_data_of_another_key_is_refused(kept: Store) -> None:
    other = name_of(b"abc", b"1" * 32)
    kept.put(other, b"abc")
    with pytest.raises(ForgedBlobError):
        kept.get([other])


@pytest.mark.parametrize("claims", [PIECE + 1, 100 << 30])
def test_what_would_unpack_to_too_much_is_refused_before_it_is(kept: Store, claims: int) -> None:
    name = name_of(b"bomb", KEY)
    header = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + claims.to_bytes(8, "little")
    kept.put(name, header + bytes(100), packed=True)
    with pytest.raises(ForgedBlobError):
        kept.get([name])
    assert name not in kept


def test_what_unpacks_to_more_than_it_says_is_refused(kept: Store) -> None:
    name = name_of(b"bomb", KEY)
    packed = bytearray(zstandard.ZstdCompressor().compress(bytes(100_000)))
    assert packed[4] & 0xE0 == 0xA0  # the size has four bytes, at 5
    packed[5:9] = (10).to_bytes(4, "little")
    kept.put(name, packed, packed=True)
    with pytest.raises(ForgedBlobError):
        kept.get([name])


def test_what_does_not_say_its_size_is_refused(kept: Store) -> None:
    name = name_of(b"abc", KEY)
    kept.put(name, zstandard.ZstdCompressor(write_content_size=False).compress(b"abc"), packed=True)
    with pytest.raises(ForgedBlobError):
        kept.get([name])


@pytest.mark.parametrize(
    "name", ["../key", "/etc/passwd", ".", "", "a\0b", "a" * 300, "A" * 64, f"{0:064}\n"]
)
def test_no_name_leads_out_of_the_store(kept: Store, name: str) -> None:
    with pytest.raises(MissingBlobError):
        kept.get([name])
    with pytest.raises(MissingBlobError):
        kept.put(name, b"x")
    assert list(kept.folder.iterdir()) == []


def test_writers_at_once_leave_one_whole_blob(kept: Store) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from jupyter_gpu_remote.variables.store import Store, name_of\n"
        "kept = Store(Path(sys.argv[1]), bytes(32))\n"
        "for i in range(100):\n    data = b'%d' % i * 10_000\n    kept.put(name_of(data, bytes(32)), data)\n"
        "    assert kept.get([name_of(data, bytes(32))]) == data"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(kept.folder)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(list(kept.folder.iterdir())) == 100


def test_only_the_owner_can_read_what_is_kept(kept: Store) -> None:
    name = put(kept, b"abc")
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file_of(kept, name).stat().st_mode) == 0o600


# -- room ---------------------------------------------------------------------------------------------------


def age(store: Store, name: str, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(file_of(store, name), (then, then))


def test_what_was_not_used_for_longest_is_thrown_away_first(kept: Store) -> None:
    old, older, oldest = names = [put(kept, bytes([i]) * 100) for i in range(3)]
    for hours, name in enumerate(names, 2):
        age(kept, name, hours)
    kept.trim(250)
    assert old in kept and older in kept and oldest not in kept


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "use", [lambda s, n: s.get([n]), lambda s, n: s.get([n, n]), lambda s, n: put(s, b"abc")]
)
def test_what_was_just_used_is_not_thrown_away(kept: Store, packed: bool, use: object) -> None:
    assert callable(use)
    name = put(kept, b"abc", packed)
    age(kept, name, 5)
    use(kept, name)
    kept.trim(0)
    assert name in kept


def test_nothing_is_thrown_away_while_there_is_room(kept: Store) -> None:
    name = put(kept, b"abc")
    age(kept, name, 1000)
    kept.trim(3)
    assert name in kept


def test_what_an_older_value_alone_needed_goes_before_the_newer_is_made(kept: Store) -> None:
    kept.replace(("a",), [name_of(b"both", KEY), name_of(b"old", KEY)])
    put(kept, b"both")
    old, others = put(kept, b"old"), put(kept, b"of another variable")
    kept.replace(("a",), [name_of(b"both", KEY), others])
    assert name_of(b"both", KEY) in kept and old not in kept
    kept.replace(("a",), [])
    assert others in kept and name_of(b"both", KEY) not in kept


def test_debris_of_a_writer_that_was_killed_goes(kept: Store) -> None:
    debris = kept.folder / f"{name_of(b'abc', KEY)}.1234.part"
    debris.write_bytes(b"a")
    kept.trim(1000)
    assert debris.exists()
    os.utime(debris, (0, 0))
    kept.trim(1000)
    assert not debris.exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        yield disk


@pytest.mark.root
def test_a_full_disk_is_an_error_that_leaves_no_debris(tiny_disk: Path) -> None:
    store = Store(tiny_disk / "store", KEY)
    small = put(store, b"abc")
    with pytest.raises(OSError, match="No space left"):
        put(store, bytes(1 << 20))
    assert [file.name for file in store.folder.iterdir()] == [small]
    assert store.get([small]) == b"abc"


# -- the key ------------------------------------------------------------------------------------------------


def test_the_key_is_made_once_by_processes_that_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[bytes] = []

    def be_overtaken(size: int) -> bytes:
        monkeypatch.undo()
        others.append(make_key(tmp_path / "key"))
        return bytes(size)

    monkeypatch.setattr(key.secrets, "token_bytes", be_overtaken)
    assert [make_key(tmp_path / "key")] == others
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_key(tmp_path / "there" / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "there" / "key").stat().st_mode) == 0o600


def test_a_damaged_key_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    made = make_key(tmp_path / "key")
    assert len(made) == 32 and make_key(tmp_path / "key") == made


# -- parcels ------------------------------------------------------------------------------------------------


def test_a_parcel_is_what_it_was() -> None:
    pickled = pickler.dump({"a": b"x" * 50_000}, {})
    made, _ = wrap(["a"], pickled, KEY, "t")
    assert Parcel.read(made.sign(KEY), KEY) == made


@pytest.mark.parametrize("harm", ["text", "signature", "key", "é"])
def test_a_parcel_that_was_changed_is_not_opened(harm: str) -> None:
    signed = wrap(["a"], pickler.dump({"a": 1}, {}), KEY)[0].sign(KEY)
    other = b"1" * 32 if harm == "key" else KEY
    if harm == "é":
        signed["signature"] = "é\ud800"
    elif harm in signed:
        signed[harm] = signed[harm].replace(signed[harm][-3], "0" if signed[harm][-3] != "0" else "1")
    with pytest.raises(UnsignedError):
        Parcel.read(signed, other)


def test_only_changed_pieces_of_a_large_array_have_new_names() -> None:
    data = bytearray(random.Random(0).randbytes(3 * PIECE))
    _, before = wrap(["a"], pickler.dump({"a": pickle.PickleBuffer(data)}, {}), KEY)
    data[PIECE + 1] ^= 1
    _, after = wrap(["a"], pickler.dump({"a": pickle.PickleBuffer(data)}, {}), KEY)
    assert len(after.keys() - before.keys()) == 1


def test_what_came_from_blobs_has_their_names_without_being_hashed_again() -> None:
    came, other = bytearray(2 * PIECE), bytearray(2 * PIECE)
    place = place_of(came)
    assert place
    dumped = pickler.dump({"a": pickle.PickleBuffer(came), "b": pickle.PickleBuffer(other)}, {})
    made, _ = wrap(["a", "b"], dumped, KEY, hashed={place: ("first", "second")})
    assert made.buffers == (("first", "second"), wrap(["b"], dumped, KEY)[0].buffers[1])


@pytest.mark.parametrize("data", [b"", bytearray(), b"read only"])
def test_data_whose_place_cannot_be_told_is_hashed(data: bytes) -> None:
    assert place_of(data) is None


def test_a_parcel_is_opened_from_the_store(kept: Store) -> None:
    made, blobs = wrap(["a", "b"], pickler.dump({"a": b"x" * 9_000_000, "b": bytearray(20)}, {}), KEY)
    for name, data in blobs.items():
        kept.put(name, data)
    values, _ = open_parcel(made, kept.get, {})
    assert values == {"a": b"x" * 9_000_000, "b": bytearray(20)}
