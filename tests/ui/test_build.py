"""What is built: the bundle, and the wheel and sdist that carry it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator as validator

from tests.conftest import need
from tools.slim import slim

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "jupyter_gpu_remote" / "labextension"


def run(*command: str, cwd: Path = ROOT) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout


@pytest.fixture
def bundle() -> Path:
    need((BUNDLE / "package.json").exists(), "the part for JupyterLab is not built: make labextension")
    return BUNDLE


@pytest.fixture
def node_modules() -> Path:
    found = ROOT / "node_modules"
    need((found / ".bin" / "vitest").exists(), "no node_modules: make labextension")
    return found


@pytest.mark.timeout(300)
def test_the_tests_of_the_typescript_pass(node_modules: Path) -> None:
    run("jlpm", "test")


def test_the_bundle_is_small(bundle: Path) -> None:
    assert sum(path.stat().st_size for path in bundle.rglob("*.js")) < 100_000


SOURCE = '''"""A module."""
# about it

name = "# no comment"  # a comment, ünd more
text = """
  # kept
"""
"""What it is."""


def empty() -> None:
    """Nothing is done."""


def müll(ü: dict[str, int], /, *rest: int, b: str = "->", **more: Any) -> Callable[
    [int], None
]:
    return lambda x: None


class Thing:
    """A thing."""

    # about it
    value: int = 1
    """Its value."""
'''


def test_a_slim_module_does_the_same_on_the_same_lines() -> None:
    lines = slim(SOURCE).split("\n")
    assert len(lines) == len(SOURCE.split("\n"))
    assert [(n, line) for n, line in enumerate(lines, 1) if line] == [
        (4, 'name = "# no comment"'),
        (5, 'text = """'),
        (6, "  # kept"),
        (7, '"""'),
        (11, "def empty():"),
        (12, "    ..."),
        (15, 'def müll(ü, /, *rest, b = "->", **more) -> Callable['),
        (16, "    [int], None"),
        (17, "]:"),
        (18, "    return lambda x: None"),
        (21, "class Thing:"),
        (25, "    value: int = 1"),
    ]
    assert slim(SOURCE, documented=True).count("->") == SOURCE.count("->")


@pytest.mark.timeout(300)
def test_wheel_and_sdist_carry_the_bundle(bundle: Path, tmp_path: Path) -> None:
    need(shutil.which("hatchling", path=str(Path(sys.executable).parent)), "no hatchling: make labextension")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path))
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    shared = "jupyter_gpu_remote-0.1.0.data/data"
    assert wheel.stat().st_size < 500_000
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        schema = json.loads(archive.read("jupyter_gpu_remote/server/schema.json"))
        slimmed = archive.read("jupyter_gpu_remote/deploy.py").decode()
        assert sum(one.compress_size for one in archive.infolist() if shared in one.filename) < 50_000
    assert f"{shared}/share/jupyter/labextensions/jupyter-gpu-remote/install.json" in names
    assert f"{shared}/share/jupyter/labextensions/jupyter-gpu-remote/package.json" in names
    assert f"{shared}/etc/jupyter/jupyter_server_config.d/jupyter_gpu_remote.json" in names
    assert not [name for name in names if "node_modules" in name or name.startswith("labextension")]
    assert "jupyter_gpu_remote/catalog/rebuild/aws.py" not in names
    validator.check_schema(schema)
    assert slimmed == slim((ROOT / "jupyter_gpu_remote" / "deploy.py").read_text())
    with tarfile.open(sdist) as source:
        packed = source.getnames()
    assert any(name.endswith("jupyter_gpu_remote/labextension/package.json") for name in packed)
    assert not [name for name in packed if "node_modules" in name]
