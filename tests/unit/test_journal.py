from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote.agent import journal as module
from jupyter_gpu_remote.agent import wire
from jupyter_gpu_remote.agent.journal import Journal, Tail
from tests.conftest import mounted


def read(tail: Tail) -> list[wire.Record]:
    """Return all that a tail has to send."""
    ours, theirs = socket.socketpair()
    decoder, got = wire.Decoder(), []
    with ours, theirs:
        ours.setblocking(False)
        while tail.pending():
            tail.send(ours)
            got += decoder.feed(theirs.recv(1 << 20))
        theirs.setblocking(False)
        try:
            while True:
                got += decoder.feed(theirs.recv(1 << 20))
        except BlockingIOError:
            return got


def texts(some: list[wire.Record]) -> list[bytes]:
    return [r.parts[0] for r in some if r.channel != wire.EVENT]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(module, "LIMIT_BYTES", 5000)


def test_a_tail_gives_back_what_was_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    sent = [[b"header %d" % i, b"", b"x" * i * 100] for i in range(50)]
    for parts in sent:
        journal.append(wire.IOPUB, parts)
    got = read(journal.tail(0))
    assert [r.parts for r in got] == sent
    assert [r.sequence for r in got] == list(range(50))


def test_a_tail_begins_where_it_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for i in range(20):
        journal.append(wire.IOPUB, [b"%d" % i])
    assert [r.sequence for r in read(journal.tail(13))] == list(range(13, 20))


def test_a_message_of_a_thousand_buffers_is_kept_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    parts = [b"%d" % i for i in range(1500)]
    journal.append(wire.IOPUB, parts)
    assert read(journal.tail(0))[0].parts == parts


