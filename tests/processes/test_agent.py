from __future__ import annotations

import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.agent import wire
from jupyter_gpu_remote.agent.handover import Dialog, found_kernels, subscribe, take_over
from jupyter_gpu_remote.agent.kernels import Kernel
from jupyter_gpu_remote.errors import KernelDiedError, KernelError, KernelStartError
from jupyter_gpu_remote.kernel import Execution, Message
from tests.agent_rig import Agents, Seen, gone
from tests.conftest import mounted, need, wait_for

COUNT = "import time\nfor i in range({}):\n    print(i, flush=True)\n    time.sleep(.0005)"


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    agents = Agents(tmp_path / "agent")
    agents.start()
    yield agents
    agents.end()


def raw(agents: Agents) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(agents.facts["socket"])
    return connection


def printed(seen: Seen, execution: Execution) -> list[str]:
    return seen.text(execution.msg_id).split()  # type: ignore[arg-type]


# -- hostile and slow clients ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [
        wire.HEADER.pack(0, wire.SHELL, 1, 1 << 63) + b"x" * 8,
        wire.HEADER.pack(0, wire.SHELL, 2, 8) + struct.pack("<QQ", 1 << 62, 8) + b"12345678",
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        os.urandom(4096) + b"\xff" * 100,
        wire.pack(wire.AGENT, []),
        wire.pack(wire.AGENT, [b"[1, 2]"]),
        wire.pack(wire.AGENT, [b"{}"]),
        wire.pack(wire.AGENT, [b"[" * 100_000]),
        wire.pack(wire.AGENT, [b"\xff\xfe"]),
    ],
    ids=range(9),
)
def test_junk_drops_the_client_and_nobody_else(agents: Agents, junk: bytes) -> None:
    memory = agents.memory()
    with raw(agents) as connection:
        connection.sendall(junk)
        assert connection.recv(100) == b""
    assert agents.ask("ping") == "pong"
    assert agents.memory() < memory + 10


def test_an_unknown_request_and_wrong_arguments_are_answered(agents: Agents) -> None:
    with Dialog(agents.facts["socket"], 20) as dialog:
        with pytest.raises(LookupError, match="does not know"):
            dialog.ask("fly")
        with pytest.raises(LookupError, match="unexpected keyword"):
            dialog.ask("ping", height=3)
        with pytest.raises(LookupError, match="there is no kernel nobody"):
            dialog.ask("interrupt", kernel="nobody")
        assert dialog.ask("ping") == "pong"


def test_a_kernel_message_that_is_none_drops_the_client_alone(agents: Agents) -> None:
    seen = agents.kernel()
    with raw(agents) as connection:
        connection.sendall(wire.pack_json(wire.AGENT, {"op": "attach", "id": 1, "kernel": "notebook"}))
        connection.recv(1 << 16)
        connection.sendall(wire.pack(wire.SHELL, [b"[]", b"", b"", b""]))
        while connection.recv(1 << 16):
            pass
    assert seen.run("1")["status"] == "ok"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 300, "a\0b"])
def test_a_kernel_name_that_could_be_a_path_is_refused(agents: Agents, name: str) -> None:
    start = {"python": sys.executable, "cwd": str(agents.work), "env": {}}
    with pytest.raises(LookupError, match="can't be the name"):
        agents.ask("attach", kernel=name, start=start)


def test_a_client_that_asks_and_never_reads_does_not_fill_the_memory(agents: Agents) -> None:
    request = wire.pack_json(wire.AGENT, {"op": "status", "id": 1}) * 1000
    memory = agents.memory()
    with raw(agents) as connection:
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                connection.sendall(request)
        assert agents.ask("ping") == "pong"
        assert agents.memory() < memory + 30


