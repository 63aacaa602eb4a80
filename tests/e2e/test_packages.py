"""Packages in a kernel that runs on a machine: a cell waits for them only when it must."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uv

from tests.agent_rig import Agents, Seen
from tests.conftest import wait_for
from tests.wheels import wheel


class Machine:
    """A machine with a kernel, whose uv works when it is let."""

    def __init__(self, agents: Agents, folder: Path) -> None:
        self.agents = agents
        self.seen: Seen = agents.kernel()
        self.wish: dict[str, Any] = {}
        self._go = folder / "go"

    def need(self, *requirements: str, **needs: Any) -> None:
        needs = {"requirements": requirements, "source": "requirements.txt", **needs}
        self.wish = {"packages": "key", "needs": needs, "folder": str(self.agents.work)}

    def let_uv_go(self) -> None:
        self._go.touch()

    def run(self, code: str) -> dict[str, Any]:
        """Run a cell as a notebook does."""
        return self.start(code)()

    def start(self, code: str) -> Callable[[], dict[str, Any]]:
        execution = self.seen.kernel.execute(code, gpu_remote=self.wish)
        return lambda: execution.future.result(60)

    def displays(self) -> list[str]:
        kinds = ("display_data", "update_display_data")
        return [m.content["data"]["text/plain"] for m in list(self.seen.messages) if m.type in kinds]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    for name in [n for n in os.environ if n.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    index, home = tmp_path / "index", tmp_path / "home"
    wheel(index, "pip", "99")
    wheel(index, "tiny", "1.0", code="answer = 42")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    shim = home / ".gpu-remote" / "bin" / "uv"
    shim.parent.mkdir(parents=True)
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    shim.write_text(f'#!/bin/sh\n{wait}\nexec {uv.find_uv_bin()} "$@"\n')
    shim.chmod(0o755)
    agents = Agents(tmp_path / "agent")
    agents.start()
    machine = Machine(agents, tmp_path)
    yield machine
    machine.let_uv_go()
    agents.end()


def test_a_cell_that_needs_no_packages_runs_before_they_are_there(machine: Machine) -> None:
    machine.need("tiny")
    assert machine.run("x = 1 + 1; import wave")["status"] == "ok"
    assert machine.seen.value("x") == "2" and not machine.displays()


def test_a_cell_that_needs_them_waits_behind_a_line_and_then_runs(machine: Machine) -> None:
    machine.need("tiny")
    wait = machine.start("import tiny; x = tiny.answer")
    wait_for(machine.displays, "the line of progress")
    machine.let_uv_go()
    assert wait()["status"] == "ok" and machine.seen.value("x") == "42"
    assert machine.displays()[0].startswith("packages of requirements.txt:")
    assert "ready after" in machine.displays()[-1]


def test_the_wait_of_a_cell_can_be_interrupted(machine: Machine) -> None:
    machine.need("tiny")
    wait = machine.start("import tiny")
    wait_for(machine.displays, "the line of progress")
    machine.seen.kernel.interrupt()
    assert wait()["ename"] == "KeyboardInterrupt"
    machine.let_uv_go()
    assert machine.run("import tiny")["status"] == "ok"


def test_a_shell_line_runs_the_python_of_the_packages(machine: Machine) -> None:
    machine.let_uv_go()
    machine.need("tiny")
    assert machine.run("import tiny")["status"] == "ok"
    machine.run("!python -c 'import tiny; print(\"from\", tiny.answer)'")
    assert "from 42" in machine.seen.text()


def test_an_optional_module_that_no_package_brings_is_not_waited_for(machine: Machine) -> None:
    machine.need("tiny", modules=["tiny"])
    assert machine.run("try:\n    import absent\nexcept ImportError:\n    x = 3")["status"] == "ok"
    assert machine.seen.value("x") == "3" and not machine.displays()


def test_a_place_for_packages_that_cannot_be_used_is_told_not_waited_for(machine: Machine) -> None:
    (Path(os.environ["HOME"]) / ".gpu-remote" / "packages").write_text("no folder")
    machine.need("tiny")
    answer = machine.run("x = 1")["gpu_remote"]
    assert answer["refused"] == "failed" and "packages" in answer["text"]


def test_completion_does_not_wait(machine: Machine) -> None:
    machine.need("tiny")
    machine.run("x = 1")
    from jupyter_gpu_remote.agent import wire

    content = {"code": "import tiny.", "cursor_pos": 12}
    machine.seen.kernel.send(wire.SHELL, "complete_request", content)
    assert machine.seen.value("x") == "1" and not machine.displays()


def test_a_second_kernel_finds_them_ready(machine: Machine) -> None:
    machine.let_uv_go()
    machine.need("tiny")
    assert machine.run("import tiny")["status"] == "ok"
    other = machine.agents.kernel("other")
    assert other.run("import tiny; x = tiny.answer", gpu_remote=machine.wish)["status"] == "ok"
    assert other.value("x") == "42" and not [m for m in other.messages if m.type == "display_data"]
