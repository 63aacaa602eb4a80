"""Questions that a cell asks, and the interrupt button."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from jupyter_gpu_remote.registry import Registry
from tests.conftest import wait_for
from tests.notebooks import Notebook, Ran, notebook

STUBBORN = """
import signal
presses = 0
print("begun")
while presses < 3:
    try: time.sleep(90)
    except KeyboardInterrupt: presses += 1; print("press", presses)
print("over")
"""


def begin(book: Notebook, code: str, above: str = "%%remote", word: str = "begun") -> str:
    """Start a cell and return once it has printed `word`."""
    request = book.send(f"{above}\n{code}")
    book.wait(request, until=lambda ran: word in ran.text)
    return request


# -- questions --------------------------------------------------------------------------------------------


def test_a_cell_asks_and_gets_the_answer(book: Notebook) -> None:
    asked = []

    def answer(prompt: str, password: bool) -> str:
        asked.append((prompt, password))
        return "blue"

    ran = book.remote("input('colour? ')", answer=answer, allow_stdin=True)
    assert (asked, ran.result) == ([("colour? ", False)], "'blue'")


def test_a_cell_asks_for_a_password(book: Notebook) -> None:
    asked = []

    def answer(prompt: str, password: bool) -> str:
        asked.append((prompt, password))
        return "secret"

    ran = book.remote("import getpass\ngetpass.getpass('key: ') == 'secret'", answer=answer, allow_stdin=True)
    assert (asked, ran.result) == ([("key: ", True)], "True")


@pytest.mark.parametrize("above", ["%%remote", "%%timeit -n1 -r1\n%%remote"], ids=["awaited", "nested"])
def test_a_cell_asks_several_times(book: Notebook, above: str) -> None:
    answers = iter("abc")
    ran = book.run(
        f"{above}\nprint(*[input() for _ in range(3)])", answer=lambda *_: next(answers), allow_stdin=True
    )
    assert ran.text.startswith("a b c\n")


def test_output_flows_while_a_question_waits(book: Notebook) -> None:
    code = "import threading\nthreading.Timer(0.3, print, ('beside',)).start()\nprint(input('begun'))"
    request = book.send(f"%%remote\n{code}", allow_stdin=True)
    book.wait(request, until=lambda ran: "beside" in ran.text)
    assert book.wait(request, answer=lambda *_: "answered").text == "answered\n"


def test_an_interrupt_at_the_question_interrupts_the_cell(book: Notebook) -> None:
    request = book.send("%%remote\nprint('begun')\ninput()", allow_stdin=True)
    book.client.get_stdin_msg(timeout=30)
    book.interrupt()
    assert book.wait(request).error.startswith("KeyboardInterrupt")
    assert book.remote("input()", answer=lambda *_: "next", allow_stdin=True).result == "'next'"


def test_a_frontend_that_answers_nothing_is_not_asked(book: Notebook) -> None:
    here, there = book.run("input()", allow_stdin=False), book.remote("input()", allow_stdin=False)
    assert there.error == here.error != ""


# -- the button -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["time.sleep(90)", "while True: pass", "import asyncio; await asyncio.sleep(90)"]
)
@pytest.mark.parametrize("above", ["%%remote", "%%timeit -n1 -r1\n%%remote"], ids=["awaited", "nested"])
def test_an_interrupt_ends_the_cell_and_keeps_its_variables(book: Notebook, code: str, above: str) -> None:
    request = begin(book, f"kept = 1\nprint('begun')\n{code}", above)
    book.interrupt()
    ran = book.wait(request)
    assert len(ran.of("error")) == 1 and ran.reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert book.remote("kept").result == "1"


def test_a_cell_may_swallow_an_interrupt(book: Notebook) -> None:
    request = begin(book, STUBBORN.replace("< 3", "< 1"))
    book.interrupt()
    ran = book.wait(request)
    assert (ran.text, ran.error) == ("press 1\nover\n", "")


@pytest.mark.parametrize("above", ["%%remote", "%%timeit -n1 -r1\n%%remote"], ids=["awaited", "nested"])
def test_a_third_press_leaves_a_cell_that_does_not_react(book: Notebook, above: str) -> None:
    request = begin(book, STUBBORN, above)
    for press in (1, 2):
        book.interrupt()
        book.wait(request, until=lambda ran, press=press: f"press {press}" in ran.text)
    book.interrupt()
    ran = book.wait(request)
    assert "it was left running" in ran.error and "%remote attach" in ran.error
    book.remote("pass")


# -- launches and transfers -------------------------------------------------------------------------------


def processes_of(state: Path) -> list[psutil.Process]:
    """Return the processes that name the state folder in their command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(state) in " ".join(p.info["cmdline"] or ())]


@pytest.mark.parametrize("phase", ["creating", "booting", "preparing", "starting the kernel"])
def test_an_interrupt_during_the_launch_leaves_nothing_behind(tmp_path: Path, phase: str) -> None:
    with notebook(tmp_path) as opened:
        request = opened.send("%%remote\nprint('ran')")
        opened.wait(request, until=lambda ran: phase in str(ran.messages))
        opened.interrupt()
        ran = opened.wait(request)
        registry = Registry()
        assert ran.error.startswith("KeyboardInterrupt") and "jupyter_gpu_remote/" not in str(ran.of("error"))
        assert [m for m in registry.machines() if not m.state.final] == []
        registry.close()
        state = Path(os.environ["JUPYTER_GPU_REMOTE_DIR"])
        wait_for(lambda: not processes_of(state), "the machine's processes to end")
        assert opened.remote("print('ran')").text == "ran\n"


def test_an_interrupt_while_files_go_out_keeps_what_is_there(book: Notebook) -> None:
    large = book.folder / "large"
    book.remote("kept = 1")
    with large.open("wb") as file:
        file.truncate(3 << 30)
    request = book.send("%%remote\nprint('ran')")
    book.wait(request, until=lambda ran: "█" in str(ran.messages) or "░" in str(ran.messages) or ran.reply)
    book.interrupt()
    ran: Ran = book.wait(request)
    large.unlink()
    assert (ran.text, ran.error.partition(":")[0]) == ("", "KeyboardInterrupt")
    assert book.remote("kept").result == "1"
