"""Several machines of one's own, reached by SSH: in one network, and in networks apart."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import need, wait_for
from tests.e2e.test_machines_together import SEE
from tests.notebooks import Notebook, notebook

from .guests import Guest
from .hosts import NetnsHosts

EXCHANGE = """
client = remote_client()
one, other = ([a for a, w in client.scheduler_info(-1)["workers"].items() if w["name"].startswith(m)][0]
              for m in see(set(), 2))
made = [client.submit(bytes, 10**6, workers=[at], pure=False) for at in (one, other)]
add = lambda *both: sum(map(len, both))
print([client.submit(add, *made, workers=[at]).result(30) for at in (one, other)])
print(client.scheduler.address.rpartition(":")[0])
"""
"""Each of two workers of different machines fetches what the other one has."""


@pytest.fixture
def guests(
    boot: Callable[..., Guest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Guest]]:
    """Give two hosts that the user's agent has the keys of."""
    need(shutil.which("ssh-agent"), "an OpenSSH client")
    guests = [boot(), boot()]
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists, "ssh-agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", *(str(g.ready().address.key_file) for g in guests)], check=True)
        yield guests
    finally:
        agent.kill()
        agent.wait()


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """Give a notebook."""
    monkeypatch.setattr("tests.notebooks.LIMIT", 110.0)
    folder = tmp_path / "work"
    folder.mkdir()
    with notebook(folder) as opened:
        yield opened


def test_machines_that_cannot_reach_each_other_work_together_through_this_computer(
    hosts: NetnsHosts, guests: list[Guest], book: Notebook
) -> None:
    for guest in guests:
        hosts.isolate(guest.id)
    named = ",".join(f"ubuntu@{guest.address.host}" for guest in guests)
    ran = book.remote(f"{SEE}{EXCHANGE}", f"--cloud ssh --on {named}")
    assert not ran.error, ran.error
    total, address = ran.text.splitlines()[-2:]
    assert (total, address[:10]) == ("[2000000, 2000000]", "tls://127.")
    refused = book.remote("1", "--launch torchrun")
    assert "directly, as torchrun needs it" in refused.error and "goes through this computer" in refused.error

    for guest in guests:
        hosts.isolate(guest.id, False)
    assert not book.run("%remote restart").error
    ran = book.remote(f"{SEE}{EXCHANGE}")
    assert ran.text == f"[2000000, 2000000]\ntls://{guests[0].address.host}\n", ran
