"""What survives a cut or the local kernel, and what is told when the machine is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import wait_for
from tests.notebooks import LIMIT, Notebook, Ran

from .own import cut, own_notebook, processes

LINES = 3000
PRINTS = f"for i in range({LINES}):\n    print(i)\n    if i % 10 == 0: time.sleep(0.005)"
EACH_ONCE = "".join(f"{i}\n" for i in range(LINES))


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    with own_notebook(tmp_path_factory) as opened:
        yield opened


@pytest.fixture(autouse=True)
def own_state(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have new kernels of a test use the state of its notebook."""
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", book.state)


def server_of(book: Notebook) -> psutil.Process:
    """Return the SSH server of the machine."""
    (server,) = processes("local_server", book.state)
    return server


def restart(book: Notebook) -> None:
    """Give the notebook a new local kernel, as Jupyter does."""
    book.manager.restart_kernel(now=True)
    book.client.wait_for_ready(LIMIT)
    book.run("%load_ext jupyter_gpu_remote")


# -- the connection is cut --------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [1, 5])
def test_each_line_arrives_once_through_cuts(book: Notebook, cuts: int) -> None:
    request, ran = book.send(f"%%remote\n{PRINTS}"), Ran()
    for number in range(cuts):
        line = f"\n{100 + number * 500}\n"
        book.wait(request, until=lambda ran, line=line: line in ran.text, so_far=ran)
        cut(book)
    book.wait(request, so_far=ran)
    assert (ran.text, ran.error) == (EACH_ONCE, "")


def test_a_cut_between_two_cells_is_not_noticed(book: Notebook) -> None:
    book.remote("kept = 'over a cut'")
    cut(book)
    assert book.remote("kept").result == "'over a cut'"


def test_while_the_machine_is_away_a_line_says_so_and_goes_again(book: Notebook) -> None:
    request = book.send("%%remote\nprint('begun')\ntime.sleep(3)\nprint('over')")
    book.wait(request, until=lambda ran: "begun" in ran.text)
    server = server_of(book)
    server.suspend()
    cut(book)
    ran = book.wait(request, until=lambda ran: "reconnecting" in str(ran.messages))
    server.resume()
    rest = book.wait(request)
    lines = ran.of("display_data") + rest.of("update_display_data")
    assert "connection lost, reconnecting" in lines[0]["data"]["text/plain"]
    assert (lines[-1]["data"]["text/plain"], rest.text) == ("", "over\n")


def test_a_page_that_reads_late_loses_nothing(book: Notebook) -> None:
    show = "display({'text/plain': str(i) * 50}, raw=True)"
    request = book.send(f"%%remote\nfrom IPython.display import display\nfor i in range(5000): {show}")
    reply = book.client.get_shell_msg(timeout=LIMIT)
    assert reply["parent_header"]["msg_id"] == request
    ran = book.wait(request, so_far=Ran(reply=reply["content"]))
    assert [c["data"]["text/plain"] for c in ran.of("display_data")] == [str(i) * 50 for i in range(5000)]


# -- the local kernel is gone -----------------------------------------------------------------------------


def test_variables_outlive_a_restart_of_the_local_kernel(book: Notebook) -> None:
    book.run("mine = 1")
    book.remote("kept = 'over a restart'")
    restart(book)
    assert book.remote("kept").result == "'over a restart'"
    assert book.run("mine").error.startswith("NameError")


def test_variables_outlive_a_local_kernel_that_is_killed(book: Notebook) -> None:
    book.remote("kept = 'over a kill'")
    os.kill(book.manager.provisioner.pid, signal.SIGKILL)
    restart(book)
    assert book.remote("kept").result == "'over a kill'"


def test_a_cell_goes_on_when_jupyter_restarts_the_local_kernel(book: Notebook) -> None:
    flag = book.folder / "go-on"
    wait = f"import time, pathlib\nwhile not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.05)"
    request = book.send(f"%%remote\nprint('begun')\n{wait}\nprint('over')")
    book.wait(request, until=lambda ran: "begun" in ran.text)
    book.manager.restart_kernel(now=False)  # which interrupts the kernel first, as Jupyter does
    book.client.wait_for_ready(LIMIT)
    book.run("%load_ext jupyter_gpu_remote")
    flag.touch()
    ran = book.run("%remote attach")
    assert (ran.text, ran.error) == ("begun\nover\n", "")


def test_the_first_cell_after_a_restart_sees_what_changed_in_the_folder_meanwhile(book: Notebook) -> None:
    for content in ("one", "two", "two"):
        (book.folder / "meanwhile.txt").write_text(content)
        restart(book)
        assert book.remote("print(open('meanwhile.txt').read())").text == f"{content}\n"


def test_the_first_cell_after_a_restart_is_shown_however_fast_it_is(book: Notebook) -> None:
    for number in range(5):
        restart(book)
        assert book.remote(f"print({number})\n{number}").result == str(number)


# -- two notebooks ----------------------------------------------------------------------------------------


def test_two_notebooks_on_one_machine_have_a_kernel_each(book: Notebook, tmp_path: Path) -> None:
    book.remote("whose = 'first'")
    name = book.remote("import os; os.environ['HOME']").result.split("/")[-2]
    other = Notebook(tmp_path)
    try:
        other.run("%load_ext jupyter_gpu_remote")
        assert other.remote("whose = 'second'", f"--on {name}").error == ""
        assert other.remote("import os; os.environ['HOME'].split('/')[-2]").result == repr(name)
    finally:
        other.close()
    assert book.remote("whose").result == "'first'"


# -- the machine is gone ----------------------------------------------------------------------------------


def test_a_machine_that_is_gone_ends_the_cell_with_one_error(book: Notebook) -> None:
    request = book.send("%%remote\nprint('begun')\ntime.sleep(90)")
    book.wait(request, until=lambda ran: "begun" in ran.text)
    server_of(book).kill()
    ran = book.wait(request)
    (error,) = ran.of("error")
    assert "jupyter_gpu_remote/" not in "\n".join(error["traceback"])
    assert "Next: " in ran.error, ran
    wait_for(lambda: not processes("gpu-remote", book.state), "what ran there to end")
