"""Several machines for one notebook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebooks import Notebook, notebook

NAMES = "sorted({w['name'].rpartition(':')[0] for w in remote_client().scheduler_info()['workers'].values()})"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook with two machines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        with notebook(tmp_path_factory.mktemp("notebook")) as opened:
            ran = opened.run("%remote up --machines 2")
            assert not ran.error, ran.error
            assert "2 machines" in ran.text
            yield opened


def test_a_cell_has_the_workers_of_both_machines(book: Notebook) -> None:
    (book.folder / "beside.py").write_text("def where():\n    import os; return os.environ['HOME']\n")
    ran = book.remote(f"import beside\nclient = remote_client()\nprint(len({NAMES}))")
    assert not ran.error, ran.error
    assert ran.text == "2\n"
    assert book.remote("print(len(set(client.run(beside.where).values())))").text == "2\n"


TRAINING = """
import os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
print(f"rank {rank} of {size}: {total.item()}", flush=True)
"""


def test_torchrun_reduces_over_two_machines(book: Notebook) -> None:
    pytest.importorskip("torch")
    ran = book.remote(TRAINING, "--machines 2 --launch torchrun")
    assert not ran.error, ran
    assert ran.text == "rank 0 of 2: 3.0\n"
    (log,) = book.folder.glob("torchrun-logs/*/rank-1.txt")
    assert log.read_text() == "rank 1 of 2: 3.0\n"
    (shown,) = [d["data"] for d in ran.of("display_data") if "<details>" in d["data"].get("text/html", "")]
    assert "rank 1 of 2: 3.0" in shown["text/html"]


def test_a_rank_that_is_killed_ends_the_launch_with_its_name(book: Notebook) -> None:
    pytest.importorskip("torch")
    dies = "if rank == 1: os.kill(os.getpid(), 9)\ntime.sleep(600)\n"
    ran = book.remote(TRAINING + dies, "--launch torchrun")
    assert ran.error.startswith("RankFailed: Rank 1 on "), ran.error
    assert "was killed by SIGKILL" in ran.error
    assert "rank 0 of 2: 3.0" in ran.text


def test_a_rank_that_raises_is_shown_with_its_last_lines(book: Notebook) -> None:
    pytest.importorskip("torch")
    raises = "if rank == 1: raise ValueError('no such layer')\ndist.barrier()\n"
    ran = book.remote(TRAINING + raises, "--launch torchrun")
    assert "Rank 1 on" in ran.error and "ValueError: no such layer" in ran.error, ran.error
