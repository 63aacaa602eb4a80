"""The one connection that all our processes share: who makes it, who ends it, what it leaves."""

from __future__ import annotations

import dataclasses
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jupyter_gpu_remote.agent.handover import Dialog
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError, ConnectionLostError, TransportError
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.machine import LiveMachine
from jupyter_gpu_remote.model import Address, Machine, MachineState
from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.transport.openssh import OpenSshTransport

from ..conftest import wait_for
from ..fake_cloud import CHEAP, FakeProvider, install
from ..sshd import Sshd
from .rigs.ssh_servers import control_masters, echo, own_control_folder, unix_server

_OTHER = """
import json, sys
from pathlib import Path
from jupyter_gpu_remote.model import Address
from jupyter_gpu_remote.transport import open_transport
host, port, user, key, host_key = json.loads(sys.argv[1])
transport = open_transport(Address(host, port, user, Path(key), host_key), "openssh")
transport.open()
print(transport.run(["echo", "works"]).stdout.decode().strip(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def control_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_control_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder / "gpu-remote"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    sshd = Sshd(tmp_path)
    yield sshd.start()
    sshd.stop()


@pytest.fixture
def transport(sshd: Sshd) -> Iterator[OpenSshTransport]:
    transport = OpenSshTransport(sshd.address)
    transport.open()
    yield transport
    sshd.thaw()
    transport.disconnect()


def other_process(address: Address) -> subprocess.Popen[str]:
    """Start another process of ours that opens `address`, says "works" and waits."""
    where = [address.host, address.port, address.user, str(address.key_file), address.host_key]
    return subprocess.Popen(
        [sys.executable, "-c", _OTHER, json.dumps(where)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def master_of(folder: Path) -> psutil.Process:
    wait_for(lambda: len(control_masters(folder)) == 1, "the command of the login to end")
    (master,) = control_masters(folder)
    return master


def has_ended(process: psutil.Process) -> bool:
    """Return whether `process` is gone but for its parent's taking note of it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_another_process_uses_the_same_connection(transport: OpenSshTransport, sshd: Sshd) -> None:
    other = other_process(sshd.address)
    assert says(other) == "works"
    end(other)
    assert sshd.log.count("Accepted publickey") == 1


def test_two_processes_at_once_make_one_connection(sshd: Sshd) -> None:
    others = [other_process(sshd.address) for _ in range(3)]
    assert [says(p) for p in others] == ["works"] * 3
    for other in others:
        end(other)
    assert sshd.log.count("Accepted publickey") == 1


def test_the_connection_survives_a_kill_of_the_process_that_made_it(sshd: Sshd) -> None:
    first = other_process(sshd.address)
    assert says(first) == "works"
    end(first)
    second = other_process(sshd.address)
    assert says(second) == "works"
    end(second)
    assert sshd.log.count("Accepted publickey") == 1


def test_a_process_killed_while_it_connects_is_in_nobodys_way(sshd: Sshd) -> None:
    sshd.freeze_all()
    first = other_process(sshd.address)
    wait_for(lambda: psutil.Process(first.pid).children(), "it to connect")
    end(first)
    sshd.thaw()
    second = other_process(sshd.address)
    assert says(second) == "works"
    end(second)


def test_the_socket_of_a_killed_master_is_in_nobodys_way(
    transport: OpenSshTransport, control_folder: Path
) -> None:
    master = master_of(control_folder)
    master.kill()
    wait_for(lambda: not transport.alive(), "the master to be gone")
    assert [p for p in control_folder.iterdir() if p.is_socket()]
    transport.open()
    assert transport.run(["echo", "back"]).stdout == b"back\n"


def test_a_stopped_master_is_replaced(transport: OpenSshTransport, sshd: Sshd, control_folder: Path) -> None:
    stopped = master_of(control_folder)
    stopped.send_signal(signal.SIGSTOP)
    fresh = OpenSshTransport(sshd.address)
    fresh.open(timeout=9)
    assert fresh.run(["echo", "back"]).stdout == b"back\n"
    assert has_ended(stopped)


