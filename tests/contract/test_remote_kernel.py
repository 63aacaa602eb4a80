from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote import link
from jupyter_gpu_remote.agent import wire
from jupyter_gpu_remote.errors import (
    ConnectionLostError,
    HostKeyError,
    KernelError,
    KernelStartError,
    TransportError,
)
from jupyter_gpu_remote.kernel import Message, RemoteKernel
from tests.agent_rig import Agents, Seen, Shut, threads
from tests.conftest import wait_for


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    agents = Agents(tmp_path / "agent", {"main.ANSWER_LIMIT": 1})
    agents.start()
    yield agents
    agents.end()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PING", 0.3)
    monkeypatch.setattr(link, "ATTACH_LIMIT", 1.0)


class Deaf:
    """What takes a connection and never says nor reads anything."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "deaf")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)

    def connect(self, sure: bool = False) -> Any:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        return Shut(connection)


class Nobody:
    def message(self, message: Message) -> None:
        pass

    def connection(self, text: str) -> None:
        pass


@pytest.mark.usefixtures("impatient")
def test_a_frozen_agent_is_noticed_and_nothing_is_lost_when_it_goes_on(agents: Agents) -> None:
    seen = agents.kernel()
    execution = seen.kernel.execute(
        "import time\nfor i in range(300):\n    print(i, flush=True)\n    time.sleep(.01)"
    )
    wait_for(lambda: len(seen.text().split()) > 20, "some lines")
    seen.kernel._link._connect = lambda sure: agents.connect(False)  # nobody kills it
    agents.signal(signal.SIGSTOP)
    wait_for(lambda: any("no answer" in news for news in seen.news), "the silence to be told")
    agents.signal(signal.SIGCONT)
    assert execution.future.result(60)["status"] == "ok"
    assert seen.text().split() == [str(i) for i in range(300)]
    assert seen.news[-1] == ""


@pytest.mark.usefixtures("impatient")
def test_a_frozen_agent_is_replaced_by_one_that_goes_on(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("x = 5")
    agents.signal(signal.SIGSTOP)
    assert seen.value("x") == "5"


@pytest.mark.usefixtures("impatient")
def test_an_end_of_patience_is_one_clear_error_for_all_that_wait(agents: Agents) -> None:
    seen = agents.kernel(patience=0.5)
    executions = [seen.kernel.execute("import time; time.sleep(100)"), seen.kernel.execute("1")]

    def refuse(sure: bool) -> Any:
        raise TransportError("the cable is cut")

    seen.kernel._link._connect = refuse
    seen.cut()
    answers = [seen.kernel._link.ask("ping")]
    for waiting in [*(e.future for e in executions), *answers]:
        with pytest.raises(ConnectionLostError):
            waiting.result(30)
    with pytest.raises(
        ConnectionLostError, match=r"(?s)the cable is cut.*may still run and be billed.*%remote"
    ):
        seen.kernel.execute("2").future.result(1)
    with pytest.raises(ConnectionLostError):
        seen.kernel.request("ping")
    wait_for(lambda: not threads(), "the threads to end")
    assert not seen.kernel.is_open


def test_a_machine_that_is_another_now_ends_the_link_at_once(agents: Agents) -> None:
    seen = agents.kernel()

    def refuse(sure: bool) -> Any:
        raise HostKeyError("this is another machine")

    seen.kernel._link._connect = refuse
    execution = seen.kernel.execute("import time; time.sleep(100)")
    seen.cut()
    with pytest.raises(HostKeyError):
        execution.future.result(10)


def test_close_leaves_no_threads_and_wakes_who_waits(agents: Agents) -> None:
    seen = agents.kernel()
    execution = seen.kernel.execute("import time; time.sleep(100)")
    seen.kernel.close()
    assert threads() == []
    with pytest.raises(KernelError, match="was closed"):
        execution.future.result(1)
    with pytest.raises(KernelError, match="was closed"):
        seen.kernel.execute("1").future.result(1)
    with pytest.raises(KernelError, match="was closed"):
        seen.kernel.request("ping", timeout=1)


def test_a_kernel_keeps_its_variables_when_its_client_comes_again(agents: Agents) -> None:
    first = agents.kernel()
    first.run("x = 5")
    first.kernel.close()
    assert agents.kernel().value("x") == "5"


def test_nobody_listening_fails_fast(tmp_path: Path) -> None:
    def connect(sure: bool) -> Any:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(tmp_path / "nothing"))

    with pytest.raises(OSError, match="No such file"):
        RemoteKernel("k", connect, None, Nobody()).open()
    assert threads() == []


@pytest.mark.usefixtures("impatient")
def test_somebody_who_never_answers_fails_after_a_limit(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLostError, match="does not answer"):
        RemoteKernel("k", Deaf(tmp_path).connect, None, Nobody()).open()
    assert threads() == []


def test_junk_in_place_of_an_agent_is_a_connection_that_does_not_work(tmp_path: Path) -> None:
    def connect(sure: bool) -> Any:
        ours, theirs = socket.socketpair()
        theirs.sendall(b"Welcome to this machine! " * 10)
        return Shut(ours)

    with pytest.raises(ConnectionLostError, match="does not answer"):
        RemoteKernel("k", connect, None, Nobody()).open()


def test_a_kernel_that_must_exist_and_does_not_is_told(agents: Agents) -> None:
    kernel = RemoteKernel("nobody", agents.connect, None, Nobody())
    with pytest.raises(KernelStartError, match="is gone: there is no kernel nobody"):
        kernel.open()
    assert threads() == []


def test_a_kernel_that_went_while_the_line_was_down_is_told(agents: Agents) -> None:
    seen, other = agents.kernel(), agents.kernel()
    seen.run("1")
    execution = seen.kernel.execute("import time; time.sleep(100)")
    wait_for(lambda: any(m.parent_id == execution.msg_id for m in seen.messages), "the cell to run")
    seen.kernel._link._connect = gate = Gate(agents)  # type: ignore[assignment]
    seen.cut()
    other.kernel.request("stop", kernel="notebook")
    wait_for(lambda: agents.ask("status")["kernels"] == [], "the kernel to end")
    again = agents.kernel()
    gate.go.set()
    with pytest.raises(KernelError, match="gone"):
        execution.future.result(20)
    assert again.run("1")["status"] == "ok"


class Gate:
    def __init__(self, agents: Agents) -> None:
        self.agents, self.go = agents, threading.Event()

    def __call__(self, sure: bool) -> Any:
        self.go.wait(30)
        return self.agents.connect(False)


@pytest.mark.usefixtures("impatient")
def test_a_request_without_an_answer_times_out(agents: Agents) -> None:
    seen = agents.kernel()
    agents.signal(signal.SIGSTOP)
    with pytest.raises(ConnectionLostError):
        seen.kernel.request("status", timeout=0.2)
    agents.signal(signal.SIGCONT)


def test_a_peer_that_stops_reading_never_blocks_who_sends(agents: Agents) -> None:
    seen = agents.kernel()
    seen.run("n = 0")
    agents.signal(signal.SIGSTOP)
    for _ in range(20):  # far beyond what sockets hold
        seen.kernel.send(wire.SHELL, "comm_msg", {"comm_id": "none", "data": {}}, buffers=[b"x" * 1_000_000])
    execution = seen.kernel.execute("n += 1")
    agents.signal(signal.SIGCONT)
    assert execution.future.result(60)["status"] == "ok"
    assert seen.value("n") == "1"


def test_a_peer_that_stops_reading_does_not_keep_close_from_returning(agents: Agents) -> None:
    seen = agents.kernel()
    agents.signal(signal.SIGSTOP)
    seen.kernel.send(wire.SHELL, "comm_msg", {}, buffers=[b"x" * 10_000_000])
    seen.kernel.close()
    assert threads() == []
    agents.signal(signal.SIGCONT)


def test_an_interrupt_pressed_while_the_line_is_down_arrives(agents: Agents) -> None:
    seen = agents.kernel()
    execution = seen.kernel.execute("print('runs')\nimport time; time.sleep(100)")
    wait_for(lambda: "runs" in seen.text(), "the cell to run")
    seen.kernel._link._connect = gate = Gate(agents)  # type: ignore[assignment]
    seen.cut()
    seen.kernel.interrupt()
    gate.go.set()
    assert execution.future.result(20)["ename"] == "KeyboardInterrupt"


def test_a_listener_that_fails_does_not_stop_the_others(agents: Agents) -> None:
    seen = agents.kernel()

    def fail(message: Message) -> None:
        raise RuntimeError("a bug in a face")

    seen.on_message = fail
    assert seen.run("print(1)")["status"] == "ok"


def test_what_the_journal_no_longer_has_is_told_and_nothing_waits_for_it(tmp_path: Path) -> None:
    agents = Agents(tmp_path / "agent", {"journal.SEGMENT_BYTES": 20_000, "journal.LIMIT_BYTES": 60_000})
    agents.start()
    try:
        seen = agents.kernel()
        execution = seen.kernel.execute("print('runs', flush=True); import time; time.sleep(1)")
        wait_for(lambda: "runs" in seen.text(), "the cell to run")
        gate = Gate(agents)
        seen.kernel._link._connect = gate  # type: ignore[assignment]
        seen.cut()
        other = agents.kernel()
        other.run("for i in range(200): display({'text/plain': 'x' * 1000}, raw=True); time.sleep(.01)")
        gate.go.set()
        with pytest.raises(KernelError, match="no longer known"):
            execution.future.result(20)
        assert any("messages are lost" in news for news in seen.news)
        assert seen.run("1")["status"] == "ok"
    finally:
        agents.end()


def test_two_clients_of_one_kernel_see_the_same(agents: Agents) -> None:
    first, second = agents.kernel(), agents.kernel()
    first.run("print('from the first')")
    second.run("print('from the second')")
    wait_for(lambda: first.text() == second.text() == "from the first\nfrom the second\n", "both outputs")


def test_a_late_client_can_follow_a_cell_from_its_beginning(agents: Agents) -> None:
    first = agents.kernel()
    execution = first.kernel.execute(
        "import time\nfor i in range(100):\n    print(i, flush=True)\n    time.sleep(.01)"
    )
    wait_for(lambda: len(first.text().split()) > 20, "some lines")
    first.kernel.close()
    late = Seen(agents)
    again = late.kernel.follow(execution.msg_id)
    late.kernel.open(since=0)
    assert again.future.result(30)["status"] == "ok"
    assert late.text().split() == [str(i) for i in range(100)]
