"""A cell that goes on after its notebook was lost is shown again, each line once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.synced import synced_folders
from tests.notebooks import Notebook, delete_all_machines, notebook

LONG = """
import time
for i in range(400):
    print(i, flush=True)
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def one_notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every kernel of a test be the kernel of the same notebook."""
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/attach.ipynb")
    yield
    delete_all_machines()


def kill(book: Notebook) -> None:
    """End a notebook's kernel as a crash does; a shutdown would interrupt the cell before."""
    os.kill(book.manager.provisioner.pid, signal.SIGKILL)
    book.client.stop_channels()
    book.manager.shutdown_kernel(now=True)


def lost_while_running(folder: Path, cell: str, seen: str) -> None:
    """Run a cell in a notebook whose kernel is killed as soon as `seen` was printed."""
    book = Notebook(folder)
    try:
        book.run("%load_ext jupyter_gpu_remote")
        book.wait(book.send(f"%%remote\n{cell}", allow_stdin=True), until=lambda ran: seen in ran.text)
    finally:
        kill(book)


def press_until(book: Notebook, done: threading.Event) -> None:
    """Press the interrupt button again and again, as somebody does who has had enough."""
    while not done.wait(0.3):
        book.interrupt()


def test_every_line_of_a_cell_that_outlived_its_notebook_appears_once(tmp_path: Path) -> None:
    lost_while_running(tmp_path, LONG, "20\n")
    with notebook(tmp_path) as book:
        ran = book.run("%remote attach")
    assert not ran.error
    assert ran.text == "".join(f"{i}\n" for i in range(400))


def test_a_cell_that_has_ended_meanwhile_is_shown_whole(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        book.remote("print('one'); 41 + 1")
        ran = book.run("%remote attach")
        assert ran.text == "one\n"
        assert ran.result == "42"


def test_the_error_of_the_cell_is_raised(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        book.remote("print('one'); 1 / 0")
        ran = book.run("%remote attach")
    assert ran.text == "one\n"
    assert ran.error == "ZeroDivisionError: division by zero"


def test_a_question_asked_before_the_notebook_was_lost_is_asked_again(tmp_path: Path) -> None:
    cell = (
        "print('asking', flush=True)\nname = input('first? ')\nother = input('second? ')\nprint(name, other)"
    )
    book = Notebook(tmp_path)
    book.run("%load_ext jupyter_gpu_remote")
    asked: list[str] = []
    book.send(f"%%remote\n{cell}", allow_stdin=True)
    asked.append(book.client.get_stdin_msg(timeout=30)["content"]["prompt"])
    book.client.input("one")
    asked.append(book.client.get_stdin_msg(timeout=30)["content"]["prompt"])
    kill(book)
    assert asked == ["first? ", "second? "]
    again: list[str] = []

    def answer(prompt: str, password: bool) -> str:
        again.append(prompt)
        return "two"

    with notebook(tmp_path) as later:
        ran = later.run("%remote attach", answer=answer, allow_stdin=True)
    assert again == ["second? "]
    assert ran.text == "asking\none two\n"


def test_a_cell_is_interrupted_through_the_cell_that_shows_it(tmp_path: Path) -> None:
    lost_while_running(tmp_path, "import time\nprint('on', flush=True)\ntime.sleep(600)", "on\n")
    with notebook(tmp_path) as book:
        request = book.send("%remote attach")
        book.wait(request, until=lambda ran: "on\n" in ran.text)
        book.interrupt()
        ran = book.wait(request)
    assert ran.error.startswith("KeyboardInterrupt")


def test_a_cell_that_was_given_up_appears_once_in_the_cell_that_shows_it(tmp_path: Path) -> None:
    deaf = (
        "import signal, time, os\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.01)\nprint('heard')"
    )
    with notebook(tmp_path) as book:
        request = book.send(f"%%remote\n{deaf}")
        book.wait(request, until=lambda ran: "deaf" in ran.text)
        given_up = threading.Event()
        presses = threading.Thread(target=press_until, args=(book, given_up))
        presses.start()
        ran = book.wait(request)
        given_up.set()
        presses.join()
        assert ran.error.startswith("ConnectionLostError")
        request = book.send("%remote attach")
        shown = book.wait(request, until=lambda ran: "deaf" in ran.text).text
        (machine,) = Registry().machines()
        assert synced_folders(machine.name) == [tmp_path]
        (there,) = Path(machine.home).glob("gpu-remote/*")
        (there / "go").touch()
        shown += book.wait(request).text
    assert shown == "deaf\nheard\n"


def test_without_a_machine_or_a_cell_it_says_so(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        ran = book.run("%remote attach")
        assert "nothing to attach to: this notebook has no machine" in ran.text
        book.run("%remote up")
        ran = book.run("%remote attach")
        assert "has run no cell" in ran.text


def test_a_display_is_still_updated_when_it_is_shown_again(tmp_path: Path) -> None:
    cell = "h = display('old', display_id=True)\nh.update('new')\nprint('end')"
    with notebook(tmp_path) as book:
        first = book.remote(cell)
        ran = book.run("%remote attach")
    kinds = [m["msg_type"] for m in first.messages if "display" in m["msg_type"]]
    assert [m["msg_type"] for m in ran.messages if "display" in m["msg_type"]][-2:] == kinds[-2:]
