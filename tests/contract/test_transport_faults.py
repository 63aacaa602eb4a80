"""What every transport makes of links that break, servers that freeze and machines that forbid things."""

from __future__ import annotations

import dataclasses
import getpass
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from jupyter_gpu_remote.errors import (
    ConnectionLostError,
    HostKeyError,
    SshAuthError,
    TransportError,
    TransportTimeoutError,
)
from jupyter_gpu_remote.model import Address
from jupyter_gpu_remote.transport import bulk, open_transport
from jupyter_gpu_remote.transport.base import Transport

from ..conftest import wait_for
from ..sshd import Sshd
from .rigs.ssh_servers import echo, own_control_folder, unix_server

Start = Callable[..., Sshd]


@pytest.fixture(autouse=True)
def control_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_control_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder


@pytest.fixture(params=["openssh", "paramiko"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start an sshd with the given options."""
    started: list[Sshd] = []

    def start(**options: str) -> Sshd:
        started.append(Sshd(tmp_path_factory.mktemp("sshd"), options))
        return started[-1].start()

    yield start
    for sshd in started:
        sshd.stop()


@pytest.fixture
def sshd(start: Start) -> Sshd:
    return start()


@pytest.fixture
def transport(sshd: Sshd, kind: str) -> Iterator[Transport]:
    transport = open_transport(sshd.address, kind)
    transport.open()
    yield transport
    sshd.thaw()
    transport.disconnect()


def once(condition: Callable[[], object], fault: Callable[[], None]) -> threading.Thread:
    """Cause `fault` as soon as `condition` holds."""

    def wait_and_act() -> None:
        wait_for(condition, "the moment of the fault")
        fault()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_a_cut_ends_the_running_command_with_an_error(
    transport: Transport, sshd: Sshd, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    thread = once(started.exists, sshd.cut)
    with pytest.raises(ConnectionLostError, match="is gone"):
        transport.run(["sh", "-c", 'touch "$0"; exec sleep 20', str(started)])
    thread.join()


def test_after_a_cut_it_opens_again(transport: Transport, sshd: Sshd) -> None:
    sshd.cut()
    wait_for(lambda: not transport.alive(), "the cut to be noticed")
    with pytest.raises(ConnectionLostError):
        transport.run(["true"])
    transport.open()
    assert transport.run(["echo", "back"]).stdout == b"back\n"


def test_a_cut_is_seen_by_who_waits_for_a_process(transport: Transport, sshd: Sshd) -> None:
    process = transport.popen(["sleep", "20"])
    sshd.cut()
    with pytest.raises(ConnectionLostError):
        process.wait(30)


def test_a_cut_is_seen_by_who_reads_a_stream(transport: Transport, sshd: Sshd, tmp_path: Path) -> None:
    with unix_server(tmp_path / "s", echo) as path:
        stream = transport.connect_unix(path)
        stream.sendall(b"x")
        assert stream.recv(1) == b"x"
        sshd.cut()
        with pytest.raises(OSError):
            stream.recv(1)
        stream.close()


def huge_file(path: Path) -> Path:
    """Make a file that takes minutes to copy and no room."""
    with path.open("wb") as file:
        file.truncate(50 << 30)
    return path


def test_a_cut_copy_leaves_nothing_here(transport: Transport, sshd: Sshd, tmp_path: Path) -> None:
    huge, here = huge_file(tmp_path / "huge"), tmp_path / "here"
    here.mkdir()
    thread = once(lambda: any(p.stat().st_size for p in here.iterdir()), sshd.cut)
    with pytest.raises(ConnectionLostError):
        transport.get(str(huge), here / "file")
    thread.join()
    assert not list(here.iterdir())


def test_a_cut_copy_leaves_the_old_file_there(transport: Transport, sshd: Sshd, tmp_path: Path) -> None:
    huge, there = huge_file(tmp_path / "huge"), tmp_path / "there"
    there.mkdir()
    (there / "file").write_bytes(b"old")
    thread = once(lambda: len(list(there.iterdir())) == 2, sshd.cut)
    with pytest.raises(ConnectionLostError):
        transport.put(huge, str(there / "file"))
    thread.join()
    wait_for(lambda: len(list(there.iterdir())) == 1, "the part to be removed")
    assert (there / "file").read_bytes() == b"old"


def test_what_is_no_file_is_not_copied(transport: Transport, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TransportError, match="Not a regular file"):
        transport.get(str(tmp_path / "fifo"), tmp_path / "back")


def test_a_frozen_server_ends_a_command_at_its_limit(transport: Transport, sshd: Sshd) -> None:
    sshd.freeze()
    with pytest.raises(TransportTimeoutError):
        transport.run(["true"], timeout=1)


def test_a_frozen_connection_is_replaced(transport: Transport, sshd: Sshd) -> None:
    sshd.freeze()
    with pytest.raises(TransportTimeoutError):
        transport.run(["true"], timeout=1)
    transport.open(timeout=20)
    assert transport.run(["echo", "back"], timeout=20).stdout == b"back\n"


def test_opening_a_frozen_server_ends_at_its_limit(sshd: Sshd, kind: str) -> None:
    sshd.freeze_all()
    with pytest.raises(TransportTimeoutError, match="did not answer"):
        open_transport(sshd.address, kind).open(timeout=2)


def test_a_frozen_connection_is_found_out_while_a_stream_waits(
    transport: Transport, sshd: Sshd, tmp_path: Path
) -> None:
    with unix_server(tmp_path / "s", echo) as path:
        stream = transport.connect_unix(path)
        sshd.freeze()
        with pytest.raises(OSError):
            stream.recv(1)


def test_a_machine_that_is_gone_cannot_be_reached(sshd: Sshd, kind: str) -> None:
    sshd.stop()
    with pytest.raises(TransportError, match=r"cannot be reached by SSH.*refused") as caught:
        open_transport(sshd.address, kind).open()
    assert caught.value.hint


def test_a_host_that_does_not_exist_cannot_be_reached(kind: str) -> None:
    with pytest.raises(TransportError, match=r"nowhere.invalid"):
        open_transport(Address("nowhere.invalid"), kind).open()


def test_a_machine_that_comes_back_under_its_port_is_reached(transport: Transport, sshd: Sshd) -> None:
    sshd.stop()
    wait_for(lambda: not transport.alive(), "the cut to be noticed")
    sshd.start()
    transport.open()
    assert transport.run(["true"]).returncode == 0


def test_a_stream_works_where_forwarding_is_forbidden(start: Start, kind: str, tmp_path: Path) -> None:
    sshd = start(AllowStreamLocalForwarding="no", AllowTcpForwarding="no")
    transport = open_transport(sshd.address, kind)
    transport.open()
    data = os.urandom(1 << 20)
    with unix_server(tmp_path / "s", echo) as path:
        stream = transport.connect_unix(path)
        threading.Thread(target=stream.sendall, args=(data,)).start()
        received = b""
        while len(received) < len(data):
            received += stream.recv(1 << 16)
        assert received == data
        sshd.cut()
        with pytest.raises(OSError):
            stream.recv(1)
    transport.disconnect()


def test_nobody_listens_where_forwarding_is_forbidden(start: Start, kind: str, tmp_path: Path) -> None:
    transport = open_transport(start(AllowStreamLocalForwarding="no").address, kind)
    transport.open()
    with pytest.raises(TransportError, match=r"Nobody answers.*No such file"):
        transport.connect_unix(str(tmp_path / "nobody"))
    transport.disconnect()


def test_a_closed_pipe_ends_the_program_that_carried_it(start: Start, kind: str, tmp_path: Path) -> None:
    sshd = start(AllowStreamLocalForwarding="no")
    transport = open_transport(sshd.address, kind)
    transport.open()
    with unix_server(tmp_path / "s", echo) as path:
        stream = transport.connect_unix(path)
        session = sshd.sessions()[-1]
        stream.close()
        wait_for(lambda: not session.children(recursive=True), "the program to end")
    transport.disconnect()


def test_too_many_commands_at_once_is_a_clear_error(start: Start, kind: str) -> None:
    transport = open_transport(start(MaxSessions="1").address, kind)
    transport.open()
    busy = transport.popen(["sh", "-c", "echo; exec sleep 20"])
    busy.stdout.readline()
    with pytest.raises(TransportError, match="allows no more commands"):
        transport.run(["true"])
    transport.disconnect()


def test_a_talkative_login_shell_disturbs_no_copy(sshd: Sshd, kind: str, tmp_path: Path) -> None:
    (sshd.home / ".bashrc").write_text("echo welcome >&2\n")
    transport = open_transport(sshd.address, kind)
    transport.open()
    (tmp_path / "source").write_bytes(b"content")
    transport.put(tmp_path / "source", str(tmp_path / "there"))
    transport.get(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content"
    transport.disconnect()


@pytest.fixture
def long_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every link long."""
    monkeypatch.setattr(bulk, "LONG", 0.0)


@pytest.mark.usefixtures("long_link")
def test_a_large_file_on_a_long_link_takes_connections_of_its_own(
    transport: Transport, sshd: Sshd, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(os.urandom(bulk.LARGE + 12_345))
    before = len(sshd.sessions())
    transport.put(tmp_path / "source", str(tmp_path / "there"))
    transport.get(str(tmp_path / "there"), tmp_path / "back")
    assert len(sshd.sessions()) == before + bulk.LANES
    assert (tmp_path / "back").read_bytes() == (tmp_path / "source").read_bytes()
    transport.close()
    wait_for(lambda: len(sshd.sessions()) <= before, "the further connections to close")


@pytest.mark.usefixtures("long_link")
def test_a_large_file_that_cannot_be_written_is_one_error(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(bulk.LARGE))
    with pytest.raises(TransportError, match=r"/no/such/file cannot be written.*No such file"):
        transport.put(tmp_path / "source", "/no/such/file")


@pytest.fixture
def user_config(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user an SSH configuration: `machine`, and `behind`, which is reached through it."""
    config = tmp_path / ".ssh" / "config"
    config.parent.mkdir(mode=0o700)
    (config.parent / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
    config.write_text(
        f"Host machine behind\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {sshd.key_file}\n  UserKnownHostsFile {config.parent}/known_hosts\n"
        "  LocalForward 1 127.0.0.1:1\n  RemoteCommand false\n  RequestTTY force\n"
        "Host behind\n  ProxyJump machine\n"
    )
    # paramiko takes the home folder from here; ssh takes it from the password database
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    real = shutil.which("ssh")
    shim = tmp_path / "bin" / "ssh"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {real} -F {config} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=os.pathsep)
    return config


def test_an_alias_of_the_user_is_reached(user_config: Path, sshd: Sshd, kind: str) -> None:
    transport = open_transport(Address("machine", port=0), kind)
    transport.open()
    assert transport.run(["echo", "here"]).stdout == b"here\n"
    assert transport.learnt_host_key() == sshd.host_key
    transport.disconnect()


def test_a_machine_behind_a_jump_host_is_reached(user_config: Path, sshd: Sshd, kind: str) -> None:
    if kind == "openssh":
        # the jump is an ssh of ssh's own, which asks the user's files alone
        config = user_config.read_text().replace("  RemoteCommand false\n  RequestTTY force\n", "")
        user_config.write_text(config)
    transport = open_transport(Address("behind", port=0), kind)
    transport.open()
    assert transport.run(["echo", "here"]).stdout == b"here\n"
    assert len(sshd.sessions()) >= 2
    transport.disconnect()
    wait_for(lambda: not sshd.sessions(), "both connections to close")


def test_a_host_key_the_user_knows_otherwise_is_refused(user_config: Path, sshd: Sshd, kind: str) -> None:
    sshd.stop()
    shutil.copy(sshd.key_file, sshd.host_key_file)
    shutil.copy(sshd.key_file.with_suffix(".pub"), sshd.host_key_file.with_suffix(".pub"))
    sshd.start()
    with pytest.raises(HostKeyError, match="another host key"):
        open_transport(Address("machine", port=0), kind).open()


def test_a_user_who_insists_on_known_hosts_is_obeyed(user_config: Path, sshd: Sshd, kind: str) -> None:
    (user_config.parent / "known_hosts").write_text("")
    user_config.write_text(user_config.read_text() + "Host *\n  StrictHostKeyChecking yes\n")
    with pytest.raises(HostKeyError, match="not known"):
        open_transport(Address("machine", port=0), kind).open()


def test_no_usable_key_of_the_user_is_refused_with_the_way_to_try(
    user_config: Path, sshd: Sshd, kind: str
) -> None:
    user_config.write_text(user_config.read_text().replace(str(sshd.key_file), "/no/such/key"))
    with pytest.raises(SshAuthError) as caught:
        open_transport(Address("machine", port=0), kind).open()
    assert "ssh -o BatchMode=yes machine" in caught.value.hint


def test_no_child_of_ours_is_left(transport: Transport, sshd: Sshd) -> None:
    transport.run(["true"])
    transport.disconnect()
    assert not [p for p in psutil.Process().children() if p.name() == "ssh"]


def test_a_wrong_user_is_refused(sshd: Sshd, kind: str) -> None:
    with pytest.raises(SshAuthError):
        open_transport(dataclasses.replace(sshd.address, user="no-such-user"), kind).open()
