"""Large variables while links break, disks fill and nobody may be trusted."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import mounted, need, wait_for
from tests.notebooks import Notebook

from .own import cut, own_notebook, processes, store_of

GIGABYTE = 1 << 30
MD5 = "import hashlib\nprint(hashlib.md5({}).hexdigest())"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    with own_notebook(tmp_path_factory) as opened:
        yield opened


@pytest.fixture(autouse=True)
def own_state(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a test see the machines of its notebook."""
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", book.state)


def moved(book: Notebook) -> int:
    """Return how many bytes of variables have travelled."""
    return int(book.run("print(__import__('jupyter_gpu_remote.magic').magic.cells().exchange.moved)").text)


def test_a_gigabyte_goes_on_after_a_cut_where_it_was(book: Notebook) -> None:
    book.run(f"import os\ngigabyte = os.urandom({GIGABYTE})")
    before = moved(book)
    cell = book.send("%%remote --in gigabyte\n" + MD5.format("gigabyte"))
    store = store_of()
    wait_for(lambda: any(f.stat().st_size >= GIGABYTE // 4 for f in store.glob("*[!t]")), "a part of it")
    cut(book)
    ran = book.wait(cell)
    assert ran.text == book.run(MD5.format("gigabyte")).text
    assert moved(book) - before < 1.3 * GIGABYTE
    book.run("del gigabyte")
    book.remote("del gigabyte")


def test_what_comes_back_goes_on_after_a_cut(book: Notebook) -> None:
    book.remote(f"import os\nback = os.urandom({GIGABYTE // 4})")
    here = Path(book.state) / "blobs"
    cell = book.send("%remote get back")
    wait_for(lambda: list(here.glob("*/.*.part")), "a part of it to arrive")
    cut(book)
    assert not book.wait(cell).error
    assert book.run(MD5.format("back")).text == book.remote(MD5.format("back")).text


def test_an_interrupted_transfer_leaves_no_process_behind_and_no_cell_runs(book: Notebook) -> None:
    book.run(f"import os\ncancelled = os.urandom({GIGABYTE // 4})")
    cell = book.send("%%remote --in cancelled\nprint('ran')")
    receiving = functools.partial(processes, "receive", str(store_of()))
    wait_for(receiving, "it to begin")
    book.interrupt()
    ran = book.wait(cell)
    assert ran.error.startswith("KeyboardInterrupt") and not ran.text
    wait_for(lambda: not receiving(), "the process over there to end")


def test_a_full_disk_over_there_is_told_and_the_next_cell_runs(book: Notebook) -> None:
    store = store_of()
    book.remote("pass")
    if store.exists():
        store.rename(store.with_name("store.before"))
    with mounted(store, "size=20m,mode=700"):
        book.run("import os\ntoo_large = os.urandom(50_000_000)")
        ran = book.remote("print('ran', len(too_large))")
        assert ran.error.startswith("VariableError: The disk of the machine is full") and not ran.text
        assert "Next: Make room" in ran.error
        assert book.remote("print('fine')").text == "fine\n"
    assert book.remote("print(len(too_large))").text == "50000000\n"


def test_two_gigabytes_go_over(book: Notebook) -> None:
    need(psutil.virtual_memory().available > 10 * GIGABYTE, "10 GB of free memory")
    pytest.importorskip("numpy")
    book.run("import numpy as np\ntwo = np.arange(2**28)")
    assert book.remote("print(two[-1], two.nbytes)", "--in two").text == f"{2**28 - 1} {2 * GIGABYTE}\n"
