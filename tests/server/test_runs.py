"""Jobs of the user: begun elsewhere, listed, read, ended and forgotten here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import wait_for
from .events import RUN, Events
from .served import Client, Server

COUNTS = """\
import os, sys, time
print("one", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
print("two", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def machine(server: Server) -> Iterator[str]:
    """The name of a machine that is ready."""
    job = server.client().job(server.client().ask("POST", "launches", {"cloud": "local"}))
    assert job["state"] == "done", job
    yield job["machine"]


@pytest.fixture
def script(server: Server, tmp_path: Path) -> Path:
    """A script that says one thing, and another one when it is told to."""
    file = server.folder / "root" / tmp_path.name / "counts.py"
    file.parent.mkdir()
    file.write_text(COUNTS)
    return file


def begin(server: Server, machine: str, script: Path) -> int:
    """Have a command line begin a job; it has ended when this returns."""
    said = server.cli("run", "--detach", "--on", machine, script.name, cwd=script.parent).stdout
    return int(said.split("job ")[1].split()[0])


def output(client: Client, id: int, since: int = 0) -> Any:
    return client.get("RunOutput", f"runs/{id}/output", since=since)


def test_a_job_is_listed_followed_and_its_end_is_told(
    server: Server, client: Client, machine: str, script: Path
) -> None:
    with Events(server) as events:
        id = begin(server, machine, script)
        wait_for(lambda: events.of(RUN, id=id, state="running"), "the news that it has begun")
        (run,) = [r for r in client.get("RunList", "runs")["runs"] if r["id"] == id]
        assert (run["title"], run["machine"], run["state"]) == ("counts.py", machine, "running")
        assert run["notebook"] == f"{script.parent.name}/counts.py"

        wait_for(lambda: "one" in output(client, id)["text"], "its first line")
        said = output(client, id)
        assert not said["ended"]
        server.cli("exec", machine, "--", "sh", "-c", "for d in ~/gpu-remote/*/; do touch $d/go; done")
        # nobody who began it is there any more, so its machine must be asked
        wait_for(lambda: events.of(RUN, id=id, state="done"), "the news of its end")
        wait_for(lambda: output(client, id, said["next"])["ended"], "the end of its output")
    rest = output(client, id, said["next"])
    assert (rest["start"], rest["text"]) == (said["next"], "two\n")
    assert client.get("Run", f"runs/{id}")["ended_at"]
    below = client.get("RunCell", f"runs/{id}/cell")
    assert [one.get("name") for one in below["outputs"]] == ["stdout", "stderr", None]
    assert "done" in below["outputs"][-1]["data"]["text/plain"] and below["ended"]

    assert client.ask("DELETE", f"runs/{id}").status == 204
    assert client.ask("GET", f"runs/{id}").status == 404


def test_a_job_is_cancelled(server: Server, client: Client, machine: str, script: Path) -> None:
    id = begin(server, machine, script)
    busy = client.ask("DELETE", f"runs/{id}")
    assert busy.status == 409 and busy.conforms("Problem")["hint"]
    ended = client.ask("POST", f"runs/{id}/cancel")
    assert ended.status == 200 and ended.conforms("Run")["state"] == "cancelled"


def test_a_job_that_does_not_exist_is_not_found(client: Client) -> None:
    for method, path in (
        ("GET", "runs/999"),
        ("POST", "runs/999/cancel"),
        ("GET", "runs/999/output"),
        ("GET", "runs/999/cell"),
    ):
        answer = client.ask(method, path)
        assert answer.status == 404 and "999" in answer.conforms("Problem")["message"]


def test_what_a_job_left_goes_with_its_machine(own_server: Server, tmp_path: Path) -> None:
    client = own_server.start().client()
    name = client.job(client.ask("POST", "launches", {"cloud": "local"}))["machine"]
    file = own_server.folder / "root" / "counts.py"
    file.write_text(COUNTS)
    with Events(own_server) as events:
        id = begin(own_server, name, file)
        own_server.cli("down", name, "--yes")
        wait_for(lambda: events.of(RUN, id=id, state="lost"), "the news that it is lost")
    gone = client.ask("GET", f"runs/{id}/output")
    assert gone.status == 404 and gone.conforms("Problem")["code"] == "job"
