"""``%%remote`` among other magics, with its options, and where IPython runs it otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import Notebook, Ran, delete_all_machines


def status_of(book: Notebook, code: str) -> str:
    """Return what the kernel says when asked whether `code` is complete."""
    request = book.client.is_complete(code)
    while True:
        reply: dict[str, Any] = book.client.get_shell_msg(timeout=30)
        if reply["parent_header"]["msg_id"] == request:
            return str(reply["content"]["status"])


# -- other magics -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["\n\n", "# why\n", "\n# why\n\n"])
def test_blank_lines_and_comments_may_stand_above_it(book: Notebook, top: str) -> None:
    assert book.run(f"{top}%%remote\nprint(1)").text == "1\n"


def test_time_above_it_tells_how_long_it_took(book: Notebook) -> None:
    first, second = book.run("%%time\n%%remote\nprint(1)").text.splitlines()
    assert first == "1" and second.startswith("Wall time: ")


def test_capture_above_it_takes_all_outputs(book: Notebook) -> None:
    ran = book.run("%%capture out\n%%remote\nprint(1); print(2, file=sys.stderr); display(3)\n4")
    assert [m["msg_type"] for m in ran.messages] == ["status", "execute_input", "status"]
    shown = book.run("out.stdout, out.stderr, [o.data['text/plain'] for o in out.outputs]").result
    assert shown == r"('1\n', '2\n', ['3', '4'])"


def test_capture_leaves_out_what_it_is_told_to(book: Notebook) -> None:
    ran = book.run("%%capture --no-stderr out\n%%remote\nprint(1); print(2, file=sys.stderr)")
    assert (ran.text, ran.stream("stderr"), book.run("out.stdout").result) == ("", "2\n", r"'1\n'")


def test_time_above_capture_prints_and_capture_above_time_does_not(book: Notebook) -> None:
    outside = book.run("%%time\n%%capture\n%%remote\nprint(1)")
    inside = book.run("%%capture\n%%time\n%%remote\nprint(1)")
    assert (outside.text[:4], inside.text) == ("Wall", "")


def test_a_captured_cell_shows_its_error(book: Notebook) -> None:
    ran = book.run("%%capture out\n%%remote\nprint(1)\n1/0")
    assert [e["ename"] for e in ran.of("error")] == ["ZeroDivisionError"]
    assert book.run("out.stdout").result == r"'1\n'"


def test_what_alone_is_redirected_goes_there_alone(book: Notebook) -> None:
    ran = book.run(
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    get_ipython().run_cell_magic('remote', '', 'print(1); display(2)')\n"
        "out.getvalue()"
    )
    (shown,) = ran.of("display_data")
    assert (ran.text, shown["data"]["text/plain"], ran.result) == ("", "2", r"'1\n'")


@pytest.mark.parametrize("top", ["%%prun -q", "%%timeit -n1 -r1", "%%time --no-raise-error"])
def test_it_runs_inside_another_magic(book: Notebook, top: str) -> None:
    assert book.run(f"{top}\n%%remote\nprint('ran')").text.startswith("ran\n")


def test_it_runs_from_code(book: Notebook) -> None:
    assert book.run("get_ipython().run_cell('%%remote\\nprint(1)');").text == "1\n"


def test_it_runs_where_await_is_switched_off(book: Notebook) -> None:
    book.run("%autoawait off")
    ran = book.remote("print(1)")
    book.run("%autoawait on")
    assert ran.text == "1\n"


@pytest.mark.parametrize("top", ["%%time", "%%capture out"])
def test_another_magic_runs_inside_it(book: Notebook, top: str) -> None:
    assert not book.remote(f"{top}\npass").error


def test_it_may_await(book: Notebook) -> None:
    assert book.remote("import asyncio\nawait asyncio.sleep(0, 'slept')").result == "'slept'"


@pytest.mark.parametrize("code", ["%%remote\nfor i in x:", "%%remote\nprint(1)\n\n", "%%remote"])
def test_it_is_as_complete_as_any_cell_magic(book: Notebook, code: str) -> None:
    assert status_of(book, code) == status_of(book, code.replace("remote", "time"))


# -- options ----------------------------------------------------------------------------------------------


def told(ran: Ran) -> str:
    """Return the only error of a cell, which must be a message and nothing else."""
    (error,) = ran.of("error")
    assert "\n".join(error["traceback"]) == f"{error['ename']}: {error['evalue']}"
    assert ran.reply["status"] == "error"
    return ran.error


def test_help_is_printed(book: Notebook) -> None:
    ran = book.remote("print('ran')", "--help")
    assert "--max-price" in ran.text and "ran\n" not in ran.text and not ran.error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--gpuu A100", "Did you mean --gpu?"),
        ("--cpus many", "--cpus needs a whole number, not negative, not 'many'."),
        ("--gpu A1OO", "There is no GPU called 'A1OO'"),
        ("--on nowhere", "There is no machine called 'nowhere'."),
        ("--gpu", "--gpu needs a value."),
        ('"', "The options cannot be read"),
    ],
)
def test_a_wrong_option_is_told_in_one_error(book: Notebook, options: str, words: str) -> None:
    assert words in told(book.remote("print('ran')", options))


def test_our_own_traceback_is_shown_on_demand(book: Notebook) -> None:
    (error,) = book.remote("pass", "--debug --on nowhere").of("error")
    assert "jupyter_gpu_remote" in "\n".join(error["traceback"])


# -- the extension ----------------------------------------------------------------------------------------


def test_a_reset_of_the_local_variables_does_not_break_it(book: Notebook) -> None:
    book.run("%reset -f")
    assert book.remote("print(1)").text == "1\n"


def test_a_reload_keeps_the_remote_variables(book: Notebook) -> None:
    book.remote("kept = 1")
    book.run("%reload_ext jupyter_gpu_remote")
    assert book.remote("kept").result == "1"


def test_unloaded_it_is_gone_and_loaded_again_it_is_back(book: Notebook) -> None:
    book.remote("kept = 2")
    book.run("%unload_ext jupyter_gpu_remote")
    assert "not found" in book.remote("kept").stream("stderr")
    assert len(book.run("1/0").of("error")) == 1
    book.run("%load_ext jupyter_gpu_remote")
    assert book.remote("kept").result == "2"


# -- without a kernel -------------------------------------------------------------------------------------


def test_it_runs_in_ipython_without_a_kernel(tmp_path: Path) -> None:
    script = tmp_path / "cells.ipy"
    script.write_text(
        "%load_ext jupyter_gpu_remote\n"
        "shell = get_ipython()\n"
        "def remote(code): shell.run_cell('%%remote\\n' + code)\n"
        "remote('print(1)\\ndisplay(2)\\n3')\n"
        "remote('len?')\n"
        "remote('input(\"really? \")')\n"
        "remote('1/0')\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "IPython", "--no-banner", script],
            cwd=tmp_path,
            input="yes\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        delete_all_machines()
    assert "1\n2\n3\n" in done.stdout
    assert "Return the number of items in a container." in done.stdout
    assert "really? 'yes'" in done.stdout
    assert done.stdout.count("division by zero") == 1
