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
