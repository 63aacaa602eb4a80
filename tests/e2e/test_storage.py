"""Buckets in notebooks. A folder of this computer stands for one: the same code, and no cloud."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote.config import load_settings
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.registry import Registry
from tests.conftest import need, wait_for
from tests.notebooks import Notebook, Ran, notebook


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    need(Path("/dev/fuse").exists() and shutil.which("fusermount3"), "FUSE (package fuse3)")
    folder = tmp_path / "bucket"
    folder.mkdir()
    return folder


@pytest.fixture
def book(tmp_path: Path, bucket: Path) -> Iterator[Notebook]:
    (tmp_path / "notebook").mkdir()
    with notebook(tmp_path / "notebook") as opened:
        yield opened


def lines(ran: Ran) -> list[str]:
    """Return what the status lines of a cell said."""
    shown = ran.of("display_data") + ran.of("update_display_data")
    return [content["data"]["text/plain"] for content in shown]


WRITE = """
from pathlib import Path
data = Path.home() / "data"
(data / "{name}").write_text("written over there")
"""


def test_a_cell_writes_into_a_bucket_and_the_status_line_says_what_is_on_its_way(
    book: Notebook, bucket: Path
) -> None:
    ran = book.remote(WRITE.format(name="a.txt"), f"--mount file://{bucket}:~/data")
    assert not ran.error
    assert any(f"1 file (18 B) on the way to file://{bucket}: a.txt" in line for line in lines(ran))
    wait_for((bucket / "a.txt").exists, "the file in the bucket")
    # mounted once, it is there for all cells
    assert not book.remote(WRITE.format(name="b.txt")).error
    wait_for((bucket / "b.txt").exists, "the file in the bucket")


def test_flush_says_what_became_of_it(book: Notebook, bucket: Path) -> None:
    book.remote("import pathlib", f"--mount file://{bucket}:~/data")
    book.remote(WRITE.format(name="a.txt"))
    assert "All that was written is in its buckets." in book.run("%remote flush").text
    assert (bucket / "a.txt").read_text() == "written over there"


def test_a_mount_is_made_listed_and_taken_away_by_verbs(book: Notebook, bucket: Path) -> None:
    book.remote("from pathlib import Path")
    (bucket / "x.csv").write_text("1,2")
    assert f"file://{bucket} is mounted" in book.run(f"%remote mount file://{bucket}:~/data:ro").text
    assert any("read-only" in line for line in lines(book.run("%remote mounts")))
    assert book.remote("print((Path.home() / 'data' / 'x.csv').read_text())").text == "1,2\n"
    assert "unmounted" in book.run("%remote unmount ~/data").text
    assert "Nothing is mounted" in book.run("%remote mounts").text


def test_a_cell_does_not_run_when_its_mount_is_gone_and_cannot_come_back(
    book: Notebook, bucket: Path
) -> None:
    book.remote("import os, subprocess, sys", f"--mount file://{bucket}:~/data")
    gone = "p = os.path.expanduser('~/data'); subprocess.run(['fusermount3', '-uz', p]); "
    ran = book.remote(gone + "os.chmod(p, 0o700); open(p + '/stray', 'w').close(); print(os.listdir(p))")
    assert ran.text == "['stray']\n"
    ran = book.remote("print('ran')")
    assert "is not mounted at" in ran.error
    assert ran.text == ""
    assert "unmounted" in book.run("%remote unmount ~/data --yes").text
    assert book.remote("print('ran')").text == "ran\n"


def test_a_machine_that_is_deleted_has_brought_all_to_the_bucket(book: Notebook, bucket: Path) -> None:
    book.remote("from pathlib import Path", f"--mount file://{bucket}:~/data")
    book.remote("for n in range(40): (Path.home() / 'data' / str(n)).write_text('x' * 1000)")
    assert "is deleted" in book.run("%remote down --yes").text
    assert len(list(bucket.iterdir())) == 40


def test_the_relay_kernel_mounts_as_well(tmp_path: Path, bucket: Path) -> None:
    folder = tmp_path / "relayed"
    folder.mkdir()
    with notebook(folder, kernel_name="gpu-remote") as relayed:
        ran = relayed.run(f"%%remote --mount file://{bucket}:~/data\n{WRITE.format(name='r.txt')}")
        assert not ran.error
        assert any("on the way to" in line for line in lines(ran))
        wait_for((bucket / "r.txt").exists, "the file in the bucket")


def test_results_of_a_cell_come_back_and_go_to_a_bucket(book: Notebook, bucket: Path, tmp_path: Path) -> None:
    cell = "import pathlib\nfor n in range(3): pathlib.Path('results', str(n)).write_text('done')"
    ran = book.remote(cell, f"--out-dir results=file://{bucket}/run-{{n}}")
    assert not ran.error
    assert any(f"file://{bucket}/run-1" in line for line in lines(ran))
    assert "All that was written is in its buckets." in book.run("%remote flush").text
    assert sorted(p.name for p in (bucket / "run-1").iterdir()) == ["0", "1", "2"]
    assert (tmp_path / "notebook" / "results" / "2").read_text() == "done"


def test_what_cells_and_jobs_put_out_outlives_their_machine(book: Notebook, bucket: Path) -> None:
    options = f"--out-dir .=file://{bucket}"
    assert not book.remote("print('seen before')", options).error
    job = "import time; print('of the job', flush=True); time.sleep(600)"
    assert not book.remote(job, f"--detach {options}").error

    def kept() -> bytes:
        return b"".join(file.read_bytes() for file in bucket.rglob("*.journal"))

    wait_for(lambda: b"of the job" in kept() and b"seen before" in kept(), "the outputs in the bucket", 30)
    registry = Registry()
    (machine,) = registry.machines()
    Fleet(load_settings(), registry).preempted(machine.name, "taken back")
    ran = book.run("%remote attach")
    assert ran.text.startswith("seen before\n"), ran
    assert f"comes from file://{bucket}" in ran.text
    ran = book.run("%remote attach 1")
    assert ran.text == "of the job\n"
    assert f"came from file://{bucket}" in ran.error
