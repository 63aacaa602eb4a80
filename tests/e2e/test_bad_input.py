"""Wrong options and machines that cannot be used: one clear error each, and the notebook goes on."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import mounted, need, wait_for
from tests.notebooks import Notebook, notebook
from tests.sshd import Sshd, make_key

from .frontend import refused, write_config


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Give the folder of a notebook."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def ssh_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the socket of the user's SSH agent."""
    socket = tmp_path_factory.mktemp("agent") / "socket"
    if not shutil.which("ssh-agent"):
        yield socket
        return
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists, "ssh-agent")
        yield socket
    finally:
        agent.kill()
        agent.wait()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, ssh_agent: Path) -> Iterator[Notebook]:
    """Give a notebook for many tests, whose user has an SSH agent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        patch.setenv("SSH_AUTH_SOCK", str(ssh_agent))
        with notebook(tmp_path_factory.mktemp("work")) as opened:
            yield opened


# -- options and names --------------------------------------------------------------------------------

WRONG = {
    "--gpuu A100": ["--gpuu", "Did you mean --gpu?"],
    "--gpu A1000": ["'A1000'", "Did you mean A100"],
    "--gpu A100:x": ["'x'", "A100:2"],
    "--gpu": ["--gpu needs a value"],
    "A100": ["'A100'", "--gpu A100"],
    '--gpu "A100': ["quotes"],
    "--max-price cheap": ["--max-price", "'cheap'", "--max-price 4"],
    "--on nosuch": ["'nosuch'", "--cloud ssh"],
    "--cloud nosuch": ["'nosuch'", "local, ssh"],
    "--cloud ssh": ["--on user@host"],
    "--cloud ssh --on 'a b'": ["'a b'", "user@host"],
    "--cloud ssh --on root@-oProxyCommand=x": ["no SSH destination"],
    "--cloud ssh --on no.such.host.invalid": ["no.such.host.invalid", "resolve"],
    "--cloud ssh --on me@127.0.0.1:1": ["me@127.0.0.1:1", "refused", "SSH server listens"],
    "--gpu H100": ["H100", "--cloud local --gpu H100"],
    "--cloud local --cpus 9999": ["--cpus"],
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_options_are_told_with_the_next_step(shared: Notebook, options: str) -> None:
    refused(shared.remote("1", options), "Next: ", *WRONG[options])


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("lsit", ["'lsit'", "Did you mean list?"]),
        ("down nosuch", ["'nosuch'"]),
        ("extend soon", ["'soon'"]),
        ("extend", ["MINUTES"]),
        ("list --jsno", ["--jsno"]),
    ],
)
def test_wrong_verbs_are_told_with_the_next_step(shared: Notebook, line: str, texts: list[str]) -> None:
    refused(shared.run(f"%remote {line}"), "Next: ", *texts)


def test_a_wrong_option_leaves_the_notebook_usable(shared: Notebook) -> None:
    shared.remote("1", "--gpuu A100")
    assert shared.remote("6 * 7").result == "42"


def test_our_traceback_is_shown_to_who_asks_for_it(shared: Notebook) -> None:
    ran = shared.remote("1", "--cloud local --cpus 9999 --debug")
    assert "fleet.py" in "\n".join(ran.reply["traceback"])


# -- machines over SSH --------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, ssh_agent: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sshd]]:
    """Give what starts SSH servers that the user's agent has the keys of."""
    need(shutil.which("ssh-agent") and shutil.which("ssh"), "an OpenSSH client")
    started: list[Sshd] = []
    monkeypatch.setenv("SSH_AUTH_SOCK", str(ssh_agent))

    def start(**options: str) -> Sshd:
        folder = tmp_path / f"sshd{len(started)}"
        folder.mkdir()
        sshd = Sshd(folder, options)
        started.append(sshd)
        # so many keys would be too many for a server
        subprocess.run(["ssh-add", "-q", "-D"], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["ssh-add", "-q", sshd.key_file], check=True)
        return sshd.start()

    try:
        yield start
    finally:
        for sshd in started:
            sshd.stop()