def test_a_tail_that_never_reads_does_not_fill_the_memory_nor_hold_up_others(agents: Agents) -> None:
    seen = agents.kernel()
    with raw(agents) as connection:
        connection.sendall(
            wire.pack_json(wire.AGENT, {"op": "attach", "id": 1, "kernel": "notebook", "since": 0})
        )
        code = "for i in range(200): display({'text/plain': 'x' * 500_000}, raw=True)"
        assert seen.run(code)["status"] == "ok"
    assert sum(m.type == "display_data" for m in seen.messages) == 200
    assert agents.memory() <= 60


def test_clients_that_read_at_different_speeds_all_get_everything(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("")
    results: dict[int, list[int]] = {}

    def follow(pause: int) -> None:
        with raw(agents) as connection:
            request = {"op": "attach", "id": 1, "kernel": "notebook", "since": 0, "name": f"c{pause}"}
            connection.sendall(wire.pack_json(wire.AGENT, request))
            decoder, got = wire.Decoder(), results.setdefault(pause, [])
            while True:
                for record in decoder.feed(connection.recv(pause)):
                    if record.channel == wire.AGENT:
                        continue
                    got.append(record.sequence)
                    if b"the very end" in record.parts[-1]:
                        return

    followers = [threading.Thread(target=follow, args=(size,)) for size in (1000, 30_000, 1 << 20)]
    for follower in followers:
        follower.start()
    seen.run("for i in range(2000): display({'text/plain': 'x' * 1000}, raw=True)")
    seen.run("print('the very', 'end')")
    for follower in followers:
        follower.join(60)
    assert len(results) == 3
    assert all(got == list(range(len(got))) and len(got) > 2000 for got in results.values())


# -- floods ---------------------------------------------------------------------------------------------


def test_two_hundred_thousand_lines_arrive_in_order_and_the_agent_stays_small(agents: Agents) -> None:
    seen = agents.kernel()
    execution = seen.kernel.execute("for i in range(200_000): print(i)")
    assert execution.future.result(100)["status"] == "ok"
    assert printed(seen, execution) == [str(i) for i in range(200_000)]
    assert agents.memory() <= 60


def test_a_hundred_megabytes_in_one_message_arrive(agents: Agents) -> None:
    seen = agents.kernel()
    assert seen.run("display({'text/plain': 'x' * 100_000_000}, raw=True)")["status"] == "ok"
    [message] = [m for m in seen.messages if m.type == "display_data"]
    assert len(message.content["data"]["text/plain"]) == 100_000_000
    wait_for(lambda: agents.memory() <= 60, "the agent to be small again")


# -- once, through everything ---------------------------------------------------------------------------


def test_a_message_that_is_sent_twice_runs_once_also_after_a_restart_of_the_agent(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("n = 0")
    options = {"msg_id": "same"}
    content = {"code": "n += 1", "silent": False, "allow_stdin": False}
    for again in range(3):
        seen.kernel.send(wire.SHELL, "execute_request", content, **options)  # type: ignore[arg-type]
        if again == 1:
            agents.kill()
        assert seen.value("n") == "1"


def test_a_cut_misses_and_doubles_nothing(agents: Agents) -> None:
    seen = agents.kernel()
    execution = seen.kernel.execute(COUNT.format(3000))
    for size in (100, 800, 1500):
        wait_for(lambda size=size: len(printed(seen, execution)) > size, f"{size} lines")  # type: ignore[misc]
        seen.cut()
    assert execution.future.result(60)["status"] == "ok"
    assert printed(seen, execution) == [str(i) for i in range(3000)]
    sequences = [m.header["msg_id"] for m in seen.messages]
    assert len(set(sequences)) == len(sequences)


def test_a_killed_agent_costs_no_variables_and_the_running_cell_goes_on(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("x = 5")
    execution = seen.kernel.execute("import time\nfor i in range(60): time.sleep(.05)\ny = 6")
    wait_for(
        lambda: (execution.msg_id, "execute_input") in [(m.parent_id, m.type) for m in seen.messages],
        "the cell to run",
    )
    agents.kill()
    assert execution.future.result(60)["status"] == "ok"
    assert execution.unheard
    assert seen.value("x + y") == "11"


def test_a_cell_that_ended_while_no_agent_ran_is_told_as_lost(agents: Agents) -> None:
    seen = agents.kernel()
    started, done = agents.work / "started", agents.work / "done"
    code = f"import time\nx = 7\nopen({str(started)!r}, 'w')\ntime.sleep(1)\nopen({str(done)!r}, 'w')"
    execution = seen.kernel.execute(code)
    wait_for(started.exists, "the cell to run")
    seen.kernel._link._connect = held = Held(agents)  # type: ignore[assignment]
    agents.kill()
    wait_for(done.exists, "the cell to end")
    held.go.set()
    with pytest.raises(KernelError, match="what it printed meanwhile is lost"):
        execution.future.result(60)
    assert seen.value("x") == "7"


class Held:
    """A way to the agent that is closed for a while."""

    def __init__(self, agents: Agents) -> None:
        self.agents, self.go = agents, threading.Event()

    def __call__(self, sure: bool) -> object:
        self.go.wait(30)
        return self.agents.connect(True)


def test_an_upgrade_loses_and_doubles_nothing_and_keeps_kernels(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("x = 5")
    execution = seen.kernel.execute(COUNT.format(5000))
    for number, size in enumerate((200, 1500, 3000)):
        wait_for(lambda size=size: len(printed(seen, execution)) > size, f"{size} lines")  # type: ignore[misc]
        assert agents.start(f"0.{number + 2}.0")["version"] == f"0.{number + 2}.0"
    assert execution.future.result(60)["status"] == "ok"
    assert printed(seen, execution) == [str(i) for i in range(5000)]
    assert seen.value("x") == "5"


class Slow(Dialog):
    """A way to an old agent that hears late that it is to end."""

    kernel: Kernel

    def ask(self, op: str, **arguments: Any) -> Any:
        if op == "release":
            published, mark = self.kernel.sockets[wire.IOPUB], self.kernel.mark.encode()
            wait_for(lambda: published.poll(100) and mark in b"".join(published.recv_multipart()), "the mark")
            super().ask("ping")
        return super().ask(op, **arguments)


def test_an_old_agent_that_hears_late_of_its_end_knows_where_that_is(agents: Agents) -> None:
    assert agents.kernel().value("1") == "1"
    kernels = found_kernels(agents.root, Path(agents.facts["socket"]).parent)
    subscribe(kernels)
    with Slow(agents.facts["socket"], 30) as old:
        (old.kernel,) = kernels
        take_over(kernels, old)
    assert old.kernel.mark
    old.kernel.disconnect()


def test_cells_sent_during_an_upgrade_all_run_once(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("n = 0")
    upgrade = threading.Thread(target=agents.start, args=("0.2.0",))
    upgrade.start()
    count = 0
    while upgrade.is_alive() or count < 50:
        assert seen.run("n += 1")["status"] == "ok"
        count += 1
    assert seen.value("n") == str(count)


def test_a_frozen_kernel_does_not_stop_an_upgrade(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("x = 5")
    os.kill(seen.kernel.facts["pid"], signal.SIGSTOP)
    assert agents.start("0.2.0")["version"] == "0.2.0"
    os.kill(seen.kernel.facts["pid"], signal.SIGCONT)
    assert seen.value("x") == "5"


def test_an_older_client_does_not_downgrade_the_agent(agents: Agents) -> None:
    newer = agents.start("0.10.0")
    assert agents.start("0.9.0") == newer


@pytest.mark.parametrize("version", ["0.1.0", "0.1.0.dev3+abc", "junk"])
def test_the_same_version_starts_nothing(agents: Agents, version: str) -> None:
    assert agents.start(version) == agents.start(version)


def test_starters_at_once_give_one_agent(tmp_path: Path) -> None:
    agents = Agents(tmp_path / "agent")
    command = agents.command("0.1.0")
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in started]
    agents.end()
    assert all(facts == said[0] for facts in said)


def test_a_frozen_agent_is_replaced(tmp_path: Path) -> None:
    agents = Agents(tmp_path / "agent", {"main.ANSWER_LIMIT": 1})
    agents.start()
    try:
        seen = agents.kernel()
        seen.run("x = 5")
        frozen = agents.pid
        agents.signal(signal.SIGSTOP)
        assert agents.start("0.2.0")["pid"] != frozen
        assert gone(frozen)
        assert seen.value("x") == "5"
    finally:
        agents.end()


def test_an_agent_that_cannot_start_says_why_at_once(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "kernels").write_text("")
    (tmp_path / "agent" / "agent.json.new").mkdir()
    done = subprocess.run(Agents(tmp_path / "agent").command("1"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the agent did not start: IsADirectoryError" in done.stderr


# -- kernels that die -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import os; os._exit(3)", "exited with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),
        (
            "import ctypes; ctypes.string_at(0)",
            "(?s)killed by SIGSEGV.*It said: Fatal Python error.*Current thread",
        ),
    ],
)
def test_a_kernel_that_dies_is_told_with_the_cause_and_a_fresh_one_runs(
    agents: Agents, code: str, cause: str
) -> None:
    seen = agents.kernel()
    seen.run("x = 5")
    with pytest.raises(KernelDiedError, match=cause):
        seen.run(code, limit=10)
    assert "NameError" in seen.value("x")


def test_a_kernel_may_die_twice(agents: Agents) -> None:
    seen = agents.kernel()
    for _ in range(3):
        with pytest.raises(KernelDiedError, match="code 3"):
            seen.run("import os; os._exit(3)")
    assert seen.run("1")["status"] == "ok"


def test_what_was_printed_before_the_death_arrives(agents: Agents) -> None:
    seen = agents.kernel()
    code = (
        "import os, sys, time\nfor i in range(500): print(i)\nsys.stdout.flush(); time.sleep(.5); os._exit(1)"
    )
    execution = seen.kernel.execute(code)
    with pytest.raises(KernelDiedError):
        execution.future.result(20)
    assert printed(seen, execution) == [str(i) for i in range(500)]


def test_a_python_without_ipykernel_gives_one_clear_error(agents: Agents) -> None:
    need(Path("/usr/bin/python3").exists(), "/usr/bin/python3")
    seen = agents.kernel(python="/usr/bin/python3")
    with pytest.raises(KernelStartError, match=r"(?s)code 1.*No module named .*ipykernel"):
        seen.run("1", limit=20)
    assert not seen.kernel.is_open
    with pytest.raises(KernelStartError):
        seen.run("1", limit=1)
    assert agents.ask("status")["kernels"] == []


def test_a_startup_that_fails_gives_its_last_words(agents: Agents, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.write(2, b'broken on purpose')\nos._exit(7)")
    seen = agents.kernel(env={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(KernelStartError, match="code 7; it said: broken on purpose"):
        seen.run("1", limit=20)


def test_a_python_that_hangs_at_its_start_is_ended(tmp_path: Path) -> None:
    agents = Agents(tmp_path / "agent", {"process.START_LIMIT": 2})
    (tmp_path / "sitecustomize.py").write_text("import signal\nsignal.pause()")
    try:
        agents.start()
        seen = agents.kernel(env={"PYTHONPATH": str(tmp_path)})
        pid = seen.kernel.facts["pid"]
        with pytest.raises(KernelStartError, match=r"said nothing in the . s after its start"):
            seen.run("1", limit=20)
        assert gone(pid)
    finally:
        agents.end()


@pytest.mark.parametrize("cwd", ["/proc/nothing/here", "/dev/null/x"])
def test_a_folder_that_cannot_be_made_is_told(agents: Agents, cwd: str) -> None:
    with pytest.raises(KernelStartError, match=r"could not be started: .*(No such file|Not a directory)"):
        agents.kernel(cwd=cwd)


def test_no_such_python_is_told(agents: Agents) -> None:
    with pytest.raises(KernelStartError, match=r"No such file.*nothing"):
        agents.kernel(python="/nothing/python")


# -- requests about a kernel ----------------------------------------------------------------------------


def test_an_interrupt_reaches_the_cell_and_its_child_processes(agents: Agents) -> None:
    seen = agents.kernel()
    code = "import subprocess; child = subprocess.Popen(['sleep', '100']); print(child.pid); child.wait()"
    execution = seen.kernel.execute(code)
    wait_for(lambda: printed(seen, execution), "the child process")
    seen.kernel.interrupt()
    assert execution.future.result(10)["ename"] == "KeyboardInterrupt"
    child = int(printed(seen, execution)[0])
    wait_for(lambda: gone(child), "the child to end")


def test_a_cell_that_ignores_the_first_interrupt_gets_the_second(agents: Agents) -> None:
    seen = agents.kernel()
    code = """
import time
for end in range(2):
    try:
        print("ready", flush=True)
        time.sleep(100)
    except KeyboardInterrupt:
        if end: raise
"""
    execution = seen.kernel.execute(code)
    for count in (1, 2):
        wait_for(lambda count=count: len(printed(seen, execution)) == count, "the cell")  # type: ignore[misc]
        seen.kernel.interrupt()
    assert execution.future.result(10)["ename"] == "KeyboardInterrupt"


def test_an_interrupt_while_the_kernel_starts_does_not_end_it(agents: Agents) -> None:
    seen = agents.kernel(env={"PYTHONUNBUFFERED": "1"})  # takes no spare one
    wait_for(lambda: ignores_interrupts(seen.kernel.facts["pid"]), "the launcher")
    seen.kernel.interrupt()
    assert seen.run("1")["status"] == "ok"


def ignores_interrupts(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(next(x for x in status.splitlines() if x.startswith("SigIgn")).split()[1], 16)
    return bool(ignored & 1 << (signal.SIGINT - 1))


def test_a_restart_gives_a_fresh_kernel_and_the_journal_goes_on(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("x = 5")
    execution = seen.kernel.execute("import time; time.sleep(100)")
    seen.kernel.request("restart", kernel="notebook")
    with pytest.raises(KernelDiedError, match="restarted"):
        execution.future.result(10)
    assert "NameError" in seen.value("x")


def test_a_stopped_kernel_is_gone_with_its_journal(agents: Agents) -> None:
    seen = agents.kernel()
    pid = seen.kernel.facts["pid"]
    seen.run("1")
    seen.kernel.request("stop", kernel="notebook")
    wait_for(lambda: gone(pid), "the kernel to end")
    wait_for(lambda: not (agents.root / "kernels" / "notebook").exists(), "its folder to go")


def test_input_travels_through_the_journal(agents: Agents) -> None:
    seen = agents.kernel()

    def answer(message: Message) -> None:
        if message.type == "input_request":
            content = {"value": message.content["prompt"] + "Ada"}
            seen.kernel.send(wire.STDIN, "input_reply", content, parent=message.header)

    seen.on_message = answer
    execution = seen.kernel.execute("print('hello', input('name? '))")
    assert execution.future.result(20)["status"] == "ok"
    assert printed(seen, execution) == ["hello", "name?", "Ada"]


def test_quit_ends_every_kernel_and_the_agent(agents: Agents) -> None:
    for name in ("a", "b"):
        agents.kernel(name).run("1")
    pids = [p.pid for p in agents.kernels()] + [agents.pid]
    assert len(pids) >= 3
    agents.ask("quit")
    wait_for(lambda: all(gone(pid) for pid in pids), "all to end")


# -- the spare kernel, folders and leftovers ------------------------------------------------------------


def spare(agents: Agents) -> int:
    """Return the pid of the spare kernel, 0 when there is none."""
    for facts in agents.root.glob("spare/*/kernel.json"):
        pid = int(json.loads(facts.read_text())["pid"])
        return 0 if gone(pid) else pid
    return 0


def test_the_spare_kernel_is_used_and_replaced(agents: Agents) -> None:
    wait_for(lambda: spare(agents), "a spare kernel")
    first = spare(agents)
    seen = agents.kernel(env={"COLOUR": "red"})
    assert seen.kernel.facts["pid"] == first
    assert seen.value("__import__('os').environ['COLOUR'] + __import__('os').getcwd()") == repr(
        f"red{agents.work}"
    )
    wait_for(lambda: spare(agents) not in (0, first), "another spare kernel")


def test_the_spare_kernel_of_another_python_is_not_used(agents: Agents, tmp_path: Path) -> None:
    wait_for(lambda: spare(agents), "a spare kernel")
    link = tmp_path / "python"
    link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    link.chmod(0o755)
    seen = agents.kernel(python=str(link))
    assert seen.kernel.facts["pid"] != spare(agents)
    assert seen.run("1")["status"] == "ok"


def test_a_killed_agent_leaves_no_spare_kernel_behind(agents: Agents) -> None:
    wait_for(lambda: spare(agents), "a spare kernel")
    first = spare(agents)
    agents.kill()
    agents.start()
    wait_for(lambda: gone(first), "the old spare kernel to end")


def test_the_folder_of_a_kernel_that_is_no_more_is_cleaned_up(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("1")
    agents.kill()
    os.kill(seen.kernel.facts["pid"], signal.SIGKILL)
    wait_for(lambda: gone(seen.kernel.facts["pid"]), "the kernel to end")
    agents.start()
    assert not (agents.root / "kernels" / "notebook").exists()


def test_the_sockets_lie_in_a_private_folder(agents: Agents) -> None:
    folder = Path((agents.root / "sockets").read_text())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(agents.root.stat().st_mode) == 0o700


@pytest.mark.parametrize("how", ["another user's", "open to all", "a link"])
def test_a_socket_folder_that_is_not_ours_alone_is_refused(tmp_path: Path, how: str) -> None:
    agents = Agents(tmp_path / "agent")
    agents.root.mkdir()
    bad = tmp_path / "sockets"
    bad.mkdir(mode=0o700)
    if how == "another user's":
        need(os.geteuid() == 0, "root, to give a folder away")
        os.chown(bad, 12345, 12345)
    elif how == "open to all":
        bad.chmod(0o777)
    else:
        bad = tmp_path / "link"
        bad.symlink_to(tmp_path / "sockets")
    (agents.root / "sockets").write_text(str(bad))
    try:
        assert not agents.start()["socket"].startswith(str(tmp_path))
    finally:
        agents.end()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=8m") as disk:
        yield disk


@pytest.mark.root
def test_a_full_disk_keeps_the_cell_going_and_is_told_and_recovers(tiny_disk: Path, tmp_path: Path) -> None:
    agents = Agents(tiny_disk / "agent")
    agents.work = tmp_path / "work"
    agents.start()
    try:
        seen = agents.kernel()
        seen.run("1")
        full = tiny_disk / "full"
        execution = seen.kernel.execute(
            f"import os\nf = open({str(full)!r}, 'wb')\n"
            "try:\n    while True: f.write(b'x' * 4096); f.flush()\nexcept OSError: pass\n"
            "for i in range(30): display({'text/plain': 'x' * 100_000}, raw=True)"
        )
        assert execution.future.result(60)["status"] == "ok"
        assert execution.disk_full
        assert sum(m.type == "display_data" for m in seen.messages) == 30
        full.unlink()
        seen.run("import contextlib\nwith contextlib.suppress(OSError): f.close()")

        def told() -> bool:
            execution = seen.kernel.execute("2")
            execution.future.result(20)
            return execution.disk_full

        wait_for(lambda: not told(), "the journal to be on the disk again")
    finally:
        agents.end()