@pytest.mark.usefixtures("small")
def test_segments_roll_and_each_begins_with_a_checkpoint(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", lambda: {"what": "was"})
    for i in range(40):
        journal.append(wire.IOPUB, [b"%3d" % i * 30])
    assert len(journal.segments) > 3
    assert next(Journal(tmp_path / "j").events()) == {"checkpoint": {"what": "was"}}
    assert texts(read(journal.tail(0))) == [b"%3d" % i * 30 for i in range(40)]


@pytest.mark.usefixtures("small")
def test_the_oldest_segments_go_at_the_limit(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for _ in range(500):
        journal.append(wire.IOPUB, [b"x" * 90])
    size = sum(f.stat().st_size for f in (tmp_path / "j").iterdir())
    assert size < 8000
    assert journal.first > 400


@pytest.mark.usefixtures("small")
def test_a_slow_tail_goes_on_at_the_oldest_record_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(wire.IOPUB, [b"first" * 100])
    tail = journal.tail(0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        tail.pending()
        tail._boundary = tail._segment.end
        tail._offset = os.sendfile(ours.fileno(), tail._file.fileno(), 0, 10)  # stuck in a record
        for _ in range(500):
            journal.append(wire.IOPUB, [b"x" * 90])
        decoder = wire.Decoder()
        got = list(decoder.feed(theirs.recv(100)))
        while tail.pending():
            tail.send(ours)
            got += decoder.feed(theirs.recv(1 << 20))
    assert got[0].parts == [b"first" * 100]
    sequences = [r.sequence for r in got]
    assert sequences[-1] == journal.next - 1
    assert sequences[sequences.index(journal.first) :] == list(range(journal.first, journal.next))


def test_many_tails_do_not_use_up_the_descriptors(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(wire.IOPUB, [b"x"])
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(100):
        assert len(read(journal.tail(0))) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


@pytest.mark.usefixtures("small")
def test_complete_segments_are_not_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_BYTES", 1 << 30)
    journal = Journal(tmp_path / "j")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(1000):
        journal.append(wire.IOPUB, [b"x" * 90])
    assert len(journal.segments) > 50
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # noqa: PTH208


def test_a_journal_goes_on_after_a_kill_in_the_middle_of_a_record(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from jupyter_gpu_remote.agent import wire
from jupyter_gpu_remote.agent.journal import Journal
journal = Journal(Path({str(tmp_path / "j")!r}))
for i in range(100):
    journal.append(wire.IOPUB, [b"%d" % i])
print("ready", flush=True)
while True:
    journal.append(wire.IOPUB, [b"y" * 100_000])
"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert writer.stdout
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    last = max((tmp_path / "j").iterdir())
    with last.open("ab") as file:
        file.write(wire.pack(wire.IOPUB, [b"torn" * 100], 10**6)[:50])
    journal = Journal(tmp_path / "j")
    number = journal.append(wire.IOPUB, [b"after"])
    got = read(journal.tail(0))
    assert [r.sequence for r in got] == list(range(number + 1))
    assert texts(got)[:100] == [b"%d" % i for i in range(100)]
    assert got[-1].parts == [b"after"]


@pytest.mark.parametrize("junk", [b"\0" * 5000, b"\xff" * 5000, b"x"])
def test_junk_at_the_end_of_a_journal_is_cut_off(tmp_path: Path, junk: bytes) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(wire.IOPUB, [b"good"])
    journal.close()
    with max((tmp_path / "j").iterdir()).open("ab") as file:
        file.write(junk)
    journal = Journal(tmp_path / "j")
    journal.append(wire.IOPUB, [b"after"])
    assert texts(read(journal.tail(0))) == [b"good", b"after"]


def test_a_number_that_a_client_has_seen_is_not_given_out_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(wire.IOPUB, [b"before"])
    journal.go_on_at(50)
    assert journal.append(wire.IOPUB, [b"after"]) >= 50
    assert texts(read(journal.tail(50))) == [b"after"]
    assert texts(read(journal.tail(20))) == [b"after"]
    assert texts(read(journal.tail(0))) == [b"before", b"after"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=4m") as disk:
        yield disk


@pytest.mark.root
def test_a_full_disk_is_bridged_in_memory_until_it_has_room(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    journal = Journal(tiny_disk / "j")
    other = tiny_disk / "other"
    other.write_bytes(b"x" * (3 << 20))
    sent = [b"%5d" % i * 20_000 for i in range(30)]
    for part in sent:
        journal.append(wire.IOPUB, [part])
    assert journal.in_memory
    other.unlink()
    journal.append(wire.IOPUB, [b"after"])
    assert not journal.in_memory
    assert texts(read(journal.tail(0))) == [*sent, b"after"]


@pytest.mark.root
def test_a_disk_is_full_before_an_output_finds_no_room(tiny_disk: Path) -> None:
    journal = Journal(tiny_disk / "j")
    assert not journal.disk_full
    (tiny_disk / "other").write_bytes(b"x" * (7 << 19))
    assert journal.disk_full and not journal.in_memory


@pytest.mark.root
def test_memory_has_a_limit_too(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1 << 20)
    monkeypatch.setattr(module, "MEMORY_LIMIT_BYTES", 3 << 20)
    journal = Journal(tiny_disk / "j")
    for i in range(100):
        journal.append(wire.IOPUB, [b"%5d" % i * 20_000])
    assert journal.in_memory
    assert sum(s.end for s in journal.segments if not s.path) < 5 << 20
    got = [r for r in read(journal.tail(0)) if r.channel != wire.EVENT]
    assert got[-1].parts == [b"%5d" % 99 * 20_000]
    assert [r.sequence for r in got] == sorted({r.sequence for r in got})


def test_a_deleted_folder_does_not_stop_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    journal = Journal(tmp_path / "j")
    tail = journal.tail(0)
    for file in (tmp_path / "j").iterdir():
        file.unlink()
    (tmp_path / "j").rmdir()
    for i in range(30):
        journal.append(wire.IOPUB, [b"%d" % i * 50])
    assert len(texts(read(tail))) == 30
