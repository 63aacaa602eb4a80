"""Cells that are run once for each combination of values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.registry import Registry
from tests.notebooks import Notebook, Ran, delete_all_machines, notebook

from .frontend import refused, write_config
from .own import processes

LOCAL = "--cloud local"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook on this computer, whose cluster is started once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        with notebook(tmp_path_factory.mktemp("folder")) as opened:
            assert not opened.run(f"%remote up {LOCAL}").error
            yield opened
        delete_all_machines()


def table(ran: Ran) -> str:
    """Return the table of a sweep as it was left."""
    shown = [str(content["data"]["text/plain"]) for content in ran.of("update_display_data")]
    return next(text for text in reversed(shown) if " trials: " in text)  # the status line comes after it


def value(book: Notebook, expression: str) -> object:
    """Return what something is in the local kernel."""
    return json.loads(book.run(f"import json; print(json.dumps({expression}, default=int))").text)


def test_a_cell_runs_once_for_each_combination_and_leaves_a_table(book: Notebook) -> None:
    book.run("scale = 10\ndef weigh(x): return x * lr * scale  # reads what is swept")
    cell = "print('seed', seed)\nfor i in range(3): report(step=i, loss=lr / (i + 1))\nweigh(seed)"
    ran = book.remote(cell, f"{LOCAL} --sweep lr=0.5,0.25 --sweep seed=range(3)")
    assert not ran.error
    assert "6 trials: 6 done" in table(ran)
    rows = value(book, "sweep[['lr', 'seed', 'value', 'loss', 'state']].values.tolist()")
    assert rows == [[lr, seed, seed * lr * 10, lr / 3, "done"] for lr in (0.5, 0.25) for seed in range(3)]
    assert value(book, "sweep_reports[sweep_reports.trial == 2].step.tolist()") == [0, 1, 2]
    log = book.folder / str(value(book, "sweep.log[5]"))
    assert log.read_text() == "seed 2\n"


def test_failed_trials_are_rows_and_the_cell_ends_well(book: Notebook) -> None:
    ran = book.remote("if x == 2: raise ValueError('<b>bad</b>')\nx", "--sweep x=1,2 --retries 1")
    assert not ran.error
    assert "1 done, 1 failed" in table(ran)
    assert "<b>bad" not in ran.of("update_display_data")[-1]["data"]["text/html"]
    state, retries, error = value(book, "sweep.loc[1, ['state', 'retries', 'error']].tolist()")  # type: ignore[misc]
    assert (state, retries, error.splitlines()[-1]) == ("failed", 1, "ValueError: <b>bad</b>")


def test_a_sweep_of_which_no_trial_ends_well_is_an_error(book: Notebook) -> None:
    ran = book.remote("1 / 0", "--sweep x=1,2")
    assert "SweepFailed" in ran.error and "ZeroDivisionError" in ran.error
    assert value(book, "sweep.state.tolist()") == ["failed", "failed"]


def test_a_cell_that_is_no_python_does_not_begin(book: Notebook) -> None:
    ran = book.remote("def (", "--sweep x=1,2")
    assert "SyntaxError" in ran.error and "ast.py" not in ran.error


def test_a_list_of_dicts_of_the_notebook_is_a_space(book: Notebook) -> None:
    book.run("configs = [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]")
    assert not book.remote("f'{a}{b}{c}'", "--sweep configs --sweep c=0,1").error
    assert value(book, "sweep.value.tolist()") == ["1x0", "1x1", "2y0", "2y1"]


def test_an_interrupt_ends_what_runs_and_the_rest_is_run_on_demand(book: Notebook, tmp_path: Path) -> None:
    book.run(f"go = {str(tmp_path / 'go')!r}")
    cell = "import os, time\nwhile x > 0 and not os.path.exists(go): time.sleep(0.01)\nx"
    sweep = "--sweep x=0,0,1,1"
    request = book.send(f"%%remote {sweep}\n{cell}")
    seen = book.wait(request, until=lambda ran: any("2 of 4" in str(m) for m in ran.messages))
    book.interrupt()
    ran = book.wait(request, so_far=seen)
    assert "KeyboardInterrupt" in ran.error
    assert "interrupted · 4 trials: 2 done, 2 cancelled" in table(ran)
    assert value(book, "sweep.state.tolist()") == ["done", "done", "cancelled", "cancelled"]
    (tmp_path / "go").touch()
    again = book.remote(cell, f"{sweep} --resume")
    assert not again.error
    assert "4 done, 2 of them from before" in table(again)
    assert value(book, "sweep.value.tolist()") == [0, 0, 1, 1]


def test_what_would_run_can_be_seen_before(book: Notebook) -> None:
    ran = book.remote("x", f"{LOCAL} --sweep x=range(12) --dry-run")
    assert "12 trials" in ran.text and "{'x': 0}" in ran.text and "7 more" in ran.text


def test_a_sweep_is_a_job_when_it_is_detached(book: Notebook) -> None:
    book.run("scale = 3")
    request = book.send("%%remote --detach --sweep x=1,2\nprint('x is', x)\nx * scale")
    ran = book.wait(request, until=lambda ran: any("done" in str(m.get("content")) for m in ran.messages))
    assert not ran.error
    assert "done" in book.run("%remote wait").text
    assert value(book, "sorted(sweep.value.tolist())") == [3, 6]


def test_the_kernel_on_the_machine_sweeps_too(tmp_path: Path) -> None:
    with notebook(tmp_path, kernel_name="gpu-remote") as whole:
        whole.run("%%remote --cloud local\nscale = 2\nconfigs = [{'a': 1}, {'a': 2}]")
        ran = whole.run("%%remote --sweep configs --sweep b=0,1\nreport(loss=a)\n(a + b) * scale")
        assert not ran.error
        assert whole.run("print(sweep.value.tolist())").text == "[2, 4, 4, 6]\n"
        (kept,) = tmp_path.glob("sweeps/*/results.jsonl")
        assert len(kept.read_text().splitlines()) == 5
    delete_all_machines()


def test_machines_launched_for_a_sweep_are_deleted_at_its_end(book: Notebook, monkeypatch: Any) -> None:
    state = book.run("import os; print(os.environ['JUPYTER_GPU_REMOTE_DIR'])").text.strip()
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", state)
    cell = "import time\ntime.sleep(0.3)\nprint(x)\nopen(f'made-{x}', 'w').close()"
    ran = book.remote(cell, "--sweep x=range(12) --machines 2")
    assert not ran.error
    assert len(set(value(book, "sweep.machine.tolist()"))) == 2  # type: ignore[call-overload]
    assert len(Registry().machines()) == 1
    assert len(list(book.folder.glob("made-*"))) == 12
    log = book.folder / str(value(book, "sweep.log[11]"))
    assert log.read_text() == "11\n"


def test_the_machine_that_a_sweep_launched_is_deleted_at_its_end_unless_it_is_to_be_kept(
    tmp_path: Path,
) -> None:
    with notebook(tmp_path) as fresh:
        cell = "print('x', x)\nopen(f'made-{x}', 'w').close()\nx"
        ran = fresh.remote(cell, f"{LOCAL} --machines 2 --sweep x=1,2")
        assert not ran.error and not Registry().machines()
        assert any(" deleted" in str(m["content"]) for m in ran.messages)
        assert value(fresh, "sweep.value.tolist()") == [1, 2]
        assert (tmp_path / "made-1").exists() and len(list(tmp_path.glob("sweeps/*/trial-00*.txt"))) == 2
        assert fresh.remote(cell, f"{LOCAL} --machines 2 --sweep x=1,2 --in missing").error
        assert not Registry().machines()
        assert not fresh.remote("6 * 7", LOCAL).error
        assert fresh.run("%remote attach").result == "42"
        assert not fresh.run("%remote down --yes").error
        assert not fresh.remote("x", f"{LOCAL} --sweep x=1,2 --keep").error
        assert len(Registry().machines()) == 1
        assert not fresh.remote("x", f"{LOCAL} --sweep x=1,2").error
        assert len(Registry().machines()) == 1
    delete_all_machines()


def test_a_sweep_whose_connection_is_lost_keeps_its_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.notebooks.LIMIT", 110.0)  # SSH needs 50 s to see it
    write_config(monkeypatch, tmp_path / "config", reconnect_timeout=1)
    with notebook(tmp_path) as lost:
        request = lost.send(f"%%remote {LOCAL} --machines 2 --sweep x=1,2\nimport time\ntime.sleep(600)")
        lost.wait(request, until=lambda ran: any("running" in str(m["content"]) for m in ran.messages))
        head, worker = Registry().machines()
        (server,) = processes("local_server", f"/{head.name}")
        server.suspend()
        refused(lost.wait(request), "did not answer", "Cost: ")
        server.resume()
        assert Registry().machines() == [head, worker]
    delete_all_machines()


def test_results_that_came_are_here_when_the_machine_is_lost(tmp_path: Path) -> None:
    cell = "import os, time\nif x > 1 and not os.path.exists('again'): time.sleep(600)\nx"
    with notebook(tmp_path) as lost:
        request = lost.send(f"%%remote --cloud local --sweep x=range(4)\n{cell}")
        lost.wait(request, until=lambda ran: any("2 of 4" in str(m["content"]) for m in ran.messages))
        delete_all_machines()
        ran = lost.wait(request)
        assert ran.error
        assert value(lost, "sweep.value.tolist()") == [0, 1]
        (tmp_path / "again").touch()
        again = lost.remote(cell, "--cloud local --sweep x=range(4) --resume")
        assert "4 done, 2 of them from before" in table(again)
        assert value(lost, "sweep.value.tolist()") == [0, 1, 2, 3]
    delete_all_machines()
