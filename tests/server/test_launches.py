"""Launches that take their time, are given up, or lose their server."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..conftest import wait_for
from .events import MACHINE, Events
from .served import Client, Server

T4 = {"gpu": "T4", "cloud": "fake"}
DEAD = {"host": socket.gethostname(), "pid": 2**22 + 1, "started": 1.0}


def start_slow(server: Server) -> Server:
    """Start a server whose clouds include one that starts no machine until it is told to."""
    (server.folder / "config").mkdir()
    settings = server.folder / "config" / "jupyter_gpu_remote_config.py"
    settings.write_text("c.GpuRemote.ingress = '192.0.2.9'\nc.GpuRemote.daily_budget = 20\n")
    return server.start()


@pytest.fixture
def own_slow(own_server: Server) -> Server:
    """One that a test may break."""
    return start_slow(own_server)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that is as good as new after each test."""
    one = Server(tmp_path_factory.mktemp("server"))
    try:
        yield start_slow(one)
    finally:
        one.close()


@pytest.fixture
def slow(shared: Server) -> Iterator[Server]:
    """The shared one; its launches are cancelled."""
    yield shared
    client = shared.client()
    while jobs := client.get("JobList", "jobs")["jobs"]:
        for job in jobs:
            client.ask("DELETE", f"jobs/{job['id']}")


def rented(server: Server) -> list[str]:
    """Return the names of the files that stand for the cloud's machines."""
    return [f.name for f in (server.folder / "state" / "cloud-fake").glob("*.json")]


def booting(client: Client) -> Any:
    """Begin a launch, and return its job when its machine is booting."""
    id = client.ask("POST", "launches", T4).conforms("Job")["id"]

    def up() -> bool:
        job = client.get("Job", f"jobs/{id}")
        assert not job["ended_at"], job
        return bool(job["phase"] == "booting")

    wait_for(up, "the machine to boot")
    return client.get("Job", f"jobs/{id}")


def test_a_launch_tells_its_machine_and_can_be_cancelled(slow: Server) -> None:
    client = slow.client()
    job = booting(client)
    machine = client.get("Machine", f"machines/{job['machine']}")
    assert (machine["job"], machine["actions"], machine["offer"]["price"]) == (job["id"], ["delete"], 0.5)
    assert job["cancellable"] and len(rented(slow)) == 1
    ended = client.job(client.ask("DELETE", f"jobs/{job['id']}"))
    assert (ended["state"], ended["problem"]) == ("cancelled", None)
    assert rented(slow) == [] and client.get("MachineList", "machines")["machines"] == []
    assert client.ask("DELETE", f"jobs/{job['id']}").status == 204
    assert client.ask("GET", f"jobs/{job['id']}").status == 404


def test_deleting_a_machine_that_is_being_launched_cancels_its_launch(slow: Server) -> None:
    client = slow.client()
    job = booting(client)
    ended = client.job(client.ask("DELETE", f"machines/{job['machine']}"))
    assert (ended["id"], ended["state"]) == (job["id"], "cancelled")
    assert rented(slow) == []


def test_a_launch_that_fails_says_why_and_whether_it_costs(slow: Server) -> None:
    client = slow.client()
    job = client.job(client.ask("POST", "launches", {**T4, "max_price": 0.01}))
    assert job["state"] == "failed" and job["problem"]["code"] == "no-capacity" and job["problem"]["hint"]


def test_many_launches_run_beside_each_other_and_no_more_than_allowed(slow: Server) -> None:
    client = slow.client()
    for _ in range(32):
        assert client.ask("POST", "launches", T4).status == 202
    refused = client.ask("POST", "launches", T4)
    assert {str(j["problem"]) for j in client.get("JobList", "jobs")["jobs"]} == {"None"}
    assert refused.status == 429 and refused.conforms("Problem")["code"] == "busy"
    wait_for(lambda: len(rented(slow)) == 32, "all to be rented", 60)
    assert len({m["name"] for m in client.get("MachineList", "machines")["machines"]}) == 32
    for job in client.get("JobList", "jobs")["jobs"]:
        assert client.ask("DELETE", f"jobs/{job['id']}").status == 202
    wait_for(lambda: not rented(slow), "all to be given back", 60)


def what_became(client: Client) -> Any:
    """Return the one job that there is, once it has ended."""

    def ended() -> list[Any]:
        return [job for job in client.get("JobList", "jobs")["jobs"] if job["ended_at"]]

    wait_for(ended, "what became of the launch")
    (job,) = ended()
    return job


