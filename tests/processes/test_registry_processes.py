"""Many processes on one registry, some of them killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from jupyter_gpu_remote.errors import ConflictError
from jupyter_gpu_remote.model import Machine, MachineState, Offer
from jupyter_gpu_remote.registry import Registry
from tests.conftest import need, wait_for

START = (
    "import sys, time, os\n"
    "from jupyter_gpu_remote.registry import Registry\n"
    "from jupyter_gpu_remote.model import Machine, MachineState, Offer\n"
    "from jupyter_gpu_remote.errors import ConflictError\n"
    "registry = Registry()\n"
)


@contextmanager
def processes(count: int, code: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Run `code` in `count` processes that start together, each told its number as ``me``."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"{START}me = {i}\nprint('up', flush=True)\nsys.stdin.readline()\n{code}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    try:
        assert [line(p) for p in started] == ["up"] * count
        for p in started:
            assert p.stdin
            p.stdin.write("go\n")
            p.stdin.flush()
        yield started
    finally:
        for p in started:
            p.kill()
            p.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_eight_processes_that_create_the_file_at_once_lose_nothing() -> None:
    code = (
        "for i in range(50):\n"
        "    registry.add(Machine(f'm{me}-{i}', 'local', Offer('local', 'cpu')))\n"
        "    registry.note('log', f'm{me}-{i}', 'x')\n"
    )
    with processes(8, code) as started:
        assert [p.wait(60) for p in started] == [0] * 8
    registry = Registry()
    names = {f"m{p}-{i}" for p in range(8) for i in range(50)}
    assert {m.name for m in registry.machines()} == names
    assert {e.machine for e in registry.events(since=0) if e.kind == "log"} == names


def test_of_many_processes_that_compare_and_set_exactly_one_wins_each_round() -> None:
    registry = Registry()
    for i in range(20):
        registry.add(Machine(f"m{i}", "local", Offer("local", "cpu"), MachineState.READY))
    code = (
        "won = 0\n"
        "for i in range(20):\n"
        "    try: registry.update(f'm{i}', expect=MachineState.READY, state=MachineState.BUSY); won += 1\n"
        "    except ConflictError: pass\n"
        "print(won)\n"
    )
    with processes(8, code) as started:
        assert sum(int(p.communicate(timeout=60)[0]) for p in started) == 20


def test_of_many_processes_that_want_a_lease_exactly_one_gets_it() -> None:
    code = (
        "try: registry.lease('m', 60); print('mine', flush=True)\n"
        "except ConflictError: print('taken', flush=True)\n"
        "time.sleep(60)\n"
    )
    with processes(8, code) as started:
        assert sorted(line(p) for p in started) == ["mine"] + ["taken"] * 7


def test_the_lease_of_a_killed_process_can_be_taken_at_once_and_updates_under_it_fail() -> None:
    registry = Registry()
    with processes(1, "registry.lease('m', 600); print('held', flush=True); time.sleep(60)") as (owner,):
        assert line(owner) == "held"
        with pytest.raises(ConflictError, match=f"process {owner.pid}"):
            registry.lease("m", 60)
        owner.kill()
        # nobody has waited for it: a zombie does no work either
        wait_for(lambda: psutil.Process(owner.pid).status() == psutil.STATUS_ZOMBIE, "the end of the owner")
        registry.lease("m", 60)


def test_a_stopped_process_that_lost_its_lease_cannot_change_the_machine() -> None:
    registry = Registry()
    registry.add(Machine("m", "local", Offer("local", "cpu"), MachineState.READY))
    code = (
        "lease = registry.lease('m', 0.001)\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
        "try: registry.update('m', lease=lease, state=MachineState.BUSY); print('changed', flush=True)\n"
        "except ConflictError: print('refused', flush=True)\n"
    )
    with processes(1, code) as (owner,):
        assert line(owner) == "held"
        wait_for(lambda: registry.lease_owner("m") is None, "the lease to expire")
        with registry.lease("m", 60):
            assert owner.stdin
            owner.stdin.write("go on\n")
            owner.stdin.flush()
            assert line(owner) == "refused"


def test_processes_killed_while_they_write_leave_whole_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine and the note about it are two changes in order: no note may lack its machine."""
    code = (
        "import jupyter_gpu_remote.registry as module\n"
        "module.KEPT_EVENTS = 10**9\n"
        "i = 0\n"
        "while True:\n"
        "    registry.add(Machine(f'{os.getpid()}-{i}', 'local', Offer('local', 'cpu')))\n"
        "    registry.note('made', f'{os.getpid()}-{i}', 'x' * 2000)\n"
        "    print(i, flush=True)\n"
        "    i += 1\n"
        "    time.sleep(0.001)\n"  # SQLite has no queue: let the others in
    )
    monkeypatch.setattr("jupyter_gpu_remote.registry.KEPT_EVENTS", 10**9)
    registry = Registry()
    confirmed: set[str] = set()
    for turn in range(5):
        with processes(3, code) as started:
            for p in started:
                for _ in range(10 + turn):
                    confirmed.add(f"{p.pid}-{line(p)}")
            for p in started:
                p.send_signal(signal.SIGKILL)
            for p in started:
                confirmed.update(f"{p.pid}-{i}" for i in p.communicate()[0].split("\n")[:-1])
        registry.note("alive", "", "still writable")
    names = {m.name for m in registry.machines()}
    noted = {e.machine for e in registry.events(since=0, limit=10**6) if e.kind == "made"}
    assert confirmed <= noted <= names
    with registry._file.connection() as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_process_killed_in_the_middle_of_a_change_has_changed_nothing() -> None:
    registry = Registry()
    registry.add(Machine("m", "local", Offer("local", "cpu")))
    code = (
        "with registry._file.transaction() as db:\n"
        "    db.execute('DELETE FROM machines')\n"
        "    print('inside', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with processes(1, code) as (writer,):
        assert line(writer) == "inside"
        writer.kill()
        writer.wait(10)
        assert [m.name for m in registry.machines()] == ["m"]
        registry.note("log", "m", "writable")


def test_a_process_killed_while_it_makes_the_file_leaves_one_that_the_next_can_use() -> None:
    code = (
        "import sqlite3\n"
        "import jupyter_gpu_remote.registry as r\n"
        "registry._file._migrations = ((*r._MIGRATIONS[0][:2], 'SELECT hang()'),)\n"
        "connect = sqlite3.connect\n"
        "def hang(): print('inside', flush=True); time.sleep(60)\n"
        "def patched(*a, **k):\n"
        "    db = connect(*a, **k); db.create_function('hang', 0, hang); return db\n"
        "sqlite3.connect = patched\n"
        "registry.machines()\n"
    )
    with processes(1, code) as (maker,):
        assert line(maker) == "inside"
        maker.kill()
        maker.wait(10)
        Registry().add(Machine("m", "local", Offer("local", "cpu")))
    assert [m.name for m in Registry().machines()] == ["m"]


def test_a_forked_child_uses_a_connection_of_its_own() -> None:
    need(hasattr(os, "fork"), "fork")
    registry = Registry()
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with registry._file.transaction() as db:
            db.execute("INSERT INTO bindings VALUES ('nb', 'm')")
            inside.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    child = os.fork()
    if not child:
        os._exit(0 if registry.binding("nb") is None else 1)  # as yet only the parent's thread sees it
    end = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    done.set()
    holder.join(30)
    assert ended == (child, 0)
    assert Registry().binding("nb") == "m"
