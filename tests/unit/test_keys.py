"""SSH keys that we make."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which

import pytest

from jupyter_gpu_remote.errors import ConfigurationError
from jupyter_gpu_remote.keys import make_key_pair

from ..conftest import need


def test_openssh_reads_the_private_key_and_finds_the_same_public_one(tmp_path: Path) -> None:
    need(which("ssh-keygen"), "ssh-keygen")
    line = make_key_pair(tmp_path / "key", "for a test")
    said = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True)
    assert said.stdout.split()[:2] == line.split()[:2]


def test_the_public_line_is_kept_beside_the_key_with_its_comment(tmp_path: Path) -> None:
    line = make_key_pair(tmp_path / "key", "machine m1")
    assert line.startswith("ssh-ed25519 AAAA") and line.endswith(" machine m1")
    assert (tmp_path / "key.pub").read_text() == line + "\n"


def test_the_private_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "keys" / "key", "x")
    assert (tmp_path / "keys" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    line = make_key_pair(tmp_path / "key", "x")
    before = (tmp_path / "key").read_bytes()
    assert make_key_pair(tmp_path / "key", "x") == line
    assert (tmp_path / "key").read_bytes() == before


def test_a_lost_public_half_is_made_again_from_the_private_one(tmp_path: Path) -> None:
    line = make_key_pair(tmp_path / "key", "x")
    (tmp_path / "key.pub").unlink()
    assert make_key_pair(tmp_path / "key", "x") == line
    assert (tmp_path / "key.pub").read_text() == line + "\n"


def test_many_at_once_agree_on_one_key_and_leave_nothing_else(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        lines = set(pool.map(lambda _: make_key_pair(tmp_path / "key", "x"), range(16)))
    assert len(lines) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["key", "key.pub"]


def test_a_file_that_is_no_key_is_neither_used_nor_overwritten(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("precious")
    with pytest.raises(ConfigurationError, match="not a private SSH key"):
        make_key_pair(tmp_path / "key", "x")
    assert (tmp_path / "key").read_text() == "precious"


def test_a_comment_cannot_add_a_second_line(tmp_path: Path) -> None:
    line = make_key_pair(tmp_path / "key", "a\nssh-ed25519 AAAA evil")
    assert "\n" not in line