def test_a_server_that_is_killed_in_a_launch_cleans_up_when_it_is_back(own_slow: Server) -> None:
    name = booting(own_slow.client())["machine"]
    assert len(rented(own_slow)) == 1
    own_slow.end(signal.SIGKILL)
    assert len(rented(own_slow)) == 1

    client = own_slow.start().client()
    wait_for(lambda: client.get("Machine", f"machines/{name}")["state"] == "gone", "the clean-up", 60)
    assert rented(own_slow) == []
    wait_for(lambda: own_slow.registry.events()[-1].kind == "reaped", "what the clean-up says")
    activity = client.get("Activity", "activity")
    (told,) = [e for e in activity["events"] if e["kind"] == "reaped"]
    assert told["machine"] == name and "deleted" in told["text"]
    assert client.get("Activity", "activity", since=activity["last"])["events"] == []

    job = what_became(client)
    assert (job["state"], job["interrupted"], job["request"]) == ("failed", True, T4)
    assert name in job["problem"]["message"] and "deleted" in job["problem"]["message"]
    assert job["problem"]["hint"] and not job["problem"]["billed"]
    assert client.ask("DELETE", f"jobs/{job['id']}").status == 204
    own_slow.end()
    assert own_slow.start().client().get("JobList", "jobs") == {"jobs": []}


def test_a_launch_that_was_ready_when_its_server_was_killed_goes_on(own_slow: Server) -> None:
    client = own_slow.client()
    name = client.job(client.ask("POST", "launches", {"cloud": "local"}))["machine"]
    (own_slow.folder / "state" / "launches" / "abc.json").write_text(
        json.dumps({"owner": DEAD, "request": {"cloud": "local"}, "machine": name})
    )
    own_slow.end()
    client = own_slow.start().client()
    job = what_became(client)
    assert (job["state"], job["interrupted"], job["machine"]) == ("done", True, name)
    assert "goes on" in job["said"][0]


def test_a_launch_that_had_rented_nothing_when_its_server_was_killed_says_so(own_server: Server) -> None:
    folder = own_server.folder / "state" / "launches"
    folder.mkdir()
    (folder / "abc.json").write_text(json.dumps({"owner": DEAD, "request": {"gpu": "T4"}, "machine": None}))
    (folder / "broken.json").write_text("{")
    client = own_server.start().client()
    job = what_became(client)
    assert job["problem"]["code"] == "interrupted" and "before anything" in job["problem"]["message"]


def test_a_server_that_is_stopped_in_a_launch_undoes_it(own_slow: Server) -> None:
    booting(own_slow.client())
    own_slow.end()
    assert rented(own_slow) == []
    assert own_slow.registry.machines() == []


def test_what_is_spent_is_told_by_machine_notebook_and_day(slow: Server) -> None:
    client = slow.client()
    job = booting(client)
    now = client.get("Spend", "spend")
    assert now["daily_budget"] == 20 and now["rate"] == 0.5
    for by, key in (("machine", job["machine"]), ("notebook", "no notebook"), ("day", time.strftime("%F"))):
        rows = client.get("Spend", "spend", by=by, since=1)["rows"]
        assert any(row["key"] == key and row["cost"] > 0 for row in rows)


def test_offers_are_asked_for_once_in_a_while(slow: Server) -> None:
    client = slow.client()
    first = client.get("OfferList", "offers", gpu="T4", cloud="fake")
    assert [o["price"] for o in first["offers"]] == [0.5, 1.0, 2.0] and first["problem"] is None
    assert client.get("OfferList", "offers", gpu="T4", cloud="fake")["at"] == first["at"]
    assert client.get("OfferList", "offers", gpu="T4", cloud="fake", fresh="true")["at"] > first["at"]
    spot = client.get("OfferList", "offers", gpu="T4", cloud="fake", spot="true")["offers"]
    assert [o["price"] for o in spot] == [0.5, 1.0]


def test_nothing_to_be_had_comes_with_the_reason(slow: Server) -> None:
    none = slow.client().get("OfferList", "offers", gpu="H100", cloud="fake")
    assert none["offers"] == [] and none["problem"]["code"] == "no-capacity"


def test_the_form_starts_with_the_settings_of_the_user(slow: Server) -> None:
    client = slow.client()
    form = client.get("Settings", "settings")
    assert form["daily_budget"] == 20 and form["problem"] is None
    assert "fake" in form["clouds"] and any(g["name"] == "A100" for g in form["gpus"])
    assert form["defaults"]["idle"] == 30 and form["help"]["idle"]


def test_settings_that_cannot_be_read_are_told_and_launch_nothing(own_slow: Server) -> None:
    (own_slow.folder / "config" / "jupyter_gpu_remote_config.py").write_text("c.GpuRemote.idle = 'soon'\n")
    client = own_slow.client()
    assert client.get("Settings", "settings")["problem"]["code"] == "configuration"
    assert client.ask("POST", "launches", {"cloud": "local"}).status == 400
    client.get("Spend", "spend")


def test_a_registry_that_cannot_be_used_is_told_and_can_be_mended(own_slow: Server) -> None:
    client = own_slow.client()
    client.get("MachineList", "machines")
    state = own_slow.folder / "state"
    for file in state.glob("registry.sqlite*"):
        file.rename(file.with_name(f"old-{file.name}"))
    (state / "registry.sqlite").write_text("no database at all, just a text")
    refused = client.ask("GET", "machines")
    assert refused.status == 503 and refused.conforms("Problem")["code"] == "registry"
    (state / "registry.sqlite").unlink()
    with Events(own_slow) as events:
        assert client.get("MachineList", "machines")["machines"] == []
        booting(client)
        wait_for(lambda: events.of(MACHINE, state="booting"), "news of a machine in the new registry")
