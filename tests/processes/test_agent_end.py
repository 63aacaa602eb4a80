"""An agent ends its machine when nobody uses it or its time is up, and passes on that it is taken back."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.agent_rig import Agents, Seen
from tests.conftest import wait_for

QUICK = {
    "server._GUARD_EVERY": 0.0,
    "server._TICK": 0.05,
    "server._ALIVE_EVERY": 0.1,
    "guard.PRESENT": 1.0,
    "guard.AWAY": 0.5,
    "guard.STUCK": 2.0,
    "guard.NEVER_CAME": 1.0,
    "load.EVERY": 0.1,
}


class Machine:
    """An agent with a policy, whose machine ends by leaving a file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        (folder / "root").mkdir()
        self.agents = Agents(folder / "root", QUICK)

    def start(self, **policy: Any) -> None:
        whole = {"idle": 0.0, "poweroff": ["touch", str(self.folder / "off")], **policy}
        (self.folder / "root" / "policy.json").write_text(json.dumps(whole))
        self.agents.start()

    @property
    def is_off(self) -> bool:
        return (self.folder / "off").exists()

    def has_gpu(self, use: int) -> None:
        """Have `nvidia-smi` tell of a GPU and its use in percent."""
        tool = self.folder / "bin" / "nvidia-smi"
        new = tool.with_name("new")
        new.write_text(f"#!/bin/sh\necho 'Tesla T4, {use}, 100, 15360'\n")
        new.chmod(new.stat().st_mode | stat.S_IXUSR)
        new.replace(tool)

    def listener(self) -> tuple[Seen, list[Mapping[str, Any]]]:
        """Return an opened kernel, and what it is told of the machine's end."""
        seen = Seen(self.agents)
        told: list[Mapping[str, Any]] = []
        seen.kernel.on_end = told.append
        seen.kernel.open()
        return seen, told

    def status(self) -> Mapping[str, Any]:
        told: dict[str, Any] = self.agents.ask("status")
        return told


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path, monkeypatch)
    yield machine
    machine.agents.end()


def test_a_machine_that_nobody_comes_to_is_ended(machine: Machine) -> None:
    machine.start(idle=600)
    wait_for(lambda: machine.is_off, "the machine to end")


def test_a_machine_whose_client_is_gone_is_ended(machine: Machine) -> None:
    machine.start(idle=600)
    seen = machine.agents.kernel()
    seen.run("1")
    seen.kernel.close()
    wait_for(lambda: machine.is_off, "the machine to end")


def test_the_hard_limit_ends_a_busy_machine_that_is_watched_and_it_is_told_before(machine: Machine) -> None:
    machine.start(idle=600, ends_at=time.time() + 8)
    seen, told = machine.listener()
    seen.kernel.execute("import time; time.sleep(100)")
    wait_for(lambda: told, "the warning")
    assert "used up" in told[0]["ending"]["why"] and 0 < told[0]["ending"]["in"] <= 8 and not machine.is_off
    wait_for(lambda: machine.is_off, "the machine to end")


def test_a_warning_is_taken_back_when_the_machine_is_kept(machine: Machine) -> None:
    machine.start(idle=200)
    seen, told = machine.listener()
    wait_for(lambda: told, "the warning")
    seen.kernel.request("extend", minutes=60)
    wait_for(lambda: not told[-1]["ending"], "word that it stays")


def test_who_comes_late_is_warned_too(machine: Machine) -> None:
    machine.start(idle=600, ends_at=time.time() + 100)
    _, first = machine.listener()
    wait_for(lambda: first, "the warning")
    _, told = machine.listener()
    assert "used up" in told[0]["ending"]["why"]


def test_a_cell_that_does_nothing_with_an_idle_gpu_and_nobody_there_is_ended(machine: Machine) -> None:
    machine.has_gpu(use=0)
    machine.start(idle=600)
    seen = machine.agents.kernel()
    seen.kernel.execute("import threading; threading.Event().wait()")
    wait_for(lambda: machine.status()["kernels"][0]["running"], "the cell to run")
    seen.kernel.close()
    wait_for(lambda: machine.is_off, "the machine to end")


def test_a_silent_cell_that_uses_the_gpu_goes_on_though_nobody_is_there(machine: Machine) -> None:
    machine.has_gpu(use=50)
    machine.start(idle=600)
    seen = machine.agents.kernel()
    seen.kernel.execute("import threading; threading.Event().wait()")
    wait_for(lambda: machine.status()["load"]["gpus"], "the use of the GPU to be known")
    seen.kernel.close()
    end = machine.status()["ends_in"]
    assert end is None or end > 0
    machine.has_gpu(use=0)
    wait_for(lambda: machine.is_off, "the machine to end when the GPU is idle too")


def test_the_load_tells_of_gpus_and_processors(machine: Machine) -> None:
    machine.has_gpu(use=30)
    machine.start()
    seen = machine.agents.kernel()
    seen.kernel.execute("while True: pass")
    wait_for(lambda: machine.status()["load"]["cpu"] > 0.2, "the processor to be in use")
    wait_for(lambda: machine.status()["load"]["gpus"], "the GPU to be seen")
    (gpu,) = machine.status()["load"]["gpus"]
    assert gpu == {"name": "Tesla T4", "use": 30.0, "memory": 100.0, "memory_total": 15360.0}


def test_an_agent_shows_that_it_lives(machine: Machine) -> None:
    machine.start()
    alive = machine.folder / "root" / "alive"
    wait_for(alive.exists, "the first sign of life")
    before = alive.stat().st_mtime_ns
    wait_for(lambda: alive.stat().st_mtime_ns > before, "the next one")


class Metadata(BaseHTTPRequestHandler):
    """The metadata services of both clouds, as far as the notice goes."""

    noticed = threading.Event()
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self._answer(200, "token")

    def do_GET(self) -> None:
        if self.path.startswith("/computeMetadata"):
            if "wait_for_change" in self.path:
                self.noticed.wait(20)
            return self._answer(200, "TRUE" if self.noticed.is_set() else "FALSE")
        if self.headers["X-aws-ec2-metadata-token"] != "token":
            return self._answer(401, "")
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 120))
        said = json.dumps({"action": "terminate", "time": at})
        return self._answer(200, said) if self.noticed.is_set() else self._answer(404, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("ETag", "e1")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(("cloud", "left"), [("aws", 120), ("gcp", 30)])
def test_the_notice_of_a_cloud_is_passed_on(
    machine: Machine, cloud: str, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Metadata.noticed.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
    machine.start(notice=cloud)
    _, told = machine.listener()
    Metadata.noticed.set()
    wait_for(lambda: told, "the notice")
    server.shutdown()
    assert left - 10 < told[0]["leaving"] <= left
