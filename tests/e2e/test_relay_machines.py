"""Several machines for a notebook that lies on a machine as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_gpu_remote.config import load_settings
from jupyter_gpu_remote.providers.base import load_provider
from jupyter_gpu_remote.registry import Registry
from tests.notebooks import Notebook, notebook

from .test_machines_together import SEE, TRAINING, detached


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook with the kernel "Python (remote GPU)" and two machines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        with notebook(tmp_path_factory.mktemp("notebook"), kernel_name="gpu-remote") as opened:
            ran = opened.remote(f"{SEE}\nprint(len(see(set(), 2)))", "--cloud local --machines 2")
            assert ran.text.endswith("\n2\n"), ran
            opened.state = str(Registry().path.parent)
            yield opened


@pytest.fixture(autouse=True)
def own_state(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """See the machines of the notebook."""
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", book.state)


def test_cells_have_the_workers_and_the_files_of_all_machines(book: Notebook) -> None:
    (book.folder / "beside.py").write_text("def where():\n    import os; return os.environ['HOME']\n")
    where = "print(len(set(remote_client().run(beside.where).values())))"
    ran = book.run(f"import beside\n{SEE}\nsee(set(), 2)\n{where}")
    assert ran.text == "2\n", ran


def test_torchrun_runs_on_all_and_shows_what_other_ranks_wrote(book: Notebook) -> None:
    pytest.importorskip("torch")
    ran = book.remote(f"{TRAINING}dist.destroy_process_group()\n", "--machines 2 --launch torchrun")
    assert not ran.error, ran
    assert ran.text == "rank 0 of 2: 3.0\n"
    assert "rank 1 of 2: 3.0" in str(ran.of("display_data"))


def test_a_sweep_gives_back_the_machines_that_were_launched_for_it_and_keeps_the_notebook_s(
    book: Notebook,
) -> None:
    before = Registry().machines()
    cell = "import time\ntime.sleep(0.3)\nopen(f'made-{x}', 'w').close()"
    ran = book.remote(cell, "--sweep x=range(12) --machines 3")
    assert not ran.error, ran
    assert book.run("print(len(set(sweep.machine)))").text == "3\n"
    assert len(list(book.folder.glob("made-*"))) == 12
    assert [m.name for m in Registry().machines()] == [m.name for m in before]


def test_a_detached_cell_has_all_machines(book: Notebook) -> None:
    ran = detached(book, f"{SEE}\nprint(len(see(set(), 2)), 'machines')", "", "2 machines")
    assert ran.text == "2 machines\n"


def test_a_machine_that_ends_is_replaced_and_the_cell_told(book: Notebook) -> None:
    _, worker = Registry().machines()
    request = book.send(f"{SEE}\nprint('on', flush=True)\nprint(len(see({{{worker.name!r}}}, 2)))")
    ran = book.wait(request, until=lambda ran: "on\n" in ran.text)
    load_provider("local", load_settings()).delete(worker.provider_id)
    ran = book.wait(request, so_far=ran)
    assert ran.text == "on\n2\n", ran
    assert f"takes the place of {worker.name}" in ran.stream("stderr")


def test_down_deletes_all_machines_and_a_sweep_may_come_next(book: Notebook) -> None:
    assert not book.run("%remote down").error
    assert not Registry().machines()
    ran = book.remote("x * 2", "--cloud local --machines 2 --sweep x=1,2")
    assert not ran.error, ran
    assert book.run("print(sweep.value.tolist())").text == "[2, 4]\n"
    assert len(Registry().machines()) == 1
