"""What this computer does as a machine, seen through plain ssh."""

from __future__ import annotations

import asyncio
import os
import pickle
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh
import psutil
import pytest

from jupyter_gpu_remote.config import state_dir
from jupyter_gpu_remote.errors import ConfigurationError, ProviderError
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import Address, Offer, Presence

from ..conftest import need, wait_for
from .rigs.providers import LocalRig, login

OFFER = Offer("local", "this-computer")


@dataclass
class Local:
    """A machine that runs."""

    rig: LocalRig
    address: Address
    argv: list[str]

    @property
    def home(self) -> Path:
        return state_dir() / "machines" / "m1" / "home"

    def run(
        self, command: str, input: bytes = b"", options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        argv = [self.argv[0], *options, *self.argv[1:], command]
        return subprocess.run(argv, input=input, capture_output=True, timeout=60)

    def delete(self) -> None:
        self.rig.provider().delete("m1")


def start(rig: LocalRig) -> Local:
    provider = rig.provider()
    assert provider.create(OFFER, rig.spec()) == "m1"
    wait_for(lambda: provider.describe("m1").presence is not Presence.PENDING, "the machine to run")
    address = provider.describe("m1").address
    assert address, (state_dir() / "machines/m1/server.log").read_text()
    return Local(rig, address, login(rig, address))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LocalRig]:
    need(shutil.which("ssh"), "the OpenSSH client")
    rig = LocalRig(tmp_path)
    yield rig
    rig.provider().delete("m1")


@pytest.fixture
def local(rig: LocalRig) -> Local:
    return start(rig)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("exit 1", 1),
        ("exit 254", 254),
        ("no-such-command", 127),
        ("kill -KILL $$", 128 + signal.SIGKILL),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("exec >&- 2>&-; exit 5", 5),
        ("echo out; echo err >&2; exit 6", 6),
    ],
)
def test_the_exit_code_is_the_one_a_shell_gives(local: Local, command: str, code: int) -> None:
    assert local.run(command).returncode == code


def test_a_command_that_ends_at_once_never_loses_its_code_or_output(local: Local) -> None:
    for n in range(30):
        said = local.run(f"echo {n}; exit {n}")
        assert (said.returncode, said.stdout) == (n, f"{n}\n".encode())


def test_output_and_errors_are_two_streams(local: Local) -> None:
    said = local.run("echo out; echo err >&2")
    assert (said.stdout, said.stderr) == (b"out\n", b"err\n")


def test_a_large_input_comes_back_unchanged(local: Local) -> None:
    data = os.urandom(1 << 20) * 48
    assert local.run("cat", input=data).stdout == data


def test_a_slow_reader_gets_an_input_to_its_last_byte(local: Local) -> None:
    # small steps, begun when all of it is on its way: the pipe stays full until the end
    command = "sleep 0.5; dd bs=512 status=none | wc -c"
    sizes = [(2 << 20) + extra * 16_000 for extra in range(24)]
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda size: int(local.run(command, input=bytes(size)).stdout), sizes))
    assert said == sizes


def test_an_input_that_nobody_reads_does_not_keep_a_command_from_ending(local: Local) -> None:
    assert local.run("exit 4", input=bytes(8 << 20)).returncode == 4


