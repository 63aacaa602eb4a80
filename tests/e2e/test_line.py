"""``%remote VERB`` in a notebook."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jupyter_gpu_remote.model import Machine
from jupyter_gpu_remote.registry import Registry
from tests.conftest import need
from tests.notebooks import Notebook, notebook


def test_up_makes_a_machine_ready_for_the_cells_that_follow(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        assert not book.run("%remote up").error
        (machine,) = Registry().machines()
        assert book.remote("print('here')").text == "here\n"
        assert [m.name for m in Registry().machines()] == [machine.name]


def test_the_machine_of_this_notebook_is_marked(book: Notebook) -> None:
    lines = book.run("%remote list").text.splitlines()
    assert lines[0].split()[-2:] == ["USED", "BY"]
    assert lines[1].endswith("this notebook")


def test_restart_gives_a_fresh_kernel_on_the_same_machine(book: Notebook) -> None:
    book.remote("kept = 1")
    assert "fresh kernel" in book.run("%remote restart").text
    assert book.remote("kept").error.startswith("NameError")


def test_files_travel_when_asked(book: Notebook) -> None:
    (book.folder / "given.txt").write_text("x")
    assert "1 file sent" in book.run("%remote push").text
    assert book.remote("import os; print(os.path.exists('given.txt'))", "--no-sync").text == "True\n"
    assert book.run("%remote pull").text == "no change\n"


def test_the_line_that_ssh_shows_logs_in_when_it_is_pasted(book: Notebook) -> None:
    need(os.name == "posix", "a shell")
    line = book.run("%remote ssh -- echo it works").text
    ran = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=30, check=False)  # noqa: S602
    assert ran.stdout == "it works\n", ran.stderr
    assert "StrictHostKeyChecking=yes" in line


def test_an_unknown_verb_is_an_error_without_our_traceback(book: Notebook) -> None:
    ran = book.run("%remote stpo")
    (error,) = ran.of("error")
    assert error["ename"] == "ConfigurationError"
    assert "There is no verb 'stpo'" in error["evalue"]
    assert "jupyter_gpu_remote/" not in "".join(error["traceback"])


def test_help_is_printed(book: Notebook) -> None:
    assert "%remote VERB" in book.run("%remote --help").text
    assert "usage: %remote down" in book.run("%remote down --help").text
    assert "--gpu" in book.run("%remote up --help").text


def there(machine: Machine, name: str) -> Path:
    """Return a file in the machine's copy of the notebook folder."""
    (folder,) = Path(machine.home).glob("gpu-remote/*")
    return folder / name


def test_down_deletes_the_notebooks_machine_after_fetching_its_files(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        book.remote("1")
        (machine,) = Registry().machines()
        there(machine, "late.txt").write_text("kept")  # no cell has fetched it
        ran = book.run("%remote down")
        assert not ran.error
        assert (tmp_path / "late.txt").read_text() == "kept"
        assert Registry().machines() == []
        assert book.run("%remote down").error.startswith("MachineNotFoundError")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    need(subprocess.run(mount, capture_output=True, check=False).returncode == 0, "the right to mount")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_files_that_cannot_be_fetched_keep_the_machine_unless_told_otherwise(small_disk: Path) -> None:
    with notebook(small_disk) as book:
        book.remote("1")
        (machine,) = Registry().machines()
        there(machine, "large").write_bytes(bytes(3 << 20))
        ran = book.run("%remote down")
        assert ran.error.startswith("SyncError")
        assert "add --yes" in ran.error
        assert [m.name for m in Registry().machines()] == [machine.name]
        assert "could not be fetched" in book.run("%remote down --yes").text
        assert Registry().machines() == []


def servers(machine: Machine) -> list[psutil.Process]:
    """Return the processes that serve a machine of this computer."""
    every = [(p, p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return [p for p, words in every if any(w.endswith(f"/machines/{machine.name}") for w in words)]


def test_a_machine_that_does_not_answer_is_deleted_all_the_same(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        book.remote("1")
        (machine,) = Registry().machines()
        for process in servers(machine):
            process.suspend()
        ran = book.run("%remote down")
        assert not ran.error
        assert "does not answer, so what was not fetched before is lost" in ran.text
        assert Registry().machines() == []


def test_a_machine_that_is_gone_is_written_off(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        book.remote("1")
        (machine,) = Registry().machines()
        for process in servers(machine):
            process.kill()
        ran = book.run("%remote down")
        assert not ran.error
        assert "has ended" in ran.text
        assert Registry().machines() == []
