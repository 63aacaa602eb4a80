"""Cells that run unattended: begun in a notebook, shown, awaited and ended from anywhere."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote.config import load_settings
from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.verbs.visit import Visit
from tests.e2e.test_attach import kill
from tests.notebooks import Notebook, Ran, delete_all_machines, notebook

COUNT = """
import time
for i in range(200):
    print(i, flush=True)
    time.sleep(0.01)
i
"""
WAITS = "import os, time\nprint('on', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\n'gone'"
LIMIT = 60


@pytest.fixture(autouse=True)
def one_notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every kernel of a test be the kernel of the same notebook."""
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/jobs.ipynb")
    yield
    delete_all_machines()


def gpu(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jupyter_gpu_remote.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def over_there() -> Path:
    """The only folder on the only machine."""
    (machine,) = Registry().machines()
    (folder,) = Path(machine.home).glob("gpu-remote/*")
    return folder


def lines(ran: Ran) -> list[str]:
    """Return what was shown in the live line of a cell, in order."""
    shown = [*ran.of("display_data"), *ran.of("update_display_data")]
    return [content["data"]["text/plain"] for content in shown]


def goes_on(book: Notebook, request: str, ran: Ran, until: Callable[[Ran], object]) -> Ran:
    """Collect what a cell gives after its end, until that is enough."""
    if until(ran):
        return ran
    return book.wait(request, until=until, so_far=Ran(messages=ran.messages))  # it waits as there is no reply


def told(word: str) -> Callable[[Ran], bool]:
    """Return whether the live line of a cell has said something."""
    return lambda ran: any(word in line for line in lines(ran))


def test_a_detached_cell_returns_at_once_and_its_outputs_go_on_in_it(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        request = book.send(f"%%remote --detach\n{WAITS}")
        ran = book.wait(request)  # it returned, though the cell waits
        assert re.search(r"Job 1 · \S+ · .*running", ran.result)
        (over_there() / "go").touch()
        ran = goes_on(book, request, ran, told("done"))
        assert ran.text == "on\n"
        assert any("runs on" in line for line in lines(ran))
        assert [r["data"]["text/plain"] for r in ran.of("execute_result")][1:] == ["'gone'"]
        assert book.run("_job = _; print(_job.state, _job.result())").text == "done 'gone'\n"


def test_every_line_is_there_after_the_local_kernel_was_killed_while_a_job_ran(tmp_path: Path) -> None:
    book = Notebook(tmp_path)
    try:
        book.run("%load_ext jupyter_gpu_remote")
        request = book.send(f"%%remote --detach\n{COUNT}")
        book.wait(request, until=lambda ran: "20\n" in ran.text)
    finally:
        kill(book)
    assert gpu("wait", "1").returncode == 0
    with notebook(tmp_path) as later:
        ran = later.run("%remote attach 1")
        assert not ran.error
        assert ran.text == "".join(f"{i}\n" for i in range(200))
        assert ran.result == "199"
        assert gpu("attach", "1").stdout == ran.text + "199\n"


def test_a_job_is_cancelled_even_where_it_is_deaf(tmp_path: Path) -> None:
    deaf = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{WAITS}"
    with notebook(tmp_path) as book:
        for cell in (WAITS, deaf):
            book.wait(book.send(f"%%remote --detach\n{cell}"), until=lambda ran: "on\n" in ran.text)
        assert "job 1 · cancelled" in book.run("%remote cancel 1").text
        assert "job 2 · cancelled" in gpu("cancel", "2").stdout
        assert "ended already" in gpu("cancel", "2").stdout


def test_two_jobs_run_beside_the_notebooks_own_kernel(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        for name in ("one", "two"):
            other = {"one": "two", "two": "one"}[name]
            meet = f"open({name!r}, 'w').close()\nwhile not os.path.exists({other!r}): time.sleep(0.01)"
            book.remote(f"import os, time\n{meet}", "--detach")
        assert book.remote("6 * 7").result == "42"
        assert not book.run("%remote wait").error
        listed = json.loads(gpu("jobs", "--json").stdout)
    assert [(job["id"], job["state"]) for job in listed] == [(1, "done"), (2, "done")]


def test_variables_of_both_ends_go_to_a_job_and_come_back(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        book.remote("there = list(range(5))\nimport math as there_module")
        book.run("here = 10")
        job = book.remote(
            "both = there_module.sqrt(16) + here + sum(there)\nkept = 'k'", "--detach --out both"
        )
        assert not job.error
        assert book.run("_.wait()\nprint(both)").text == "24.0\n"
        assert book.run("%remote get kept --job 1\nkept").result == "'k'"


def test_an_error_is_shown_in_its_place_and_raised_by_the_result(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        request = book.send("%%remote --detach\n1 / 0")
        ran = book.wait(request)
        assert not ran.error
        ran = goes_on(book, request, ran, told("failed"))
        assert [error["ename"] for error in ran.of("error")] == ["ZeroDivisionError"]
        assert book.run("_.result()").error == "ZeroDivisionError: division by zero"
        assert "ZeroDivisionError" in book.run("%remote jobs").of("display_data")[0]["data"]["text/plain"]


def test_files_of_a_job_are_fetched_when_it_ends_or_when_somebody_comes(tmp_path: Path) -> None:
    book = Notebook(tmp_path)
    try:
        book.run("%load_ext jupyter_gpu_remote")
        book.remote("open('made.txt', 'w').write('x')", "--detach")
        book.run("_.wait()")
        assert (tmp_path / "made.txt").read_text() == "x"
        request = book.send(f"%%remote --detach\n{WAITS}\nopen('later.txt', 'w').write('y')")
        book.wait(request, until=lambda ran: "on\n" in ran.text)
    finally:
        kill(book)
    (over_there() / "go").touch()
    assert gpu("wait", "2").returncode == 0
    with notebook(tmp_path) as later:
        later.remote("pass")
        assert (tmp_path / "later.txt").read_text() == "y"


def test_widgets_of_a_job_are_answered_by_the_job(tmp_path: Path) -> None:
    cell = f"import comm\nc = comm.create_comm(target_name='t')\nc.on_msg(lambda m: open('go', 'w'))\n{WAITS}"
    with notebook(tmp_path) as book:
        request = book.send(f"%%remote --detach\n{cell}")
        ran = book.wait(request)
        ran = goes_on(book, request, ran, lambda ran: ran.of("comm_open") and "on\n" in ran.text)
        content = {"comm_id": ran.of("comm_open")[0]["comm_id"], "data": {}}
        book.client.shell_channel.send(book.client.session.msg("comm_msg", content))
        assert "done" in lines(goes_on(book, request, ran, told("done")))[-1]


def test_a_cell_is_detached_in_a_notebook_that_lies_on_the_machine_as_a_whole(tmp_path: Path) -> None:
    with notebook(tmp_path, kernel_name="gpu-remote") as book:
        book.run("word = 'there'")
        request = book.send(f"%%remote --detach\n{WAITS}\nprint(word)")
        ran = goes_on(book, request, book.wait(request), lambda ran: "on\n" in ran.text)
        assert book.run("6 * 7").result == "42"
        (over_there() / "go").touch()
        ran = goes_on(book, request, ran, told("done"))
        assert ran.text == "on\nthere\n"
        assert book.run("%remote attach 1").text == ran.text


def test_jobs_survive_their_agent_and_not_their_machine(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        for _ in range(2):
            request = book.send(f"%%remote --detach\n{WAITS}")
            book.wait(request, until=lambda ran: "on\n" in ran.text)
        (machine,) = Registry().machines()
        with Visit(machine, load_settings(), Registry()) as there:
            os.kill(there.request("status")["pid"], signal.SIGKILL)
        assert [job["state"] for job in json.loads(gpu("jobs", "--json").stdout)] == ["running"] * 2
        assert "job 1 · cancelled" in book.run("%remote cancel 1").text
        delete_all_machines()
        assert [job["state"] for job in json.loads(gpu("jobs", "--json").stdout)] == ["cancelled", "lost"]
        assert "cannot be had any more" in gpu("attach", "2").stderr
