"""The notebook's folder, as cells see it on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote.config import state_dir
from tests.notebooks import Notebook, delete_all_machines, notebook


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Notebook]:
    folder = tmp_path / "work"
    folder.mkdir()
    with notebook(folder) as it:
        yield it


def test_a_file_written_over_there_is_here_when_the_cell_has_ended(opened: Notebook) -> None:
    opened.remote("open('made', 'w').write('x')")
    assert (opened.folder / "made").read_text() == "x"


def test_a_module_written_just_before_a_cell_is_never_stale(opened: Notebook) -> None:
    for number in (10**n for n in range(10)):  # of another size each: Python itself looks at no more
        opened.run(f"%%writefile fresh.py\nvalue = {number}")
        ran = opened.remote("import importlib, fresh; print(importlib.reload(fresh).value)")
        assert ran.text == f"{number}\n"


def test_a_cell_without_sync_neither_sends_nor_fetches(opened: Notebook) -> None:
    opened.remote("pass")
    (opened.folder / "here").write_text("x")
    ran = opened.remote("import os; open('there', 'w').close(); print(os.path.exists('here'))", "--no-sync")
    assert ran.text == "False\n"
    assert not (opened.folder / "there").exists()
    assert opened.remote("print(os.path.exists('here'))").text == "True\n"
    assert (opened.folder / "there").exists()


def test_a_first_cell_without_sync_does_not_turn_it_off_for_good(opened: Notebook) -> None:
    (opened.folder / "here").write_text("x")
    opened.remote("pass", "--no-sync")
    assert opened.remote("import os; print(os.path.exists('here'))").text == "True\n"


def test_a_home_folder_is_not_copied_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").write_text("x")
    with notebook(tmp_path) as opened:
        first = opened.remote("import os; print(os.path.exists('secret'))")
        assert first.text == "False\n"
        assert "whole home folder" in first.stream("stderr")
        assert not opened.remote("pass").stream("stderr")


def test_the_kernels_own_tools_come_first_on_the_path(opened: Notebook) -> None:
    ran = opened.remote(
        "import sys, os; print(os.environ['PATH'].split(':')[0] == os.path.dirname(sys.executable))"
    )
    assert ran.text == "True\n"


def test_a_second_cell_says_nothing_about_the_machine(opened: Notebook) -> None:
    assert opened.remote("pass", "--cloud local").of("display_data")
    assert not opened.remote("pass").of("display_data")


def test_nothing_is_kept_of_a_machine_that_is_deleted(opened: Notebook) -> None:
    opened.remote("open('made', 'w').write('x')")
    assert list((state_dir() / "sync").iterdir())
    delete_all_machines()
    assert not list((state_dir() / "sync").iterdir())
    assert not list((state_dir() / "keys").iterdir())
