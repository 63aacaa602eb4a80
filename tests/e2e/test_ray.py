"""A Ray cluster in the hand: ``--engine ray``."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.agent_rig import gone
from tests.conftest import wait_for
from tests.notebooks import notebook
from tests.wheels import wheel

STAND_IN = """
import json, os, pathlib, sys, time, types
def main():
    names = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    started = {"words": sys.argv[1:], "pid": os.getpid(), **{name: os.environ[name] for name in names}}
    (pathlib.Path.home() / "ray").write_text(json.dumps(started))
    print("Ray runtime started.", flush=True)
    time.sleep(600)
__path__ = []
sys.modules["ray.scripts"] = types.ModuleType("ray.scripts")
sys.modules["ray.scripts.scripts"] = scripts = types.ModuleType("ray.scripts.scripts")
scripts.main = main
"""
NODES = """
import os, ray
ray.init(address="auto", log_to_driver=False)
@ray.remote
def where():
    import beside
    return beside.where(), os.getppid()
def placed():
    each = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    return [where.options(scheduling_strategy=each(n["NodeID"], False)).remote() for n in ray.nodes()]
print(ray.get(placed()))
"""


def test_ray_is_started_on_both_machines_under_one_token_and_ends_with_the_kernel(tmp_path: Path) -> None:
    for name, version, code in (("ray", "2.99", STAND_IN), ("pip", "99", "")):
        wheel(tmp_path / "index", name, version, code=code)
    (tmp_path / "requirements.txt").write_text("--no-index\n--find-links ./index\nray\n")
    with notebook(tmp_path) as book:
        assert not book.run("%remote up --machines 2 --engine ray").error
        ran = book.remote("import os; print(os.environ['RAY_ADDRESS'])")
        assert not ran.error, ran.error
        state = Path(book.run("import os; print(os.environ['JUPYTER_GPU_REMOTE_DIR'])").text.strip())
        nodes = [json.loads(file.read_text()) for file in state.glob("machines/*/home/ray")]
        head, other = sorted(nodes, key=lambda node: "--head" not in node["words"])
        assert "--head" in head["words"] and "--block" in head["words"]
        assert f"--address={head['RAY_ADDRESS']}" in other["words"]
        assert head["RAY_ADDRESS"] == ran.text.splitlines()[-1]
        assert head["RAY_AUTH_MODE"] == "token"
        assert len(head["RAY_AUTH_TOKEN"]) == 64 and head["RAY_AUTH_TOKEN"] == other["RAY_AUTH_TOKEN"]
        assert not any(head["RAY_AUTH_TOKEN"] in word for node in nodes for word in node["words"])
        assert not book.run("%remote restart").error
        wait_for(lambda: gone(head["pid"]), "Ray to end with the kernel that has started it")


def test_a_machine_that_ray_cannot_be_had_for_says_so(tmp_path: Path) -> None:
    wheel(tmp_path / "index", "pip", "99")
    (tmp_path / "requirements.txt").write_text("--no-index\n--find-links ./index\nray\n")
    with notebook(tmp_path) as book:
        ran = book.remote("1", "--engine ray")
        assert ran.error.startswith("ModuleNotFoundError: No module named 'ray'"), ran
        assert "can't be had for this machine" in ran.error


def test_a_cell_has_a_ray_cluster_of_both_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray has 280 MB; it is tried where it was installed by hand")
    monkeypatch.setattr("tests.notebooks.LIMIT", 110.0)
    (tmp_path / "beside.py").write_text("def where():\n    import os; return os.environ['HOME']\n")
    with notebook(tmp_path) as book:
        ran = book.remote(NODES, "--machines 2 --engine ray")
        assert not ran.error, ran.error
        homes, raylets = zip(*ast.literal_eval(ran.text.splitlines()[-1]), strict=True)
        assert len(set(homes)) == 2
        assert not book.run("%remote restart").error
        # those of other machines give up after a minute
        wait_for(lambda: all(map(gone, raylets)), "Ray to end with the kernel that has started it", 120)
