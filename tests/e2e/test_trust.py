"""Nothing is taken from a machine that was not made here, until its user says that it may be."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote.registry import Registry
from tests.conftest import need, wait_for
from tests.notebooks import Notebook, notebook
from tests.sshd import Sshd

from .frontend import refused


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Give an SSH server whose login key the user's agent has."""
    need(shutil.which("ssh-agent") and shutil.which("ssh"), "an OpenSSH client")
    sshd = Sshd(tmp_path_factory.mktemp("sshd"))
    socket = tmp_path_factory.mktemp("agent") / "socket"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists, "ssh-agent")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSH_AUTH_SOCK", str(socket))
            subprocess.run(["ssh-add", "-q", sshd.key_file], check=True)
            yield sshd.start()
    finally:
        sshd.stop()
        agent.kill()
        agent.wait()


@pytest.fixture
def book(server: Sshd, tmp_path: Path) -> Iterator[Notebook]:
    """Give a notebook whose machine is that server."""
    folder = tmp_path / "work"
    folder.mkdir()
    with notebook(folder) as opened:
        ran = opened.remote(
            "made_there = 1", f"--cloud ssh --on {server.address.user}@127.0.0.1:{server.port}"
        )
        assert not ran.error
        yield opened


def machine() -> str:
    """Return what the machine is called."""
    (known,) = Registry().machines()
    return known.name


def test_a_machine_of_ones_own_is_sent_variables(book: Notebook) -> None:
    book.run("made_here = [1, 2]")
    assert book.remote("print(made_here)").text == "[1, 2]\n"


def test_a_cell_that_would_bring_a_variable_back_is_refused_before_it_runs(book: Notebook) -> None:
    ran = book.remote("print('ran')", "--out made_there")
    refused(ran, machine(), "was not made here", "%remote trust")
    assert not ran.text
    assert "made_there" in book.run("made_there").error


def test_getting_a_variable_is_refused(book: Notebook) -> None:
    refused(book.run("%remote get made_there"), machine(), "was not made here", "%remote trust")


def test_a_machine_that_is_trusted_may_give_variables_at_once(book: Notebook) -> None:
    assert not book.run(f"%remote trust {machine()}").error
    assert not book.run("%remote get made_there").error
    assert book.remote("found = made_there + 1", "--out found").error == ""
    assert book.run("print(made_there, found)").text == "1 2\n"


def test_trust_is_remembered(book: Notebook) -> None:
    book.run(f"%remote trust {machine()}")
    book.run("%unload_ext jupyter_gpu_remote\n%load_ext jupyter_gpu_remote")
    book.remote("later = 3")
    assert not book.run("%remote get later").error


def test_trusting_a_machine_that_does_not_exist_is_an_error(book: Notebook) -> None:
    refused(book.run("%remote trust nosuch"), "nosuch")
    refused(book.run("%remote get made_there"), "was not made here")
