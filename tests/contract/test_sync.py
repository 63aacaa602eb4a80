"""The notebook folder, out and back, over every way that files can travel."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jupyter_gpu_remote.agent.folder import Folder, answer
from jupyter_gpu_remote.agent.watch import watch
from jupyter_gpu_remote.errors import ConnectionLostError, GpuRemoteError, SyncError
from jupyter_gpu_remote.sync import FolderSync, Report
from jupyter_gpu_remote.sync.movers import rsync_here
from jupyter_gpu_remote.sync.remote import AgentFolder
from jupyter_gpu_remote.transport.base import Transport
from jupyter_gpu_remote.transport.openssh import OpenSshTransport
from jupyter_gpu_remote.transport.paramiko import ParamikoTransport

from ..conftest import need, wait_for
from ..sshd import Sshd

WAYS = ["openssh-rsync", "openssh-tar", "paramiko-tar", "inline"]


class Rig:
    """Two folders and a sync between them, over a real sshd."""

    def __init__(self, folder: Path, transport: Transport) -> None:
        self.here = folder / "my notebooks"
        self.there = folder / "machine's home" / "my notebooks"
        self.here.mkdir()
        self.transport = transport
        self.state = folder / "state.json"
        self.progress: list[tuple[int, int, str]] = []
        self.on_progress: Callable[[], None] = lambda: None
        self.questions: list[str] = []
        self.remote = Folder(self.there, watch(str(self.there)), create=True)
        self.sync = self.new_sync()

    def new_sync(self, ident: str = "") -> FolderSync:
        remote = AgentFolder(self._ask)
        there = str(self.there)
        self.sync = FolderSync(self.here, remote, self.transport, there, self.state, self._progress)
        self.sync.meet(ident, in_step=False)
        return self.sync

    def _ask(self, question: str, data: bytes) -> bytes:
        self.questions.append(question)
        return answer(self.remote, question, data)

    def _progress(self, done: int, total: int, what: str) -> None:
        self.progress.append((done, total, what))
        self.on_progress()

    def pull(self) -> Report:
        """Pull as the product does: the agent tells of changes first."""
        if self.remote.changed():
            self.sync.remote_changed()
        return self.sync.pull()

    def both(self) -> None:
        self.sync.push()
        self.pull()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd")).start()
    yield server
    server.stop()


@pytest.fixture(params=WAYS)
def rig(
    request: pytest.FixtureRequest, tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    way: str = request.param
    transport = (ParamikoTransport if way.startswith("paramiko") else OpenSshTransport)(sshd.address)
    if way != "inline":
        monkeypatch.setattr("jupyter_gpu_remote.sync.carrier.SMALL", -1)
    if way == "openssh-tar":
        monkeypatch.setattr("jupyter_gpu_remote.sync.carrier.rsync_here", lambda: False)
    elif way == "openssh-rsync":
        need(rsync_here(), "rsync 3.1 or newer")
    transport.open()
    rig = Rig(tmp_path, transport)
    yield rig
    rig.sync.close()
    transport.close()


def tree(root: Path) -> dict[bytes, object]:
    """Return everything below `root` but our own folder: content, kind, exec bit, time."""
    found: dict[bytes, object] = {}
    for path in root.rglob("*"):
        if ".jupyter_gpu_remote" in path.parts:
            continue
        status = path.lstat()
        key = os.fsencode(path.relative_to(root))
        if path.is_symlink():
            found[key] = ("link", os.fsencode(path.readlink()))
        elif path.is_dir():
            found[key] = "folder"
        else:
            found[key] = (path.read_bytes(), bool(status.st_mode & 0o100), status.st_mtime_ns)
    return found


def same(rig: Rig) -> bool:
    return tree(rig.here) == tree(rig.there)


def test_a_folder_goes_out_as_it_is(rig: Rig) -> None:
    (rig.here / "a.py").write_text("x = 1")
    (rig.here / "empty").mkdir()
    (rig.here / "deep" / "er").mkdir(parents=True)
    (rig.here / "deep" / "er" / "run.sh").write_text("#!/bin/sh")
    (rig.here / "deep" / "er" / "run.sh").chmod(0o755)
    (rig.here / "deep" / "link").symlink_to("er/run.sh")
    rig.sync.push()
    assert same(rig)


def test_what_a_cell_made_comes_back(rig: Rig) -> None:
    rig.both()
    (rig.there / "out").mkdir()
    (rig.there / "out" / "model.bin").write_bytes(os.urandom(100_000))
    (rig.there / "out" / "latest").symlink_to("model.bin")
    report = rig.pull()
    assert same(rig)
    assert sorted(report.received) == ["out/latest", "out/model.bin"]


ODD = {
    b"with space", b"new\nline", b"'quotes\"", "größe-数.py".encode(), b"-rf", b"--delete", b"#comment",
    b";x", b"\xff\xfe", b"$(touch gone)", b"*", b"back\\slash", b" lead", b"trail ", b":a", b"h:b", b"~",
    b"\x01\x7f", b"`touch gone`", b"n" * 255,
}  # fmt: skip
NAMES = (
    st.binary(min_size=1, max_size=80) | st.lists(st.sampled_from(sorted(ODD)), max_size=3).map(b"".join)
).map(lambda name: b"n" + re.sub(rb"[/\0]", b"", name)[:200])


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=st.sets(NAMES, min_size=5, max_size=30))
@example(names=ODD)
def test_any_name_travels_both_ways(rig: Rig, names: set[bytes]) -> None:
    here = Path(tempfile.mkdtemp(dir=rig.here))  # each time another one
    there = rig.there / here.name
    for name in names:
        (here / os.fsdecode(name)).write_text("out")
    rig.both()
    for name in names:
        folder = there / os.fsdecode(b"from-there-" + name[:100])
        folder.mkdir()
        (folder / os.fsdecode(name)).write_text("back")
    rig.pull()
    assert same(rig) and len(tree(here)) == 3 * len(names)


def test_nothing_is_asked_when_nothing_changed(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    rig.both()
    rig.both()
    rig.questions.clear()
    report = rig.sync.push()
    rig.pull()
    assert not rig.questions and not report


def test_what_went_out_is_not_looked_for_on_the_way_back(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    rig.both()
    (rig.here / "a").write_text("edited")
    rig.sync.push()
    rig.questions.clear()
    rig.pull()
    assert not rig.questions


def test_an_edit_over_there_right_after_a_push_comes_back(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    rig.both()
    (rig.here / "a").write_text("edited")
    rig.sync.push()
    (rig.there / "a").write_text("by the cell")
    rig.pull()
    assert (rig.here / "a").read_text() == "by the cell"


def test_an_edit_in_the_same_second_of_the_same_size_goes_out(rig: Rig) -> None:
    file = rig.here / "a.py"
    file.write_text("x = 1")
    os.utime(file, ns=(10**18, 10**18))
    rig.sync.push()
    file.write_text("x = 2")
    os.utime(file, ns=(10**18 + 1000, 10**18 + 1000))
    rig.sync.push()
    assert (rig.there / "a.py").read_text() == "x = 2"


def test_a_deletion_here_follows_over_there(rig: Rig) -> None:
    (rig.here / "d" / "e").mkdir(parents=True)
    (rig.here / "d" / "e" / "f").write_text("f")
    (rig.here / "g").write_text("g")
    rig.both()
    (rig.here / "d" / "e" / "f").unlink()
    (rig.here / "d" / "e").rmdir()
    (rig.here / "d").rmdir()
    report = rig.sync.push()
    assert report.deleted == ["d/e/f"]
    assert tree(rig.there).keys() == {b"g"}


def test_a_deletion_there_follows_here(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    (rig.here / "b").write_text("b")
    rig.both()
    (rig.there / "a").unlink()
    rig.pull()
    assert tree(rig.here).keys() == {b"b"}


def test_deleted_here_and_changed_there_is_kept(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    (rig.here / "b").write_text("b")
    rig.both()
    (rig.here / "a").unlink()
    (rig.there / "a").write_text("changed")
    rig.sync.remote_changed()
    rig.sync.push()
    report = rig.pull()
    assert (rig.here / "a").read_text() == "changed"
    assert report.kept == ["a"] and "kept" in report.warnings()[0]


def test_deleted_there_and_changed_here_is_kept(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    (rig.here / "b").write_text("b")
    rig.both()
    (rig.there / "a").unlink()
    (rig.here / "a").write_text("changed")
    rig.pull()
    rig.sync.push()
    assert (rig.there / "a").read_text() == "changed" == (rig.here / "a").read_text()


@pytest.mark.parametrize("first", ["push", "pull"])
def test_a_file_changed_on_both_sides_is_there_twice(rig: Rig, first: str) -> None:
    (rig.here / "a.csv").write_text("base")
    rig.both()
    (rig.here / "a.csv").write_text("mine")
    (rig.there / "a.csv").write_text("the machine's")
    report = rig.sync.push() if first == "push" else rig.pull()
    new = report.conflicts["a.csv"]
    assert new.startswith("a.csv.remote-")
    assert (rig.here / "a.csv").read_text() == (rig.there / "a.csv").read_text() == "mine"
    assert (rig.here / new).read_text() == "the machine's"
    assert "a.csv changed on both sides" in report.warnings()[0]


def test_a_conflict_is_seen_after_a_restart(rig: Rig) -> None:
    (rig.here / "a").write_text("base")
    rig.both()
    rig.sync.close()
    (rig.here / "a").write_text("mine")
    (rig.there / "a").write_text("the machine's")
    report = rig.new_sync().push()
    assert list(report.conflicts) == ["a"]


def test_no_conflict_after_a_restart_when_only_one_side_changed(rig: Rig) -> None:
    (rig.here / "a").write_text("base")
    rig.both()
    rig.sync.close()
    (rig.here / "a").write_text("mine")
    rig.new_sync().push()
    assert (rig.there / "a").read_text() == "mine" and len(tree(rig.here)) == 1


def test_nothing_is_asked_after_a_restart_when_nothing_changed_here(rig: Rig) -> None:
    (rig.here / "a").write_text("base")
    rig.both()
    rig.sync.close()
    (rig.there / "a").write_text("the machine's")
    rig.questions.clear()
    rig.new_sync(rig.remote.ident()).push()
    assert not rig.questions
    rig.pull()
    assert (rig.here / "a").read_text() == "the machine's"


def test_a_machine_that_starts_over_is_filled_again_after_a_restart(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    rig.both()
    rig.sync.close()
    shutil.rmtree(rig.there)
    rig.new_sync(rig.remote.ident()).push()
    assert (rig.there / "a").read_text() == "a"


def test_the_same_change_on_both_sides_is_no_conflict(rig: Rig) -> None:
    (rig.here / "a").write_text("base")
    rig.both()
    (rig.here / "a").write_text("same")
    (rig.there / "a").write_text("same")
    os.utime(rig.there / "a", (1, 1))
    report = rig.sync.push()
    assert not report.conflicts and len(tree(rig.here)) == 1


def test_folders_that_meet_for_the_first_time_lose_nothing(rig: Rig) -> None:
    rig.there.mkdir(parents=True)
    (rig.here / "a").write_text("mine")
    (rig.there / "a").write_text("another")
    (rig.here / "b").write_text("equal")
    (rig.there / "b").write_text("equal")
    (rig.there / "c").write_text("only there")
    rig.both()
    new = next(p.name for p in rig.here.glob("a.remote-*"))
    assert {p.name: p.read_text() for p in rig.here.iterdir()} == {
        "a": "mine", "b": "equal", "c": "only there", new: "another",
    }  # fmt: skip


def test_a_machine_that_starts_over_deletes_nothing_here(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    (rig.here / "b").write_text("b")
    rig.both()
    subprocess.run(["rm", "-rf", "--", rig.there], check=True)
    rig.there.mkdir()
    (rig.there / "log").write_text("of the new machine")
    rig.remote = Folder(rig.there, create=True)
    rig.sync.remote_changed()
    rig.sync.pull()
    rig.sync.push()
    assert tree(rig.here).keys() == tree(rig.there).keys() == {b"a", b"b", b"log"}


def test_a_folder_that_is_gone_here_deletes_nothing_there(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    (rig.here / "b").write_text("b")
    rig.both()
    rig.here.rename(rig.here.with_name("moved"))
    with pytest.raises(SyncError, match="cannot be read"):
        rig.sync.push()
    assert tree(rig.there).keys() == {b"a", b"b"}


def test_an_emptied_folder_here_deletes_nothing_there(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    (rig.here / "b").write_text("b")
    rig.both()
    (rig.here / "a").unlink()
    (rig.here / "b").unlink()
    rig.both()
    assert tree(rig.here).keys() == tree(rig.there).keys() == {b"a", b"b"}


def test_ignored_files_stay_where_they_are(rig: Rig) -> None:
    (rig.here / ".gitignore").write_text("*.log\ndata/\n")
    (rig.here / ".gpuignore").write_text("!keep.log\n")
    for name in ("a.log", "keep.log"):
        (rig.here / name).write_text(name)
    (rig.here / "data").mkdir()
    (rig.here / "data" / "big").write_text("big")
    rig.sync.push()
    (rig.there / "b.log").write_text("there")
    rig.pull()
    assert tree(rig.there).keys() == {b".gitignore", b".gpuignore", b"keep.log", b"b.log"}
    assert not (rig.here / "b.log").exists()


def test_a_new_rule_deletes_nothing(rig: Rig) -> None:
    (rig.here / "data").mkdir()
    (rig.here / "data" / "big").write_text("big")
    rig.both()
    (rig.here / ".gitignore").write_text("data/\n")
    rig.both()
    assert (rig.here / "data" / "big").exists() and (rig.there / "data" / "big").exists()


def test_a_new_rule_from_there_deletes_nothing(rig: Rig) -> None:
    (rig.here / "data").mkdir()
    (rig.here / "data" / "big").write_text("big")
    rig.both()
    (rig.there / ".gitignore").write_text("data/\n")
    rig.pull()
    rig.both()
    assert (rig.here / "data" / "big").exists() and (rig.there / "data" / "big").exists()


def test_a_rule_taken_away_overwrites_nothing(rig: Rig) -> None:
    (rig.here / ".gitignore").write_text("data\n")
    (rig.here / "data").write_text("mine")
    rig.both()
    (rig.there / "data").write_text("made over there")
    (rig.here / ".gitignore").write_text("")
    rig.both()
    assert (rig.here / "data").read_text() == "mine"
    assert next(rig.here.glob("data.remote-*")).read_text() == "made over there"


def test_rules_of_the_repository_above_hold_on_the_machine_too(rig: Rig) -> None:
    (rig.here.parent / ".git").mkdir()
    (rig.here.parent / ".gitignore").write_text("/my notebooks/out\n*.tmp\n")
    rig.sync.push()
    (rig.there / "out").write_text("x")
    (rig.there / "a.tmp").write_text("x")
    rig.pull()
    assert not tree(rig.here)


def test_an_environment_made_over_there_deletes_nothing_here(rig: Rig) -> None:
    (rig.here / "tool").mkdir()
    (rig.here / "tool" / "a").write_text("a")
    rig.both()
    (rig.there / "tool" / "pyvenv.cfg").write_text("home = /usr/bin")
    rig.pull()
    assert (rig.here / "tool" / "a").exists()


def test_a_file_that_became_a_folder(rig: Rig) -> None:
    (rig.here / "x").write_text("file")
    (rig.here / "y").mkdir()
    (rig.here / "y" / "in").write_text("in")
    rig.both()
    (rig.here / "x").unlink()
    (rig.here / "x").mkdir()
    (rig.here / "x" / "in").write_text("in")
    (rig.here / "y" / "in").unlink()
    (rig.here / "y").rmdir()
    (rig.here / "y").write_text("file")
    rig.sync.push()
    assert same(rig)


def test_a_link_that_became_a_folder_is_not_written_through(rig: Rig) -> None:
    (rig.here / "real").mkdir()
    (rig.here / "x").symlink_to("real")
    rig.both()
    (rig.there / "x").unlink()
    (rig.there / "x").mkdir()
    (rig.there / "x" / "in").write_text("in")
    rig.pull()
    assert same(rig) and not list((rig.here / "real").iterdir())


def test_a_file_against_a_folder_on_the_other_side(rig: Rig) -> None:
    (rig.here / "x").write_text("base")
    rig.both()
    (rig.here / "x").write_text("mine")
    (rig.there / "x").unlink()
    (rig.there / "x").mkdir()
    (rig.there / "x" / "in").write_text("in")
    rig.pull()
    rig.both()
    assert same(rig)
    assert (rig.here / "x").read_text() == "mine"
    assert next(rig.here.glob("x.remote-*/in")).read_text() == "in"


def test_the_executable_bit_alone_travels(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    rig.both()
    (rig.here / "a").chmod(0o755)
    rig.sync.push()
    assert os.access(rig.there / "a", os.X_OK)
    (rig.there / "a").chmod(0o644)
    rig.pull()
    assert not (rig.here / "a").stat().st_mode & 0o111


def test_a_private_file_stays_private(rig: Rig) -> None:
    (rig.here / "secret").write_text("s")
    (rig.here / "secret").chmod(0o600)
    rig.sync.push()
    assert (rig.there / "secret").stat().st_mode & 0o777 == 0o600


def test_links_that_lead_outside_are_named_and_not_sent(rig: Rig) -> None:
    (rig.here / "abs").symlink_to("/etc/passwd")
    (rig.here / "up").symlink_to("../..")
    (rig.here / "ok").symlink_to("nowhere")
    report = rig.sync.push()
    assert sorted(report.refused) == ["abs", "up"]
    assert "leads outside" in "".join(report.warnings())
    assert tree(rig.there) == {b"ok": ("link", b"nowhere")}


def test_a_refused_file_is_named_once(rig: Rig) -> None:
    (rig.here / "up").symlink_to("..")
    rig.sync.push()
    (rig.here / "a").write_text("a")
    assert not rig.sync.push().refused


def test_a_pipe_and_a_socket_are_refused(rig: Rig) -> None:
    os.mkfifo(rig.here / "pipe")
    assert list(rig.sync.push().refused) == ["pipe"]


def test_a_file_that_shrinks_while_it_is_read_is_right_in_the_end(rig: Rig) -> None:
    file = rig.here / "big"
    file.write_bytes(os.urandom(8 << 20))
    once = threading.Event()

    def shrink() -> None:
        if not once.is_set():
            once.set()
            os.truncate(file, 10)

    rig.on_progress = shrink
    rig.sync.push()
    rig.sync.push()
    assert once.is_set() and same(rig)


def test_a_file_that_is_gone_when_its_turn_comes_is_no_error(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rig.here / "a").write_text("a")
    (rig.here / "b").write_text("b")
    scan = rig.sync._local.scan

    def and_then_delete(*args: object) -> object:
        found = scan(*args)  # type: ignore[arg-type]
        (rig.here / "a").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(rig.sync._local, "scan", and_then_delete)
    rig.sync.push()
    assert tree(rig.there).keys() == {b"b"}


def test_a_change_that_arrives_during_a_pull_is_not_overwritten(rig: Rig) -> None:
    (rig.here / "a").write_text("base")
    rig.both()
    (rig.there / "a").write_text("the machine's")
    (rig.there / "big").write_bytes(os.urandom(4 << 20))
    rig.on_progress = lambda: (
        None if (rig.here / "a").read_text() == "mine" else write(rig.here / "a", "mine")
    )
    rig.pull()
    assert (rig.here / "a").read_text() == "mine"
    assert next(rig.here.glob("a.remote-*")).read_text() == "the machine's"


def write(path: Path, text: str) -> None:
    path.write_text(text)


def test_a_broken_transfer_changes_nothing_and_goes_on_later(rig: Rig, sshd: Sshd) -> None:
    (rig.here / "big").write_bytes(os.urandom(64 << 20))
    (rig.here / "a").write_text("a")
    rig.on_progress = sshd.cut
    with pytest.raises(ConnectionLostError):
        rig.sync.push()
    assert not tree(rig.there)
    rig.on_progress = lambda: None
    wait_for(lambda: reopened(rig.transport), "the connection to be back")
    rig.sync.push()
    assert same(rig)


def reopened(transport: Transport) -> bool:
    try:
        transport.open(5)
        return transport.run(["true"]).returncode == 0
    except GpuRemoteError:
        return False


def test_an_interrupt_stops_a_pull_and_leaves_the_folder_as_it_was(rig: Rig) -> None:
    rig.both()
    (rig.there / "big").write_bytes(os.urandom(64 << 20))
    once = threading.Event()

    def interrupt() -> None:
        if not once.is_set():
            once.set()
            os.kill(os.getpid(), signal.SIGINT)

    rig.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.pull()
    assert not tree(rig.here)
    assert rig.pull().received == ["big"]
    assert same(rig)


def test_progress_ends_at_the_whole(rig: Rig) -> None:
    (rig.here / "big").write_bytes(os.urandom(3_000_000))
    rig.sync.push()
    assert rig.progress[-1] == (3_000_000, 3_000_000, "sending")


def test_a_full_disk_over_there_is_said_with_sizes(rig: Rig) -> None:
    need(os.geteuid() == 0, "root, to mount a small disk")
    rig.there.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", rig.there], check=True)
    try:
        (rig.here / "big").write_bytes(os.urandom(3_000_000))
        with pytest.raises(SyncError, match=r"3\.0 MB") as caught:
            rig.sync.push()
        assert ".gpuignore" in str(caught.value)
    finally:
        subprocess.run(["umount", "-l", rig.there], check=True)


def test_a_disk_that_fills_under_way_is_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    need(os.geteuid() == 0, "root, to mount a small disk")
    rig.there.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", rig.there], check=True)
    try:
        monkeypatch.setattr(rig.remote, "free", lambda: 10**12)
        (rig.here / "big").write_bytes(os.urandom(3_000_000))
        with pytest.raises(SyncError, match="disk is full"):
            rig.sync.push()
    finally:
        subprocess.run(["umount", "-l", rig.there], check=True)


def test_an_unreadable_file_is_named_and_the_rest_goes(tmp_path: Path) -> None:
    need(os.geteuid() == 0, "root, to become somebody who may not read")
    (tmp_path / "a").write_text("a")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "secret").chmod(0)
    (tmp_path / "closed").mkdir(0o700)
    code = (
        "import os, sys; os.chdir(sys.argv[1]); from jupyter_gpu_remote.agent.folder import Folder\n"
        "os.setgid(65534); os.setuid(65534); m = Folder(os.curdir).scan()\n"
        "print(sorted(m.entries), sorted(m.refused.items()))"
    )
    tmp_path.chmod(0o755)
    said = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == "['a'] [('closed', 'Permission denied'), ('secret', 'it may not be read')]"


def test_names_that_this_disk_cannot_tell_apart_are_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_gpu_remote.sync.disk.ignores_case", lambda root: True)
    (rig.here / "Data.csv").write_text("mine")
    rig.both()
    (rig.there / "data.csv").write_text("other")
    report = rig.pull()
    assert "cannot tell it from Data.csv" in report.refused["data.csv"]
    assert (rig.here / "Data.csv").read_text() == "mine"


def test_a_machine_without_rsync_gets_a_tar_stream(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for program in Path(folder).iterdir():
            if program.name != "rsync" and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    server = Sshd(tmp_path, {"SetEnv": f"PATH={programs}"}).start()
    transport = OpenSshTransport(server.address)
    try:
        transport.open()
        rig = Rig(tmp_path, transport)
        (rig.here / "a").write_text("a")
        rig.sync.push()
        assert same(rig)
    finally:
        transport.close()
        server.stop()


def test_two_processes_that_sync_one_folder_take_turns(rig: Rig) -> None:
    (rig.here / "a").write_text("a")
    other = FolderSync(rig.here, AgentFolder(rig._ask), rig.transport, str(rig.there), rig.state)
    threads = [threading.Thread(target=sync.push) for sync in (rig.sync, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (rig.here / "a").write_text("b")
    assert not other.push().conflicts and not rig.sync.push().conflicts
    assert same(rig)
    other.close()


@pytest.mark.parametrize("rig", ["openssh-rsync", "paramiko-tar"], indirect=True)
def test_twenty_thousand_files_go_out_and_a_change_among_them_comes_back(rig: Rig) -> None:
    for d in range(200):
        folder = rig.here / f"d{d}"
        folder.mkdir()
        for i in range(100):
            (folder / f"{i}.txt").write_text(f"{d} {i}")
    report = rig.sync.push()
    assert len(report.sent) == 20_000 and same(rig)
    (rig.there / "d7" / "7.txt").write_text("changed")
    assert rig.pull().received == ["d7/7.txt"]


@pytest.mark.parametrize("rig", ["openssh-rsync", "paramiko-tar"], indirect=True)
def test_a_gigabyte_of_a_sparse_file_goes_out(rig: Rig) -> None:
    with (rig.here / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"middle")
    rig.sync.push()
    with (rig.there / "sparse").open("rb") as file:
        file.seek(1 << 29)
        assert file.read(6) == b"middle"
    assert (rig.there / "sparse").stat().st_size == 1 << 30
