"""What an rclone that was killed leaves in its cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.agent.recovery import recover

NOTE = {"ModTime": "2026-01-01T00:00:00Z", "ATime": "2026-01-01T00:00:00Z", "Fingerprint": "6,"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of the cache."""
    for kind in ("vfs", "vfsMeta"):
        (tmp_path / kind / "bucket").mkdir(parents=True)
    return tmp_path / "vfs" / "bucket" / "a"


def noted(file: Path, note: str) -> dict[str, Any]:
    """Recover a file that has this note; return the note that it has then."""
    place = Path(str(file).replace("vfs", "vfsMeta"))
    place.write_text(note)
    recover(file.parents[2])
    text = place.read_text()
    return dict(json.loads(text)) if text else {}


def test_a_file_whose_note_was_being_written_is_uploaded(file: Path) -> None:
    file.write_text("content")
    note = noted(file, "")
    assert (note["Dirty"], note["Size"], note["Rs"]) == (True, 7, [{"Pos": 0, "Size": 7}])


def test_an_empty_file_whose_note_was_being_written_is_uploaded(file: Path) -> None:
    file.touch()
    note = noted(file, "")
    assert (note["Dirty"], note["Size"], note["Rs"]) == (True, 0, [])


def test_a_file_of_which_parts_were_not_fetched_is_not_uploaded(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(1 << 20)
        opened.write(b"begin")
    assert noted(file, "") == {}


def test_a_file_that_has_not_changed_for_long_is_not_uploaded(file: Path) -> None:
    file.write_text("content")
    os.utime(file, (1e9, 1e9))
    assert noted(file, "") == {}


def test_what_was_added_to_a_dirty_file_is_not_fetched_again(file: Path) -> None:
    file.write_text("before, after")
    known = [{"Pos": 2, "Size": 2}]
    note = noted(file, json.dumps({**NOTE, "Size": 6, "Rs": known, "Dirty": True}))
    assert note == {**NOTE, "Size": 13, "Rs": [*known, {"Pos": 6, "Size": 7}], "Dirty": True}


def test_a_clean_file_stays_as_it_is(file: Path) -> None:
    file.write_text("content")
    note = {**NOTE, "Size": 3, "Rs": None, "Dirty": False}
    assert noted(file, json.dumps(note)) == note
