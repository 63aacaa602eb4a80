"""Real cells give the same outputs over there as here."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.notebooks import delete_all_machines

from .cells import CELLS, Cell
from .outputs import Output, kinds, run, same

FIRST = "%load_ext jupyter_gpu_remote"
WARM = "import os; open('where', 'w').write(os.getcwd())"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict, dict, list[str], list[str]]]:
    """Run every cell in one notebook here and in one over there."""
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        local = run(CELLS, here, first="pass")
        warm = [Cell("warm", WARM), *CELLS]
        try:
            remote = run(warm, there, first=FIRST, top="%%remote\n")
            copy = (there / "where").read_text()
            yield local, remote, [str(here)], [copy, copy.replace(copy.partition("/gpu-remote/")[0], "~")]
        finally:
            delete_all_machines()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_cell_gives_the_same_outputs_over_there(
    cell: Cell, outputs: tuple[dict[str, list[Output]], dict[str, list[Output]], list[str], list[str]]
) -> None:
    local, remote, here, there = outputs
    found = same(local[cell.name], remote[cell.name], local_folders=here, remote_folders=there)
    assert not found


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the IPython of Python 3.10 warns more and renders less"
)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_cell_does_what_it_is_in_the_corpus_for(
    cell: Cell, outputs: tuple[dict[str, list[Output]], dict[str, list[Output]], list[str], list[str]]
) -> None:
    assert kinds(outputs[0][cell.name]) == cell.expect