def test_a_master_with_a_frozen_connection_is_replaced_by_the_next_process(
    transport: OpenSshTransport, sshd: Sshd, control_folder: Path
) -> None:
    frozen = master_of(control_folder)
    sshd.freeze()
    fresh = OpenSshTransport(sshd.address)
    fresh.open(timeout=9)
    assert fresh.run(["echo", "back"]).stdout == b"back\n"
    assert has_ended(frozen)


def test_streams_survive_the_replacement_of_the_master_by_new_ones(
    transport: OpenSshTransport, sshd: Sshd, tmp_path: Path
) -> None:
    with unix_server(tmp_path / "s", echo) as path:
        transport.connect_unix(path).close()
        sshd.cut()
        wait_for(lambda: not transport.alive(), "the cut to be noticed")
        transport.open()
        stream = transport.connect_unix(path)
        stream.sendall(b"again")
        assert stream.recv(9) == b"again"
        stream.close()


def test_without_a_master_no_command_makes_a_connection_of_its_own(
    transport: OpenSshTransport, sshd: Sshd
) -> None:
    transport.disconnect()
    with pytest.raises(ConnectionLostError):
        transport.run(["true"])
    with pytest.raises(ConnectionLostError):
        transport.popen(["true"])
    assert sshd.log.count("Accepted publickey") == 1


def test_closing_leaves_the_connection_to_the_others(transport: OpenSshTransport, sshd: Sshd) -> None:
    other = OpenSshTransport(sshd.address)
    other.open()
    other.close()
    assert transport.run(["true"]).returncode == 0


def test_disconnecting_leaves_no_process_and_no_file(
    transport: OpenSshTransport, sshd: Sshd, control_folder: Path, tmp_path: Path
) -> None:
    with unix_server(tmp_path / "s", echo) as path:
        transport.connect_unix(path).close()
    transport.disconnect()
    assert not control_masters(control_folder)
    assert not list(control_folder.iterdir())


def test_disconnecting_does_not_wait_for_who_connects_in_vain(sshd: Sshd, control_folder: Path) -> None:
    sshd.freeze_all()
    other = other_process(sshd.address)
    wait_for(lambda: psutil.Process(other.pid).children(), "it to connect")
    OpenSshTransport(sshd.address).disconnect()
    assert not list(control_folder.iterdir())
    other.communicate(timeout=20)  # sooner than its own limit
    assert other.returncode


def test_a_new_master_removes_the_sockets_of_a_dead_one(
    transport: OpenSshTransport, control_folder: Path, tmp_path: Path
) -> None:
    with unix_server(tmp_path / "s", echo) as path:
        transport.connect_unix(path).close()
    sockets = {p for p in control_folder.iterdir() if p.is_socket()}
    master = master_of(control_folder)
    master.kill()
    wait_for(lambda: has_ended(master), "the master to be gone")
    transport.open()
    left = {p for p in control_folder.iterdir() if p.is_socket()}
    assert (len(sockets), len(left)) == (3, 2)
    assert left < sockets


