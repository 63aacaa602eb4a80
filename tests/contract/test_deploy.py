from __future__ import annotations

import gzip
import io
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from jupyter_gpu_remote import deploy
from jupyter_gpu_remote.agent.handover import Dialog
from jupyter_gpu_remote.deploy import ensure_agent
from jupyter_gpu_remote.errors import EnvironmentBuildError
from jupyter_gpu_remote.transport import open_transport
from jupyter_gpu_remote.transport.base import Completed, Transport
from tests.conftest import need
from tests.sshd import Sshd

SYSTEM_PYTHON = "/usr/bin/python3"


class Recorded:
    """A transport that notes which steps are taken."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.steps: list[str] = []

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        self.steps.append(json.loads(argv[-1])["step"])
        return self.transport.run(argv, **options)


class Here:
    """A machine that is a program here, for what no sshd is needed to see."""

    def __init__(self, home: Path, **env: str) -> None:
        self.env = {"HOME": str(home), "PATH": "/usr/bin:/bin", **env}
        self.steps: list[str] = []
        self.shell = ["/bin/sh", "-c"]

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 60) -> Completed:
        self.steps.append(json.loads(argv[-1])["step"])
        line = shlex.join(argv)
        done = subprocess.run(
            [*self.shell, line],
            input=input,
            capture_output=True,
            env=self.env,
            timeout=timeout,
            check=False,
        )
        return Completed(argv, done.returncode, done.stdout, done.stderr)


def end(home: Path) -> None:
    """End the agent of a home, if there is one."""
    facts = home / ".gpu-remote" / "host" / platform.node() / "agent.json"
    if facts.exists():
        try:
            with Dialog(json.loads(facts.read_text())["socket"], 10) as dialog:
                dialog.ask("quit")
        except OSError:
            pass


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    home.mkdir()
    yield home
    end(home)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    sshd = Sshd(folder).start()
    yield sshd
    end(sshd.home)
    sshd.stop()


def quiet(text: str) -> None:
    pass


def test_a_fresh_home_with_only_python_gets_an_agent_and_the_second_time_is_one_command(sshd: Sshd) -> None:
    need(Path(SYSTEM_PYTHON).exists(), SYSTEM_PYTHON)
    transport = open_transport(sshd.address)
    transport.open()
    machine, said = Recorded(transport), []
    try:
        try:
            agent = ensure_agent(machine, "", said.append)  # type: ignore[arg-type]
        except EnvironmentBuildError as e:
            need("could not" not in str(e) and "can't" not in str(e), f"a package index: {e}")
            raise
        assert machine.steps == ["start", "copy", "build"]
        assert said == [
            "copying the agent and uv",
            "installing Python packages",
        ]
        assert agent.python.startswith(f"{sshd.home}/.gpu-remote/env/")
        with Dialog(agent.socket, 20) as dialog:
            start = {"python": agent.python, "cwd": str(sshd.home / "work"), "env": {}}
            assert dialog.ask("attach", kernel="k", start=start)["kernel"]["python"] == agent.python
        machine.steps.clear()
        assert ensure_agent(machine, agent.python, quiet) == agent  # type: ignore[arg-type]
        assert machine.steps == ["start"]
        # an environment that we built and that is gone is built again
        Path(agent.python).unlink()
        assert ensure_agent(machine, agent.python, quiet) == agent  # type: ignore[arg-type]
        assert Path(agent.python).exists()
    finally:
        transport.close()


def test_a_python_that_is_named_is_used_as_it_is(home: Path) -> None:
    machine = Here(home)
    agent = ensure_agent(machine, sys.executable, quiet)  # type: ignore[arg-type]
    assert agent.python == sys.executable
    assert machine.steps == ["start", "copy", "start"]
    assert not (home / ".gpu-remote" / "env").exists()


@pytest.mark.parametrize("harm", ["a file is gone", "a file is cut", "the folder is empty"])
def test_a_broken_bundle_is_repaired(home: Path, harm: str) -> None:
    machine = Here(home)
    ensure_agent(machine, sys.executable, quiet)  # type: ignore[arg-type]
    end(home)
    [folder] = (home / ".gpu-remote" / "agent").iterdir()
    for file in sorted(folder.rglob("*.py")):
        if harm == "a file is cut":
            file.write_text("")
        elif harm == "the folder is empty" or file.name == "server.py":
            file.unlink()
    ensure_agent(machine, sys.executable, quiet)  # type: ignore[arg-type]
    assert machine.steps[-3:] == ["start", "copy", "start"]


def test_what_a_killed_step_left_is_in_nobodys_way(home: Path) -> None:
    name = deploy.bundle()[0]
    left = home / ".gpu-remote" / "agent" / f"{name}.new"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    ensure_agent(Here(home), sys.executable, quiet)  # type: ignore[arg-type]
    assert [p.name for p in (home / ".gpu-remote" / "agent").iterdir()] == [name]


def test_a_deploy_that_is_killed_in_the_middle_is_finished_by_the_next(home: Path) -> None:
    class Killed(Here):
        def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 60) -> Completed:
            if json.loads(argv[-1])["step"] != "copy":
                return super().run(argv, input=input, timeout=timeout)
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, env=self.env)
            assert process.stdin
            process.stdin.write(input[:1000])
            process.stdin.flush()
            process.send_signal(signal.SIGKILL)
            return Completed(argv, process.wait(), b"", b"Killed")

    with pytest.raises(EnvironmentBuildError, match=r"while copying the agent \(exit code -9\): Killed"):
        ensure_agent(Killed(home), sys.executable, quiet)  # type: ignore[arg-type]
    ensure_agent(Here(home), sys.executable, quiet)  # type: ignore[arg-type]


def test_two_clients_at_once_end_with_one_agent(home: Path) -> None:
    agents: list[deploy.Agent] = []
    clients = [
        threading.Thread(target=lambda: agents.append(ensure_agent(Here(home), sys.executable, quiet)))  # type: ignore[arg-type]
        for _ in range(3)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(90)
    assert len(agents) == 3
    assert len(set(agents)) == 1
    marks = [str(home / ".gpu-remote" / "host" / platform.node()), "jupyter_gpu_remote.agent"]
    running = [p for p in psutil.process_iter(["cmdline"]) if set(marks) <= set(p.info["cmdline"] or [])]
    assert len(running) == 1


@pytest.mark.parametrize("python", ["", "/nothing/python"])
def test_a_machine_without_python_is_told(home: Path, python: str) -> None:
    machine = Here(home, PATH="/nothing")
    with pytest.raises(
        EnvironmentBuildError, match=r"(?s)There is no .*python.*still runs.*apt-get install python3"
    ):
        ensure_agent(machine, python, quiet)  # type: ignore[arg-type]


def test_a_machine_that_is_no_linux_is_told(home: Path) -> None:
    class Mac(Here):
        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            done = super().run(argv, **options)
            return Completed(argv, 0, done.stdout.replace(b'"Linux"', b'"Darwin"'), b"")

    with pytest.raises(EnvironmentBuildError, match="runs Darwin; only Linux"):
        ensure_agent(Mac(home), "", quiet)  # type: ignore[arg-type]


def test_a_login_shell_that_talks_does_not_disturb(home: Path) -> None:
    class Talking(Here):
        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            done = super().run(argv, **options)
            return Completed(argv, done.returncode, b"Welcome!\n" + done.stdout, done.stderr)

    ensure_agent(Talking(home), sys.executable, quiet)  # type: ignore[arg-type]


@pytest.mark.root
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    need(os.geteuid() == 0, "root, to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False)
    need(mounted.returncode == 0, "the right to mount a small file system")
    try:
        with pytest.raises(EnvironmentBuildError, match=r"(?s)No space left.*df -h"):
            ensure_agent(Here(disk), sys.executable, quiet)  # type: ignore[arg-type]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_build_that_fails_says_what_uv_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need(Path(SYSTEM_PYTHON).exists(), SYSTEM_PYTHON)
    monkeypatch.setattr(deploy, "_REQUIREMENTS", ["/nothing/here-1.0-py3-none-any.whl"])
    with pytest.raises(
        EnvironmentBuildError, match=r"(?s)installing Python packages.*could not install /nothing/here.*error"
    ):
        ensure_agent(Here(home), "", quiet)  # type: ignore[arg-type]
    assert list((home / ".gpu-remote" / "env").iterdir()) == []


def test_what_uv_has_in_its_cache_is_installed_with_no_index(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "_REQUIREMENTS", ["cloudpickle"])
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    for env in ({}, nowhere):
        shutil.rmtree(home / ".gpu-remote" / "env", ignore_errors=True)
        # the agent needs more than this to start
        with pytest.raises(EnvironmentBuildError, match="while starting the agent"):
            ensure_agent(Here(home, **env), "", quiet)  # type: ignore[arg-type]
    assert list((home / ".gpu-remote" / "env").glob("*/lib/python*/site-packages/cloudpickle"))


def test_a_uv_that_does_not_run_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "_REQUIREMENTS", ["/nothing/here-1.0-py3-none-any.whl"])
    tool = home / ".gpu-remote" / "bin" / "uv"
    tool.parent.mkdir(parents=True)
    tool.write_bytes(b"\x7fELF for another machine")
    tool.chmod(0o700)
    machine = Here(home)
    with pytest.raises(EnvironmentBuildError, match="could not install"):
        ensure_agent(machine, "", quiet)  # type: ignore[arg-type]
    assert machine.steps == ["start", "copy", "build"]
    assert subprocess.run([tool, "--version"], check=True, stdout=subprocess.DEVNULL).returncode == 0


def test_an_agent_that_does_not_start_is_told_with_its_reason(home: Path) -> None:
    (home / ".gpu-remote" / "host" / platform.node() / "agent.json.new").mkdir(parents=True)
    with pytest.raises(
        EnvironmentBuildError, match="while starting the agent: the agent did not start: IsADirectory"
    ):
        ensure_agent(Here(home), sys.executable, quiet)  # type: ignore[arg-type]


@pytest.mark.parametrize(("libc", "kind"), [("glibc", "manylinux2014"), ("", "musllinux_1_1")])
def test_uv_for_another_machine_is_downloaded_once(
    monkeypatch: pytest.MonkeyPatch, libc: str, kind: str
) -> None:
    asked: list[list[str]] = []

    def download(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        with zipfile.ZipFile(Path(argv[argv.index("-d") + 1]) / "uv-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("uv-1.data/scripts/uv", b"the program")
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(deploy.subprocess, "run", download)
    for _ in range(2):
        assert gzip.decompress(deploy._uv("riscv64", libc)) == b"the program"
    [argv] = asked
    assert f"--platform={kind}_riscv64" in argv
    assert all(("musl" in a) == (not libc) for a in argv if a.startswith("--platform"))


def test_uv_that_cannot_be_downloaded_is_told() -> None:
    with pytest.raises(EnvironmentBuildError, match=r"uv for pdp11 could not be downloaded"):
        deploy._uv("pdp11", "glibc")


def test_the_own_uv_is_taken_when_it_fits() -> None:
    need(platform.system() == "Linux", "Linux")
    data = deploy._uv(platform.machine(), platform.libc_ver()[0])
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as program:
        assert program.read(4) == b"\x7fELF"


def test_hosts_that_share_a_home_have_an_agent_each(home: Path) -> None:
    need(os.geteuid() == 0 and shutil.which("unshare"), "a second host name needs root and unshare")
    second = Here(home)
    second.shell = ["unshare", "--uts", "/bin/sh", "-c", 'hostname second && eval "$0"']
    mine = ensure_agent(Here(home), sys.executable, quiet)  # type: ignore[arg-type]
    theirs = ensure_agent(second, sys.executable, quiet)  # type: ignore[arg-type]
    try:
        assert mine.socket != theirs.socket
        assert ensure_agent(Here(home), sys.executable, quiet) == mine  # type: ignore[arg-type]
    finally:
        with Dialog(theirs.socket, 10) as dialog:
            dialog.ask("quit")
