"""A Dask cluster in the hand: `remote_client()` in a cell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.agent_rig import Agents, gone
from tests.conftest import wait_for
from tests.wheels import wheel

CLIENT = "client = remote_client()"
_LIMIT = 90.0
"""Seconds for a cell that starts processes, on a busy computer."""


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    """An agent, ended afterwards."""
    agents = Agents(tmp_path / "root")
    agents.start()
    yield agents
    agents.end()


def gpus(folder: Path, count: int) -> dict[str, str]:
    """Return an environment in which ``nvidia-smi`` tells of so many GPUs."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    lines = "NVIDIA A100, 0, 0, 40960\n" * count
    # uv asks for the driver's version: there is none
    program.write_text(f"#!/bin/sh\ncase $1 in *memory*) printf '{lines}';; *) exit 9;; esac\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_each_gpu_has_a_worker_that_sees_it_alone(agents: Agents, tmp_path: Path) -> None:
    seen = agents.kernel(env={**gpus(tmp_path / "bin", 2), "GPU_REMOTE_MACHINE": "swift-owl"})
    (agents.work / "beside.py").write_text("def where():\n    import os; return os.getcwd()\n")
    assert seen.run(CLIENT, _LIMIT)["status"] == "ok"
    assert seen.value("type(client).__module__, client is remote_client()") == "('distributed.client', True)"
    visible = "lambda: os.environ['CUDA_VISIBLE_DEVICES']"
    seen.run("import os, distributed, beside")
    assert seen.value(f"sorted(client.run({visible}).values())") == "['0', '1']"
    assert seen.value("sorted(w['name'] for w in client.scheduler_info()['workers'].values())") == (
        "['swift-owl:0', 'swift-owl:1']"
    )
    assert seen.value("set(client.run(beside.where).values()) == {os.getcwd()}") == "True"
    assert seen.value("set(client.nthreads().values())") == "{1}"


def test_a_cluster_takes_no_connection_without_its_key_and_ends_with_its_kernel(
    agents: Agents, tmp_path: Path
) -> None:
    seen = agents.kernel(env={**gpus(tmp_path / "bin", 1), "HOME": str(tmp_path)})
    assert seen.run(CLIENT, _LIMIT)["status"] == "ok"
    seen.run("import distributed, os")
    assert seen.value("client.scheduler.address").startswith("'tls://")
    other = (
        "distributed.Client(client.scheduler.address, security=distributed.Security.temporary(), timeout=3)"
    )
    assert seen.run(other, _LIMIT)["status"] == "error"
    (worker,) = eval(seen.value("list(client.run(os.getpid).values())"))
    assert not gone(worker)
    psutil.Process(int(seen.value("os.getpid()"))).kill()
    wait_for(lambda: gone(worker), "the worker to end")
    kept = tmp_path / ".gpu-remote" / "cluster"
    wait_for(lambda: not list(kept.iterdir()), "what the cluster kept to be removed")


def test_a_worker_that_crashes_is_started_again_and_its_task_too(agents: Agents, tmp_path: Path) -> None:
    seen = agents.kernel(env=gpus(tmp_path / "bin", 1))
    crash = f"""
import os, pathlib
def crash_once(file):
    if not pathlib.Path(file).exists():
        pathlib.Path(file).touch()
        os.kill(os.getpid(), 9)
    return "survived"
it = remote_client().submit(crash_once, {str(tmp_path / "crashed")!r}).result(60)
"""
    assert seen.run(crash, _LIMIT)["status"] == "ok"
    assert seen.value("it") == "'survived'"


def test_workers_find_packages_that_come_after_them(agents: Agents, tmp_path: Path) -> None:
    wheel(agents.work / "index", "pip", "99")
    for name in ("early", "late"):
        wheel(agents.work / "index", name, "1.0", code=f"answer = '{name}'")

    def needs(*names: str) -> dict[str, object]:
        lines = ["--no-index", "--find-links ./index", *names]
        given = {"requirements": lines, "modules": ["early", "late"], "source": "the test"}
        return {"packages": " ".join(names), "needs": given, "folder": str(agents.work)}

    seen = agents.kernel(env={**gpus(tmp_path / "bin", 1), "HOME": str(tmp_path)})
    ask = "def ask(name):\n    import importlib; return importlib.import_module(name).answer\n"
    first = f"{ask}import early\nfirst = remote_client().submit(ask, 'early').result(30)"
    assert seen.run(first, _LIMIT, gpu_remote=needs("early"))["status"] == "ok"
    second = "import late\nsecond = remote_client().submit(ask, 'late').result(30)"
    assert seen.run(second, _LIMIT, gpu_remote=needs("early", "late"))["status"] == "ok"
    assert seen.value("first, second") == "('early', 'late')"


def test_a_cell_that_names_the_client_has_dask_installed() -> None:
    from jupyter_gpu_remote.environment import needs
    from jupyter_gpu_remote.wants import Wants

    assert {"distributed", "cryptography"} <= set(needs(Path("/nowhere"), ["remote_client()"]).names)
    wants = Wants(Path("/nowhere"))
    wants.ran("futures = remote_client().map(f, xs)")
    assert wants.any("auto")