def on(sshd: Sshd) -> str:
    """Return the options that name a server."""
    return f"--cloud ssh --on {sshd.address.user}@127.0.0.1:{sshd.port}"


def test_a_key_that_is_not_accepted_is_told_with_a_command_to_try(
    shared: Notebook, server: Callable[..., Sshd]
) -> None:
    sshd = server(AuthorizedKeysFile="none")
    user, port = sshd.address.user, sshd.port
    ran = shared.remote("1", on(sshd))
    refused(ran, "does not accept the login", f"ssh -o BatchMode=yes -p {port} {user}@127.0.0.1")
    assert shared.remote("6 * 7").result == "42"


def test_a_machine_without_python_is_told(
    shared: Notebook, tmp_path: Path, server: Callable[..., Sshd]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "bash", "cat", "env"):
        if path := shutil.which(name):
            (programs / name).symlink_to(path)
    sshd = server(SetEnv=f"HOME={tmp_path} PATH={programs}")
    refused(shared.remote("1", on(sshd)), "There is no python3", "apt-get install python3")


def test_a_home_that_cannot_be_written_is_told(
    shared: Notebook, tmp_path: Path, server: Callable[..., Sshd]
) -> None:
    with mounted(tmp_path / "home", "ro") as home:
        sshd = server(SetEnv=f"HOME={home}")
        refused(shared.remote("1", on(sshd)), "Read-only file system", "must be writable")


def test_a_home_too_small_for_the_agent_is_told(
    shared: Notebook, tmp_path: Path, server: Callable[..., Sshd]
) -> None:
    with mounted(tmp_path / "home", "size=2m") as home:
        sshd = server(SetEnv=f"HOME={home}")
        refused(shared.remote("1", on(sshd)), "No space left", "df -h ~")


def test_a_login_that_runs_no_commands_is_told(shared: Notebook, server: Callable[..., Sshd]) -> None:
    sshd = server(ForceCommand="echo this account is for mail only; exit 1")
    refused(shared.remote("1", on(sshd)), "this account is for mail only", "Next: ")


def test_a_changed_host_key_is_refused_until_the_user_forgets_the_old_one(
    shared: Notebook, tmp_path: Path, server: Callable[..., Sshd]
) -> None:
    # a broken login is enough: the key was learnt before
    sshd = server(ForceCommand="exit 1")
    refused(shared.remote("1", on(sshd)), "Setting up the machine failed")
    sshd.stop()
    sshd.host_key_file = make_key(tmp_path / "other")
    sshd.start()
    ran = shared.remote("1", on(sshd))
    refused(ran, "shows another host key", "Nothing was sent to it")
    command = ran.reply["traceback"][-1].rpartition("forget the old key: ")[2]
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    refused(shared.remote("1", on(sshd)), "Setting up the machine failed")


def test_a_server_that_goes_away_in_a_cell_is_told_and_the_cell_found_again(
    work: Path, tmp_path: Path, server: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(monkeypatch, tmp_path / "config", reconnect_timeout=1)
    sshd = server()
    with notebook(work) as nb:
        go = tmp_path / "go"
        code = f"print('begun', flush=True)\nimport os, time\nwhile not os.path.exists({str(go)!r}):"
        running = nb.send(f"%%remote {on(sshd)}\n{code} time.sleep(0.01)\n'on'")
        nb.wait(running, until=lambda ran: "begun" in ran.text)
        sshd.stop()
        refused(nb.wait(running), "did not answer", "Cost: ", "%remote attach")
        refused(nb.remote("1", on(sshd)), "cannot be reached", "SSH server listens")
        sshd.start()
        go.touch()
        ran = nb.run("%remote attach")
        assert "begun" in ran.text
        assert ran.result == "'on'"