def test_output_that_the_client_does_not_read_waits_on_the_machine(local: Local) -> None:
    argv = [*local.argv, "head -c 1G /dev/zero && touch written"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as stuck:
        assert stuck.stdout and stuck.stdout.read(1 << 20) == bytes(1 << 20)
        for _ in range(10):  # others are served meanwhile
            assert local.run("true").returncode == 0
        server = local.rig.processes("m1")[0]
        assert not (local.home / "written").exists()
        assert server.memory_info().rss < 250 << 20
        stuck.kill()


def test_a_command_runs_in_the_machines_home_with_its_mark_and_this_python(local: Local) -> None:
    said = local.run('echo "$HOME"; pwd; echo $GPU_REMOTE_MACHINE; command -v python3')
    home = str(local.home.resolve())
    python = str(Path(sys.executable).parent / "python3")
    assert said.stdout.decode().split("\n")[:-1] == [home, home, "m1", python]


def test_what_the_user_has_in_their_environment_stays_there(
    rig: LocalRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert b"secret" not in start(rig).run("env").stdout


def test_kernels_use_this_interpreter(local: Local) -> None:
    assert local.rig.provider().describe("m1").python == sys.executable


def test_a_password_is_not_even_asked_for(local: Local) -> None:
    said = local.run("true", options=("-o", "PreferredAuthentications=password,keyboard-interactive"))
    assert said.returncode == 255 and b"Permission denied (publickey)" in said.stderr


def test_another_key_is_refused(local: Local, tmp_path: Path) -> None:
    make_key_pair(tmp_path / "other", "another")
    argv = [a.replace(str(local.address.key_file), str(tmp_path / "other")) for a in local.argv]
    said = subprocess.run([*argv, "true"], capture_output=True, timeout=30)
    assert said.returncode == 255 and b"Permission denied (publickey)" in said.stderr


def test_the_machine_listens_on_loopback_only(local: Local) -> None:
    listening = [
        c.laddr for p in local.rig.processes("m1") for c in p.net_connections() if c.status == "LISTEN"
    ]
    assert [(a.ip, a.port) for a in listening] == [("127.0.0.1", local.address.port)]


def test_others_cannot_look_into_the_machines_folder(local: Local) -> None:
    assert local.home.parent.stat().st_mode & 0o077 == 0


def test_rsync_copies_a_folder_both_ways(local: Local, tmp_path: Path) -> None:
    need(shutil.which("rsync"), "rsync")
    there, back = tmp_path / "there", tmp_path / "back"
    there.mkdir()
    (there / "größe 数 'q'").write_bytes(os.urandom(3 << 20))
    shell = shlex.join(local.argv[:-1])
    copy = ["rsync", "-a", "-e", shell]
    subprocess.run([*copy, f"{there}/", f"{local.argv[-1]}:copy/"], check=True, timeout=60)
    subprocess.run([*copy, f"{local.argv[-1]}:copy/", f"{back}/"], check=True, timeout=60)
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {
        p.name: p.read_bytes() for p in there.iterdir()
    }


@pytest.mark.parametrize("program", ["sftp", "scp"])
def test_sftp_and_scp_put_a_file_into_the_home(local: Local, tmp_path: Path, program: str) -> None:
    need(shutil.which(program), program)
    (tmp_path / "data").write_bytes(data := os.urandom(5 << 20))
    options = ["-P" if a == "-p" else a for a in local.argv[1:-1]]
    argv = [program, *options]
    if program == "sftp":
        argv += ["-b", "-", local.argv[-1]]
    else:
        argv += [str(tmp_path / "data"), f"{local.argv[-1]}:data"]
    batch = f"put {tmp_path / 'data'} data\n".encode()
    said = subprocess.run(argv, input=batch, capture_output=True, timeout=60)
    assert (said.returncode, (local.home / "data").read_bytes() == data) == (0, True), said.stderr


def echo_once(listener: socket.socket) -> None:
    """Send all that comes from the first to connect back to them."""
    peer, _ = listener.accept()
    with peer:
        while data := peer.recv(1 << 16):
            peer.sendall(data)


def test_a_unix_socket_on_the_machine_is_reached_through_a_forward(local: Local, tmp_path: Path) -> None:
    here, there = tmp_path / "here.sock", tmp_path / "there.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(there))
        listener.listen()
        threading.Thread(target=echo_once, args=[listener], daemon=True).start()
        argv = [local.argv[0], "-N", "-L", f"{here}:{there}", *local.argv[1:]]
        with subprocess.Popen(argv) as forward, socket.socket(socket.AF_UNIX) as client:
            wait_for(here.exists, "the forward")
            client.connect(str(here))
            data = os.urandom(1 << 20) * 8
            threading.Thread(target=client.sendall, args=[data], daemon=True).start()
            got = bytearray()
            while len(got) < len(data) and (piece := client.recv(1 << 20)):
                got += piece
            forward.kill()
    assert got == data


def test_a_port_on_the_machine_is_reached_through_a_forward(local: Local) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo_once, args=[listener], daemon=True).start()
        argv = [local.argv[0], "-W", f"127.0.0.1:{listener.getsockname()[1]}", *local.argv[1:]]
        said = subprocess.run(argv, input=b"hello", capture_output=True, timeout=30)
    assert said.stdout == b"hello"


@pytest.mark.parametrize("name", ["xterm", ""])
def test_a_terminal_is_a_terminal_and_ends_with_the_shells_code(
    local: Local, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", name)
    said = local.run("tty; stty size >/dev/null && echo $TERM; exit 9", options=("-tt",))
    assert (said.returncode, b"/dev/" in said.stdout) == (9, True)


def test_a_login_without_a_command_is_a_shell(local: Local) -> None:
    said = subprocess.run(local.argv, input=b"echo $GPU_REMOTE_MACHINE\nexit 8\n", capture_output=True)
    assert (said.returncode, said.stdout) == (8, b"m1\n")


def begin(local: Local, command: str) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Start a command that prints pids on one line, and return those processes."""
    client = subprocess.Popen([*local.argv, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout
    return client, [psutil.Process(int(pid)) for pid in client.stdout.readline().split()]


def ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_cut_connection_hangs_up_on_the_whole_process_group(local: Local) -> None:
    client, processes = begin(local, "sleep 1000 & echo $! $$; wait")
    client.kill()
    client.communicate()
    wait_for(lambda: all(map(ended, processes)), "the processes to end")


def test_a_process_in_a_session_of_its_own_survives_a_cut_connection_and_ends_with_the_machine(
    local: Local,
) -> None:
    need(shutil.which("setsid"), "setsid")
    client, (own, group) = begin(
        local,
        "setsid sh -c 'touch up; exec sleep 1000' & "
        "while [ ! -e up ]; do sleep 0.01; done; echo $! $$; exec sleep 1000",
    )
    client.kill()
    client.communicate()
    wait_for(lambda: ended(group), "the process group to end")
    assert not ended(own)
    local.delete()
    assert ended(own)


def test_a_closed_channel_hangs_up_on_a_command_that_does_not_read_its_input(local: Local) -> None:
    async def leave() -> None:
        async with asyncssh.connect(
            local.address.host,
            local.address.port,
            client_keys=[str(local.address.key_file)],
            known_hosts=asyncssh.import_known_hosts(f"* {local.address.host_key}"),
            config=None,
        ) as connection:
            process = await connection.create_process("echo $$; exec sleep 1000", encoding=None)
            sleeper = psutil.Process(int(await process.stdout.readline()))
            process.stdin.write(bytes(6 << 20))  # fills the pipe, and some of the window
            process.channel.abort()
            while not ended(sleeper):
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(leave(), 30))


def test_delete_finds_processes_that_dropped_the_mark(local: Local) -> None:
    client, processes = begin(local, 'env -i sh -c "sleep 1000 & echo \\$! \\$\\$; wait" & wait')
    local.delete()
    client.communicate()
    assert all(map(ended, processes))


def test_delete_spares_a_machine_of_the_same_name_in_another_state_folder(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path / "elsewhere"))
        start(local.rig).delete()
    assert local.run("true").returncode == 0


def test_delete_removes_folders_made_read_only(local: Local) -> None:
    if os.geteuid() == 0:
        local.run("mkdir -p a/b; touch a/b/c; chmod -R a-w a")
    else:
        local.run("mkdir -p a/b; touch a/b/c; chmod 000 a/b; chmod 500 a")
    local.delete()
    assert local.rig.leftovers() == []


def mounts() -> list[str]:
    """Return where something is mounted in our state folder."""
    return [p.mountpoint for p in psutil.disk_partitions(all=True) if str(state_dir()) in p.mountpoint]


def test_delete_empties_nothing_that_is_mounted_in_the_home(local: Local) -> None:
    need(os.geteuid() == 0, "root, to mount something")
    (local.home / "bucket").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", local.home / "bucket"], capture_output=True, text=True
    )
    need(not mounted.returncode, f"the right to mount: {mounted.stderr.strip()}")
    try:
        (local.home / "bucket" / "precious").write_text("data")
        with pytest.raises(ProviderError, match="mounted there"):
            local.delete()
        assert [Path(point, "precious").read_text() for point in mounts()] == ["data"]
    finally:
        for point in mounts():
            subprocess.run(["umount", point], check=True)
    local.delete()
    assert local.rig.leftovers() == []


def test_a_machine_whose_folder_was_taken_away_ends_by_itself(local: Local) -> None:
    _, processes = begin(local, "setsid sleep 1000 & echo $!; wait")
    shutil.rmtree(local.home.parent)
    wait_for(lambda: ended(processes[0]) and not local.rig.processes("m1"), "the machine to end")


def test_a_machine_whose_server_died_is_gone_and_its_survivors_can_be_ended(local: Local) -> None:
    need(shutil.which("setsid"), "setsid")
    _, (survivor,) = begin(local, "setsid sleep 1000 & echo $!; wait")
    local.rig.kill("m1")
    wait_for(lambda: local.rig.provider().describe("m1").presence is Presence.GONE, "the machine to be gone")
    assert not ended(survivor)
    local.delete()
    assert ended(survivor) and local.rig.leftovers() == []


def test_a_machine_that_died_stays_dead_whatever_is_called_again(local: Local) -> None:
    local.rig.kill("m1")
    wait_for(lambda: local.rig.provider().describe("m1").presence is Presence.GONE, "the machine to be gone")
    assert local.rig.provider().create(OFFER, local.rig.spec()) == "m1"
    assert local.rig.provider().describe("m1").presence is Presence.GONE
    assert list(local.rig.provider().machines()) == []


@pytest.mark.parametrize(
    "moment",
    [
        "local_folder.Path.rename",  # before the folder is whole
        "local.start",  # before there is a server
        "local_folder.subprocess.Popen",  # the same, with everything prepared
        "local_folder.threading.Thread",  # right after the server was started
    ],
)
def test_a_creation_killed_in_the_middle_is_completed_by_the_same_token(rig: LocalRig, moment: str) -> None:
    module, _, attribute = moment.partition(".")
    code = (
        "import os, sys, pickle\n"
        f"from jupyter_gpu_remote.providers import local, {module}\n"
        "from jupyter_gpu_remote.config import GpuRemote\n"
        "offer, spec = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        f"{module}.{attribute} = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "local.LocalProvider(GpuRemote()).create(offer, spec)\n"
    )
    argument = pickle.dumps((OFFER, rig.spec())).hex()
    killed = subprocess.run([sys.executable, "-c", code, argument], timeout=30, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    local = start(rig)
    assert local.run("true").returncode == 0
    assert len(local.rig.processes("m1")) == 1
    local.delete()
    assert rig.leftovers() == []


def test_a_name_that_is_taken_is_refused(local: Local) -> None:
    with pytest.raises(ProviderError, match="a machine called m1"):
        local.rig.provider().create(OFFER, local.rig.spec(token="another"))


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "", "a b"])
def test_a_name_that_would_leave_the_folder_is_refused(rig: LocalRig, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name for a machine"):
        rig.provider().create(OFFER, replace(rig.spec(), name=name))