@pytest.fixture
def rented(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine of the registry that is reached at the server."""
    install(monkeypatch, FakeProvider)
    FakeProvider.put(
        "i-1", name="m1", token="t", tags={}, key=str(sshd.key_file), polls=0, deletes=0, presence="running"
    )
    registry = Registry()
    registry.add(Machine("m1", "fake", CHEAP))
    changes = {"provider_id": "i-1", "address": sshd.address, "ready_at": 1.0}
    for state in ("creating", "booting", "connecting", "preparing", "ready"):
        machine = registry.update("m1", state=MachineState(state), **changes)
    return machine


def connect_each_way(sshd: Sshd, folder: Path) -> None:
    """Leave behind what processes do: a master from before the key was pinned, one since, and a lane."""
    unpinned = dataclasses.replace(sshd.address, host_key="")
    for transport in (OpenSshTransport(unpinned), OpenSshTransport(sshd.address)):
        transport.open()
        with unix_server(folder / "s", echo) as path:
            transport.connect_unix(path).close()
        (folder / "s").unlink()
    OpenSshTransport(sshd.address, lane="-1-0").open()


def test_a_deleted_machine_leaves_no_connection_and_no_file_of_it(
    rented: Machine, sshd: Sshd, control_folder: Path, tmp_path: Path
) -> None:
    connect_each_way(sshd, tmp_path)
    assert len({p.name.split(".")[0] for p in control_folder.iterdir()}) == 3
    Fleet(GpuRemote(), Registry()).delete(rented.name, lambda phase, text: None)
    assert not control_masters(control_folder)
    assert not list(control_folder.iterdir())


def test_a_machine_that_is_found_gone_leaves_no_connection_and_no_file_of_it(
    rented: Machine, sshd: Sshd, control_folder: Path, tmp_path: Path
) -> None:
    connect_each_way(sshd, tmp_path)
    sshd.freeze()
    (FakeProvider.folder() / "i-1.json").unlink()
    Fleet(GpuRemote(), Registry()).reap()
    assert not control_masters(control_folder)
    assert not list(control_folder.iterdir())


def test_a_connection_that_cannot_be_ended_does_not_keep_a_machine_from_being_deleted(
    rented: Machine, control_folder: Path
) -> None:
    control_folder.mkdir()
    control_folder.chmod(0o777)
    Fleet(GpuRemote(), Registry()).delete(rented.name, lambda phase, text: None)
    assert Registry().get(rented.name).state is MachineState.GONE


def test_a_machine_that_another_process_connected_to_gets_its_host_key_pinned(
    sshd: Sshd, rented: Machine
) -> None:
    registry = Registry()
    unpinned = dataclasses.replace(sshd.address, host_key="")
    machine = registry.update(rented.name, address=unpinned, python=sys.executable, agent_socket="")
    other = other_process(unpinned)
    assert says(other) == "works"
    end(other)
    live = LiveMachine(machine, GpuRemote(), registry, lambda: None)
    assert live.transport.alive()
    try:
        live.open(lambda phase, text: None)
        assert registry.get(machine.name).address == sshd.address
        assert sshd.log.count("Accepted publickey") == 1
    finally:
        if agent := registry.get(machine.name).agent_socket:
            with Dialog(agent, 10) as dialog:
                dialog.ask("quit")
        live.transport.disconnect()


def test_no_host_key_is_learnt_where_nobody_has_connected(sshd: Sshd) -> None:
    assert OpenSshTransport(dataclasses.replace(sshd.address, host_key="")).learnt_host_key() == ""


def test_a_machine_that_is_gone_can_be_disconnected(transport: OpenSshTransport, sshd: Sshd) -> None:
    sshd.stop()
    transport.disconnect()
    assert not transport.alive()


def test_the_control_sockets_are_private_and_short(
    transport: OpenSshTransport, control_folder: Path, tmp_path: Path
) -> None:
    with unix_server(tmp_path / "s", echo) as path:
        transport.connect_unix(path).close()
    sockets = [p for p in control_folder.iterdir() if p.is_socket()]
    assert len(sockets) == 3
    assert stat.S_IMODE(control_folder.stat().st_mode) == 0o700
    assert all(len(str(p)) + 17 < 104 for p in sockets)


def test_a_long_runtime_folder_is_passed_over(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    transport = OpenSshTransport(sshd.address)
    transport.open()
    transport.disconnect()
    assert not list(long.iterdir())


def test_a_control_folder_that_others_can_use_is_refused(sshd: Sshd, control_folder: Path) -> None:
    control_folder.mkdir()
    control_folder.chmod(0o777)
    with pytest.raises(TransportError, match="not a private folder"):
        OpenSshTransport(sshd.address)


def test_a_control_folder_that_is_a_link_is_refused(sshd: Sshd, control_folder: Path, tmp_path: Path) -> None:
    control_folder.symlink_to(tmp_path)
    with pytest.raises(TransportError, match="not a private folder"):
        OpenSshTransport(sshd.address)


def test_a_missing_ssh_is_named(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="There is no ssh on this computer"):
        OpenSshTransport(sshd.address).open()


def test_rsync_is_carried(transport: OpenSshTransport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    shell = " ".join(transport.rsync_shell or ())
    subprocess.run(["rsync", "-e", shell, f"any:{tmp_path}/file", tmp_path / "copy"], check=True)
    assert (tmp_path / "copy").read_text() == "content"
