"""What every transport does with every SSH server."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jupyter_gpu_remote.errors import (
    ConfigurationError,
    HostKeyError,
    SshAuthError,
    TransportError,
    TransportTimeoutError,
)
from jupyter_gpu_remote.model import Address
from jupyter_gpu_remote.transport import open_transport
from jupyter_gpu_remote.transport.base import Transport

from ..conftest import wait_for
from ..sshd import make_key
from .rigs.ssh_servers import SERVERS, echo, own_control_folder, unix_server


@pytest.fixture(autouse=True)
def control_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_control_folder() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        yield folder


@pytest.fixture(params=["openssh", "paramiko"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=SERVERS)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with SERVERS[request.param](tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def transport(address: Address, kind: str) -> Iterator[Transport]:
    transport = open_transport(address, kind)
    transport.open()
    yield transport
    transport.disconnect()


@pytest.mark.parametrize("code", [0, 1, 3, 254, 255])
def test_a_command_ends_with_its_own_exit_code(transport: Transport, code: int) -> None:
    assert transport.run(["sh", "-c", f"exit {code}"]).returncode == code


def test_a_command_that_a_signal_ended_says_so(transport: Transport) -> None:
    assert transport.run(["sh", "-c", "kill -KILL $$"]).returncode == 128 + signal.SIGKILL


def test_a_command_that_does_not_exist_exits_with_127(transport: Transport) -> None:
    assert transport.run(["no-such-command"]).returncode == 127


ODD = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "line\nline\n",
    "é☃𝄞",
    "$HOME",
    "*",
    "\\",
    "`id`",
    "$(id)",
    ";id",
    "-x",
    "!",
    "%s",
]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(argv=st.lists(st.text() | st.lists(st.sampled_from(ODD)).map("".join), min_size=5, max_size=20))
@example(argv=[*ODD, "'" * 10_000])
def test_arguments_arrive_exactly(transport: Transport, argv: list[str]) -> None:
    argv = [arg.replace("\0", "") for arg in argv]  # which no argument can have
    done = transport.run(["printf", "%s\\0", *argv])
    assert done.check().stdout.decode().split("\0")[:-1] == argv


def test_input_and_both_outputs_are_kept_apart_and_whole(transport: Transport) -> None:
    data = os.urandom(5_000_000)
    done = transport.run(["sh", "-c", "cat; echo problem >&2"], input=data)
    assert done.stdout == data
    assert done.stderr == b"problem\n"


def test_a_process_is_written_and_read_at_once(transport: Transport) -> None:
    data = os.urandom(1 << 20) * 30
    process = transport.popen(["cat"])

    def write() -> None:
        process.stdin.write(data)
        process.stdin.close()

    writer = threading.Thread(target=write)
    writer.start()
    received = process.stdout.read()
    writer.join()
    assert process.wait(10) == 0
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


def test_files_take_the_place_of_pipes(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"skipped kept")
    with (tmp_path / "in").open("rb", buffering=0) as source, (tmp_path / "out").open("wb") as target:
        source.seek(8)
        assert transport.popen(["cat"], stdin=source, stdout=target).wait(10) == 0
    assert (tmp_path / "out").read_bytes() == b"kept"


def test_a_command_that_takes_too_long_is_ended(transport: Transport, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(TransportTimeoutError, match="did not end within"):
        transport.run(["sh", "-c", 'echo $$ > "$0"; exec sleep 300', str(pid)], timeout=3)
    wait_for(lambda: not psutil.pid_exists(int(pid.read_text())), "the command to be ended")


def test_a_killed_process_ends_over_there(transport: Transport) -> None:
    process = transport.popen(["sh", "-c", "echo $$; exec sleep 300"])
    pid = int(process.stdout.readline())
    process.kill()
    wait_for(lambda: not psutil.pid_exists(pid), "the command to be ended")


def test_an_interrupt_ends_the_command(transport: Transport, tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def interrupt() -> None:
        wait_for(lambda: pid.exists() and pid.read_text().strip(), "the command to start")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        transport.run(["sh", "-c", 'echo $$ > "$0"; exec sleep 300', str(pid)])
    wait_for(lambda: not psutil.pid_exists(int(pid.read_text())), "the command to be ended")


def test_many_threads_run_commands_at_once(transport: Transport) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda i: transport.run(["echo", str(i)]).stdout, range(24)))
    assert done == [f"{i}\n".encode() for i in range(24)]


@pytest.mark.parametrize("size", [0, 1, 3_000_001])
def test_a_file_goes_out_and_comes_back(transport: Transport, tmp_path: Path, size: int) -> None:
    source, there, back = tmp_path / "source", tmp_path / "new\nna'me é", tmp_path / "back"
    source.write_bytes(os.urandom(size))
    source.chmod(0o640)
    transport.put(source, str(there))
    transport.get(str(there), back)
    assert back.read_bytes() == there.read_bytes() == source.read_bytes()
    assert [stat.S_IMODE(p.stat().st_mode) for p in (there, back)] == [0o640, 0o640]
    assert {p.name for p in tmp_path.iterdir()} == {source.name, there.name, back.name}


def test_progress_ends_with_everything(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(9_000_000))
    seen: list[tuple[int, int]] = []
    transport.put(tmp_path / "source", str(tmp_path / "there"), lambda *p: seen.append(p))
    transport.get(str(tmp_path / "there"), tmp_path / "back", lambda *p: seen.append(p))
    assert seen[-1] == (9_000_000, 9_000_000)


def test_a_missing_remote_file_is_an_error_and_leaves_nothing(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="No such file"):
        transport.get("/no/such/file", tmp_path / "back")
    assert not list(tmp_path.iterdir())


def test_a_missing_local_file_is_an_error(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        transport.put(tmp_path / "missing", str(tmp_path / "there"))


@pytest.mark.parametrize("target", ["/proc/new", "/no/such/folder/file", "/tmp"])
def test_an_unwritable_target_is_an_error(transport: Transport, tmp_path: Path, target: str) -> None:
    (tmp_path / "source").write_bytes(bytes(100_000))
    with pytest.raises(TransportError, match=f"{target} cannot be written"):
        transport.put(tmp_path / "source", target)


def test_a_failed_copy_leaves_the_old_file(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(TransportError):
        transport.get(str(tmp_path), tmp_path / "old")  # a folder cannot be read
    assert (tmp_path / "old").read_bytes() == b"old"


def test_the_pinned_host_key_is_the_learnt_one(transport: Transport, address: Address) -> None:
    assert transport.learnt_host_key() == address.host_key


def test_a_wrong_host_key_is_refused(address: Address, kind: str, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    with pytest.raises(HostKeyError, match="another host key"):
        open_transport(dataclasses.replace(address, host_key=other), kind).open()


def test_an_unknown_host_key_is_learnt_and_then_insisted_on(
    address: Address, kind: str, tmp_path: Path
) -> None:
    unknown = dataclasses.replace(address, host_key="")
    first = open_transport(unknown, kind)
    first.open()
    assert first.learnt_host_key() == address.host_key
    first.disconnect()
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    file = Path(os.environ["JUPYTER_GPU_REMOTE_DIR"]) / "known_hosts"
    file.write_text(f"{file.read_text().split()[0]} {other}")
    with pytest.raises(HostKeyError):
        open_transport(unknown, kind).open()


def test_a_key_the_machine_does_not_know_is_refused(address: Address, kind: str, tmp_path: Path) -> None:
    stranger = dataclasses.replace(address, key_file=make_key(tmp_path / "other"))
    with pytest.raises(SshAuthError, match=str(tmp_path / "other")):
        open_transport(stranger, kind).open()


def test_a_key_file_that_is_none_is_refused(address: Address, kind: str, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "junk").chmod(0o600)
    with pytest.raises(SshAuthError, match="junk"):
        open_transport(dataclasses.replace(address, key_file=tmp_path / "junk"), kind).open()


def test_a_unix_socket_echoes_100_mb_both_ways(transport: Transport, tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    with unix_server(tmp_path / "s", echo) as path:
        stream = transport.connect_unix(path)

        def send() -> None:
            for _ in range(100):
                stream.sendall(block)

        sender = threading.Thread(target=send)
        sender.start()
        digest, left = hashlib.sha256(), 100 << 20
        while left:
            data = stream.recv(1 << 18)
            assert data
            digest.update(data)
            left -= len(data)
        sender.join()
        stream.close()
    assert digest.digest() == hashlib.sha256(block * 100).digest()


def test_a_gigabyte_comes_through_in_bounded_memory(transport: Transport, tmp_path: Path) -> None:
    block = os.urandom(1 << 20)
    expected = hashlib.sha256()
    for _ in range(1 << 10):
        expected.update(block)

    def serve(connection: socket.socket) -> None:
        for _ in range(1 << 10):
            connection.sendall(block)

    digest, total = hashlib.sha256(), 0
    with unix_server(tmp_path / "s", serve) as path:
        before = psutil.Process().memory_info().rss
        stream = transport.connect_unix(path)
        while data := stream.recv(1 << 18):
            digest.update(data)
            total += len(data)
        grown = psutil.Process().memory_info().rss - before
        stream.close()
    assert total == 1 << 30
    assert digest.digest() == expected.digest()
    assert grown < 100 << 20


def test_nobody_at_a_unix_socket_is_an_error(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="Nobody answers"):
        transport.connect_unix(str(tmp_path / "nobody"))


def test_who_is_not_sure_reaches_a_listener_too(transport: Transport, tmp_path: Path) -> None:
    with unix_server(tmp_path / "s", echo) as path:
        stream = transport.connect_unix(path, sure=False)
        stream.sendall(b"hello")
        assert stream.recv(100) == b"hello"
        stream.close()


def test_who_is_not_sure_and_finds_nobody_meets_the_end_and_then_an_error(
    transport: Transport, tmp_path: Path
) -> None:
    nobody = str(tmp_path / "nobody")
    try:
        stream = transport.connect_unix(nobody, sure=False)
    except TransportError as e:  # some know at once
        assert "Nobody answers" in e.message
    else:
        assert stream.recv(100) == b""
        stream.close()
    with pytest.raises(TransportError, match="Nobody answers"):
        transport.connect_unix(nobody)
    assert transport.run(["true"]).returncode == 0


def test_a_unix_socket_with_an_odd_name_is_reached(transport: Transport, tmp_path: Path) -> None:
    with unix_server(tmp_path / "a b:%h é", echo) as path:
        stream = transport.connect_unix(path)
        stream.sendall(b"hello")
        assert stream.recv(100) == b"hello"
        stream.close()


def test_the_end_of_a_stream_is_no_error(transport: Transport, tmp_path: Path) -> None:
    with unix_server(tmp_path / "s", lambda c: c.sendall(b"bye")) as path:
        stream = transport.connect_unix(path)
        said = io.BytesIO()
        while data := stream.recv(100):
            said.write(data)
        stream.close()
    assert said.getvalue() == b"bye"


def test_closing_a_stream_wakes_who_reads_it(transport: Transport, tmp_path: Path) -> None:
    with unix_server(tmp_path / "s", lambda c: (c.sendall(b"+"), echo(c))[1]) as path:
        stream = transport.connect_unix(path)
        reading = threading.Event()
        woken: list[bytes | OSError] = []

        def read() -> None:
            stream.recv(1)
            reading.set()
            try:
                woken.append(stream.recv(1))
            except OSError as e:
                woken.append(e)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert reading.wait(30)
        stream.close()
        reader.join(30)
    assert woken


def test_a_transport_that_is_closed_is_not_alive_and_opens_again(transport: Transport) -> None:
    transport.close()
    assert not transport.alive()
    transport.open()
    assert transport.alive()
    assert transport.run(["true"]).returncode == 0


def test_paramiko_is_imported_only_when_used() -> None:
    code = (
        "import sys, jupyter_gpu_remote.transport, jupyter_gpu_remote.transport.openssh;"
        "sys.exit('paramiko' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_kind_of_transport_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no transport called 'telnet'"):
        open_transport(Address("127.0.0.1"), "telnet")
