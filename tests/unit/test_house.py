"""The house itself: what sets it up, and papers that point at each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user who is not root and has a shell, `cat` and `id` on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    executable(programs / "id", "echo 1000")
    (programs / "cat").symlink_to(shutil.which("cat") or "cat")
    (tmp_path / ".venv").mkdir()
    # a folder that the script would add to PATH by itself must have nothing of it either
    script = (ROOT / "tools" / "system_packages").read_text()
    assert 'PATH="$PATH:/usr/sbin:/sbin"\n' in script
    (tmp_path / "script").write_text(script.replace('PATH="$PATH:/usr/sbin:/sbin"\n', ""))
    return {"PATH": str(programs)}


def system_packages(folder: Path, env: dict[str, str], *names: str) -> str:
    command = ["/bin/sh", "script", *names]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_missing_program_is_named_with_its_package_and_what_is_skipped(
    tmp_path: Path, bare: dict[str, str]
) -> None:
    said = system_packages(tmp_path, bare, "ssh", "sshd", "id")
    assert [line.partition("):")[0] for line in said.splitlines()] == [
        "missing: ssh (package openssh-client",
        "missing: sshd (package openssh-server",
    ]
    assert "skipped" in said


def test_root_gets_missing_programs_installed_once(tmp_path: Path, bare: dict[str, str]) -> None:
    programs = tmp_path / "bin"
    executable(programs / "id", "echo 0")
    executable(programs / "apt-get", 'echo "$@" >>log')
    for _ in range(2):
        system_packages(tmp_path, bare, "rsync")
    asked = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[-1] for line in asked] == ["update", "rsync"]


def test_a_python_that_cannot_make_an_environment_is_told_what_to_install(tmp_path: Path) -> None:
    for module in ("ensurepip", "virtualenv", "pip"):
        (tmp_path / f"{module}.py").write_text("raise ImportError")
    env = {"PATH": "/nowhere", "PYTHONPATH": str(tmp_path)}
    done = make_venv(tmp_path / "env", env)
    assert done.returncode == 1 and "install python3-venv" in done.stderr


def test_an_environment_that_works_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "env"
    (target / "bin").mkdir(parents=True)
    executable(target / "bin" / "python", "exit 0")
    assert make_venv(target, {}).returncode == 0
    assert [p.name for p in target.iterdir()] == ["bin"]


def make_venv(target: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "make_venv.py"), str(target)]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=60)


def test_every_decision_is_listed_once() -> None:
    folder = ROOT / "docs" / "adr"
    files = sorted(p.name for p in folder.glob("[0-9]*.md"))
    listed = re.findall(r"\((\d+-[^)]+\.md)\)", (folder / "README.md").read_text())
    assert sorted(listed) == files
    assert [name[:4] for name in files] == [f"{n:04}" for n in range(1, len(files) + 1)]


@pytest.mark.parametrize("paper", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_that_exist(paper: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / paper).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_that_is_told_of_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text())
    assert set(told) <= set(targets) and {"demo", "test"} <= set(told)
