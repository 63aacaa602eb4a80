"""A machine of this computer, from the launch form to its end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.server.kernelspecs import spec_name

from ..conftest import wait_for
from .events import JOB, MACHINE, Events
from .served import Client, Server


@pytest.fixture(scope="module")
def machine(server: Server) -> Iterator[str]:
    """The name of a machine that is ready."""
    job = server.client().job(server.client().ask("POST", "launches", {"cloud": "local", "gpu": "A100"}))
    assert job["state"] == "done", job
    yield job["machine"]


def notebook(server: Server, path: str) -> Path:
    """Make a notebook."""
    file = server.folder / "root" / path
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    return file


def nothing_left(server: Server) -> bool:
    """Return whether neither processes nor files of any machine are there."""
    state = server.folder / "state"
    found = [p for folder in ("machines", "keys", "sync") for p in (state / folder).glob("[!.]*")]
    running = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return not found and str(state / "machines") not in running and not list(server.kernels.glob("*"))


def test_a_launch_is_followed_from_its_first_phase_to_its_end(own_server: Server) -> None:
    client = own_server.start().client()
    notebook(own_server, "deep/train.ipynb")
    with Events(own_server) as events:
        begun = client.ask("POST", "launches", {"cloud": "local", "notebook": "deep/train.ipynb"})
        assert begun.status == 202 and begun.headers["Location"].endswith(f"/jobs/{begun.body['id']}")
        job = client.job(begun)
        name = job["machine"]
        assert (job["state"], job["phase"], job["problem"]) == ("done", "ready", None)
        wait_for(lambda: events.of(MACHINE, machine=name, state="ready"), "the news that it is ready")
        wait_for(lambda: events.of(JOB, id=job["id"], state="done"), "the news that the launch is done")
        phases = [e["phase"] for e in events.of(JOB, id=job["id"])]
        told = list(dict.fromkeys(phase for phase in phases if phase))
        assert told[0] == "offers" and "booting" in told and told[-1] == "ready"

        (one,) = client.get("MachineList", "machines")["machines"]
        assert (one["name"], one["state"], one["rate"]) == (name, "ready", 0)
        assert one["actions"] == ["connect", "pull", "extend", "delete"]
        assert one["notebooks"] == ["deep/train.ipynb"]
        assert (own_server.kernels / one["kernel"] / "kernel.json").exists()

        deleted = client.job(client.ask("DELETE", f"machines/{name}"))
        assert (deleted["state"], deleted["problem"]) == ("done", None)
        wait_for(lambda: events.of(MACHINE, machine=name, state="gone"), "the news that it is gone")
    assert client.get("MachineList", "machines")["machines"] == []
    ended = client.get("MachineList", "machines", ended_after=0)["machines"]
    assert [(m["name"], m["state"], m["actions"], m["kernel"]) for m in ended] == [(name, "gone", [], None)]
    wait_for(lambda: nothing_left(own_server), "nothing to be left")


def test_a_machine_says_how_it_is_doing(client: Client, machine: str) -> None:
    status = client.get("Status", f"machines/{machine}/status")
    assert status["problem"] is None and status["ends_in"] > 60 and status["cpu"] >= 0


def test_the_status_of_all_machines_comes_without_waiting_for_them(client: Client, machine: str) -> None:
    def answered() -> bool:
        (status,) = client.get("StatusList", "status")["statuses"]
        return status["machine"] == machine and status["at"] is not None

    wait_for(answered, "what the machine said")


def test_a_machine_is_kept_longer_when_that_is_asked_for(client: Client, machine: str) -> None:
    answer = client.ask("POST", f"machines/{machine}/extend", {"minutes": 90})
    assert answer.status == 200 and answer.conforms("Status")["ends_in"] > 89 * 60


def test_the_log_tells_what_happened_to_a_machine(client: Client, machine: str) -> None:
    logs = client.get("Logs", f"machines/{machine}/logs")
    assert logs["problem"] is None and logs["agent"] is not None
    states = [event["to"] for event in logs["events"] if event["to"]]
    assert states[0] == "requested" and states[-1] == "ready"


def test_what_a_cloud_cannot_do_is_told_in_the_job(client: Client, machine: str) -> None:
    job = client.job(client.ask("POST", f"machines/{machine}/stop"))
    assert job["state"] == "failed" and job["problem"]["code"] == "configuration" and job["problem"]["hint"]


def test_changed_files_are_listed_and_fetched(server: Server, client: Client, machine: str) -> None:
    folder = server.folder / "root" / "work"
    folder.mkdir()
    (folder / "data.csv").write_text("1,2\n")
    server.cli("push", machine, cwd=folder)
    server.cli("exec", machine, "--", "sh", "-c", "cd ~/gpu-remote/work-* && echo 3 > model.bin")
    (folder / "notes.txt").write_text("later\n")

    (listed,) = client.get("MachineFiles", f"machines/{machine}/files")["folders"]
    assert (listed["path"], listed["problem"], listed["more"]) == ("work", None, 0)
    assert [f["path"] for f in listed["back"]] == ["model.bin"]
    assert [f["path"] for f in listed["out"]] == ["notes.txt"]

    job = client.job(client.ask("POST", f"machines/{machine}/pull"))
    assert job["state"] == "done" and any("1 file" in line for line in job["said"]), job
    assert (folder / "model.bin").read_text() == "3\n"


def test_each_machine_has_a_kernel_that_runs_on_it(server: Server, client: Client, machine: str) -> None:
    specs = client.fetch("GET", "api/kernelspecs").body["kernelspecs"]
    spec = specs[spec_name(machine)]["spec"]
    assert spec["display_name"] == f"Python on CPU (for A100) (local, {machine})"
    assert spec["metadata"]["debugger"] and spec["language"] == "python"
    ran = run_in_kernel(server, spec_name(machine), "import os; print(os.getcwd())")
    assert str(server.folder / "state" / "machines" / machine) in ran


def run_in_kernel(server: Server, name: str, code: str) -> str:
    """Run a cell in a kernel of that name, and return what it printed."""
    script = (
        "import sys; from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel(kernel_name=sys.argv[1], startup_timeout=60)\n"
        "client.execute_interactive(sys.argv[2], timeout=60)\n"
        "client.stop_channels(); manager.shutdown_kernel()\n"
    )
    folder = server.folder / "root" / "elsewhere"
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, "-c", script, name, code]
    done = subprocess.run(
        argv, cwd=folder, env=server.env, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_notebook_is_switched_to_a_machine_and_back(server: Server, client: Client, machine: str) -> None:
    path = "some folder/über.ipynb"
    notebook(server, path)
    none = {"notebook": path, "machine": None, "kernel": None}
    assert client.get("KernelSwitch", "binding", notebook=path) == none
    bound = client.ask("PUT", "binding", {"notebook": path, "machine": machine})
    assert bound.status == 200 and bound.conforms("KernelSwitch")["machine"] == machine
    assert bound.body["kernel"] in client.fetch("GET", "api/kernelspecs").body["kernelspecs"]
    assert path in client.get("Machine", f"machines/{machine}")["notebooks"]
    assert client.ask("DELETE", "binding", notebook=path).status == 204
    assert client.get("KernelSwitch", "binding", notebook=path) == none


def test_a_notebook_is_known_by_the_name_that_its_kernel_gives_it(
    server: Server, client: Client, machine: str
) -> None:
    file = notebook(server, "named/a.ipynb")
    asked = {"path": "named/a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    session = client.fetch("POST", "api/sessions", json.dumps(asked).encode()).body
    client.ask("PUT", "binding", {"notebook": "named/a.ipynb", "machine": machine})
    try:
        assert server.registry.binding(str(file)) == machine
        assert kernel_session(server) == str(file)
    finally:
        client.fetch("DELETE", f"api/sessions/{session['id']}")


def kernel_session(server: Server) -> str:
    """Return what the one kernel that runs was told of its notebook."""
    import psutil

    assert server.process is not None
    for child in psutil.Process(server.process.pid).children():
        if "ipykernel" in " ".join(child.cmdline()):
            return child.environ()["JPY_SESSION_NAME"]
    return ""


def test_a_notebook_cannot_use_a_machine_that_is_not_there(client: Client) -> None:
    answer = client.ask("PUT", "binding", {"notebook": "a.ipynb", "machine": "nobody"})
    assert answer.status == 404 and answer.conforms("Problem")


def test_a_machine_of_the_command_line_appears_and_disappears(server: Server, client: Client) -> None:
    with Events(server) as events:
        up = server.cli("up", "--cloud", "local").stdout
        name = up.rpartition("--on ")[2].strip()
        wait_for(lambda: events.of(MACHINE, machine=name, state="ready"), "the news of the machine", 5)
        assert spec_name(name) in client.fetch("GET", "api/kernelspecs").body["kernelspecs"]
        server.cli("down", name, "--yes")
        wait_for(lambda: events.of(MACHINE, machine=name, state="gone"), "the news of its end", 5)
        assert spec_name(name) not in client.fetch("GET", "api/kernelspecs").body["kernelspecs"]


def test_the_kernel_of_a_machine_that_ended_without_a_server_is_removed(own_server: Server) -> None:
    name = own_server.cli("up", "--cloud", "local").stdout.rpartition("--on ")[2].strip()
    own_server.start()
    kernel = own_server.kernels / spec_name(name)
    wait_for(kernel.exists, "the kernelspec")
    own_server.end()
    own_server.cli("down", name, "--yes")
    assert kernel.exists()
    own_server.cli("reap")
    assert not kernel.exists()


def test_a_machine_that_was_ended_from_outside_says_so(own_server: Server) -> None:
    client = own_server.start().client()
    name = client.job(client.ask("POST", "launches", {"cloud": "local"}))["machine"]
    kill_machine(own_server.folder / "state" / "machines" / name)
    status: Any = client.get("Status", f"machines/{name}/status")
    assert status["problem"]["code"] == "machine-not-found", status
    assert client.get("Machine", f"machines/{name}")["state"] == "gone"


def kill_machine(folder: Path) -> None:
    """End everything that runs on a machine of this computer, behind everybody's back."""
    import psutil

    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("GPU_REMOTE_MACHINE_DIR") == str(folder.resolve()):
            process.kill()
