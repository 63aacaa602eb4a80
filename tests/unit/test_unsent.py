"""What is told of a cache while rclone writes in it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from jupyter_gpu_remote.agent.unsent import Unsent


def note(folder: Path, name: str, dirty: bool, size: int = 1) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"Dirty": dirty, "Size": size}))
    return file


def test_what_is_dirty_is_told_with_its_size(tmp_path: Path) -> None:
    note(tmp_path, "a", True, 5)
    note(tmp_path, "deep/er/b", True, 7)
    note(tmp_path, "c", False)
    unsent = Unsent(tmp_path)
    assert unsent.look() == {"a": 5, "deep/er/b": 7}
    note(tmp_path, "a", False)
    assert unsent.look() == {"deep/er/b": 7}


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = time.time() - 60
    for name, dirty in (("a", True), ("b", False)):
        os.utime(note(tmp_path, name, dirty, 5), (long_ago, long_ago))
    unsent = Unsent(tmp_path)
    assert unsent.look() == {"a": 5}
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read again"))
    assert unsent.look() == {"a": 5}


def test_what_is_being_written_down_counts_as_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    unsent = Unsent(tmp_path)
    assert unsent.look() == {"a": 0}
    note(tmp_path, "a", False)
    assert unsent.look() == {}


def test_a_cache_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    assert Unsent(tmp_path / "nothing").look() == {}
