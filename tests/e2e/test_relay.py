"""What a cell prints and shows over there appears here, as if it had run here."""

from __future__ import annotations

import pytest

from tests.notebooks import Notebook, Ran


def shown(ran: Ran) -> list[tuple[str, str]]:
    """Return what a frontend puts under the cell: kind and text, neighbouring parts of a stream merged."""
    found: list[tuple[str, str]] = []
    for message in ran.messages:
        content, kind = message["content"], message["msg_type"]
        if kind == "stream":
            kind, text = content["name"], content["text"]
            if found and found[-1][0] == kind:
                text = found.pop()[1] + text
        elif kind in ("display_data", "execute_result", "update_display_data"):
            text = content["data"]["text/plain"]
        elif kind == "error":
            text = content["ename"]
        elif kind == "clear_output":
            text = "wait" if content["wait"] else "now"
        else:
            continue
        found.append((kind, text))
    return found


# -- order and time ---------------------------------------------------------------------------------------


def test_a_line_arrives_while_the_cell_runs(book: Notebook) -> None:
    request = book.send("%%remote\nprint('first')\ninput()", allow_stdin=True)
    ran = book.wait(request, until=lambda ran: "first" in ran.text)
    assert not ran.reply
    book.wait(request, answer=lambda *_: "")


def test_what_is_printed_and_shown_keeps_its_order(book: Notebook) -> None:
    ran = book.remote("print(1)\nprint(2, file=sys.stderr)\ndisplay(3)\nprint(4)\n5")
    assert shown(ran) == [
        ("stdout", "1\n"),
        ("stderr", "2\n"),
        ("display_data", "3"),
        ("stdout", "4\n"),
        ("execute_result", "5"),
    ]


def test_what_is_printed_here_before_and_after_a_nested_cell_keeps_its_place(book: Notebook) -> None:
    ran = book.run(
        "print('before')\nget_ipython().run_cell_magic('remote', '', 'display(1)')\nprint('after')"
    )
    assert shown(ran) == [("stdout", "before\n"), ("display_data", "1"), ("stdout", "after\n")]


def test_a_thread_prints_in_its_cell_after_the_cells_end(book: Notebook) -> None:
    request = book.send("%%remote\nimport threading\nthreading.Timer(0.5, print, ('late',)).start()")
    assert "late" not in book.wait(request).text
    assert book.wait(request, until=lambda ran: "late" in ran.text).text == "late\n"


def test_a_display_is_updated_from_a_later_cell(book: Notebook) -> None:
    first = book.remote("handle = display('one', display_id='shared')")
    later = book.remote("handle.update('two')")
    ids = [c["transient"]["display_id"] for c in first.of("display_data") + later.of("update_display_data")]
    assert (ids, shown(later)) == (["shared"] * 2, [("update_display_data", "'two'")])


def test_output_is_cleared_where_the_cell_clears_it(book: Notebook) -> None:
    ran = book.remote(
        "from IPython.display import clear_output as clear\nprint(1)\nclear(wait=True)\nprint(2)\nclear()"
    )
    assert shown(ran) == [
        ("stdout", "1\n"),
        ("clear_output", "wait"),
        ("stdout", "2\n"),
        ("clear_output", "now"),
    ]


def test_a_result_bears_the_number_of_the_local_cell(book: Notebook) -> None:
    ran = book.remote("1")
    (result,) = ran.of("execute_result")
    assert result["execution_count"] == ran.reply["execution_count"]


# -- errors -----------------------------------------------------------------------------------------------


def test_an_error_is_shown_once_and_is_the_reply(book: Notebook) -> None:
    ran = book.remote("print(1)\n{}['key']")
    assert (shown(ran), ran.error) == ([("stdout", "1\n"), ("error", "KeyError")], "KeyError: 'key'")


def test_an_error_shows_the_remote_traceback_alone(book: Notebook) -> None:
    (error,) = book.remote("def deep():\n    raise ValueError('no')\ndeep()").of("error")
    text = "\n".join(error["traceback"])
    assert "deep" in text and "jupyter_gpu_remote" not in text


def test_an_error_in_a_nested_cell_is_shown_once(book: Notebook) -> None:
    ran = book.run("get_ipython().run_cell_magic('remote', '', '1/0')")
    assert (shown(ran), ran.reply["status"]) == ([("error", "ZeroDivisionError")], "error")


def test_an_error_that_is_caught_here_is_not_shown(book: Notebook) -> None:
    ran = book.run(
        "try: get_ipython().run_cell_magic('remote', '', '1/0')\n"
        "except Exception as e: print(type(e).__name__)"
    )
    assert shown(ran) == [("stdout", "ZeroDivisionError\n")]


def test_cells_that_wait_are_aborted_after_an_error(book: Notebook) -> None:
    requests = [book.send(f"%%remote\n{code}") for code in ("1/0", "print('ran')")]
    requests.append(book.send("print('ran')"))
    replies = {
        r["parent_header"]["msg_id"]: r["content"] for r in (book.client.get_shell_msg(60) for _ in requests)
    }
    assert [replies[request]["status"] for request in requests] == ["error", "aborted", "aborted"]
    book.run("pass")


# -- what a cell asks of the frontend ---------------------------------------------------------------------


def test_help_goes_to_the_pager(book: Notebook) -> None:
    (payload,) = book.remote("len?").reply["payload"]
    assert payload["source"] == "page" and "Return the number of items" in payload["data"]["text/plain"]


def test_loaded_code_replaces_the_cell(book: Notebook) -> None:
    (book.folder / "load_me.py").write_text("loaded = 1\n")
    (payload,) = book.remote("%load load_me.py").reply["payload"]
    assert payload == {
        "source": "set_next_input",
        "text": "# %load load_me.py\nloaded = 1\n",
        "replace": True,
    }


def test_exit_ends_the_remote_kernel_and_not_the_local_one(book: Notebook) -> None:
    book.run("here = 1")
    book.remote("there = 1")
    ran = book.remote("exit()")
    assert "ended the remote kernel" in ran.stream("stderr")
    assert (
        book.remote("print('there' in dir(), 'exit' in dir())\nimport os, sys, time").text == "False True\n"
    )
    assert book.run("here").result == "1"


# -- size -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (
            "from IPython.display import display\ndisplay({'text/plain': 'x' * SIZE}, raw=True)",
            "display_data",
        ),
        ("for _ in range(SIZE // 1000): print('x' * 999)", "stream"),
    ],
    ids=["display", "prints"],
)
def test_100_mb_arrive_complete(book: Notebook, code: str, kind: str) -> None:
    ran = book.remote(f"SIZE = 100_000_000\n{code}")
    text = ran.of("display_data")[0]["data"]["text/plain"] if kind == "display_data" else ran.text
    assert not ran.error and len(text) == 100_000_000
