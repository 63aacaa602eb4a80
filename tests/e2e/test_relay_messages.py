"""What frontends and the remote kernel tell each other through the kernel "Python (remote GPU)"."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest
from jupyter_client import BlockingKernelClient

from jupyter_gpu_remote.registry import Registry
from tests.conftest import wait_for
from tests.notebooks import LIMIT, Notebook, Ran, notebook

from .frontend import Debugger, answer, ask, collect, heard, run_all, send, statuses

SLIDER = "import ipywidgets; s = ipywidgets.IntSlider(); display(s); s.model_id"


@pytest.fixture(scope="module")
def nb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """Give one notebook to all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        with notebook(tmp_path_factory.mktemp("work"), kernel_name="gpu-remote") as opened:
            yield opened


@pytest.fixture(autouse=True)
def own_state() -> None:
    """Keep the state folder of the notebook."""


REQUESTS = {
    "execute_request": {"code": "1", "silent": False},
    "complete_request": {"code": "prin", "cursor_pos": 4},
    "inspect_request": {"code": "print", "cursor_pos": 5, "detail_level": 0},
    "history_request": {"hist_access_type": "tail", "n": 3, "raw": True, "output": False},
    "is_complete_request": {"code": "1"},
    "comm_info_request": {},
    "kernel_info_request": {},
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_each_request_is_busy_once_and_idle_once(nb: Notebook, kind: str) -> None:
    assert statuses(nb, send(nb, kind, REQUESTS[kind])) == ["busy", "idle"]


def test_a_cell_that_fails_is_busy_once_and_idle_once(nb: Notebook) -> None:
    assert statuses(nb, nb.send("1/0")) == ["busy", "idle"]


def test_names_of_the_remote_kernel_are_completed(nb: Notebook) -> None:
    nb.run("a_long_name_over_there = 1")
    reply = ask(nb, "complete_request", {"code": "a_long_na", "cursor_pos": 9})
    assert "a_long_name_over_there" in reply["matches"]


def test_the_docstring_of_a_remote_function_is_found(nb: Notebook) -> None:
    nb.run("def documented():\n    'What it is for.'")
    reply = ask(nb, "inspect_request", {"code": "documented", "cursor_pos": 10, "detail_level": 0})
    assert "What it is for." in reply["data"]["text/plain"]


def test_cells_run_in_the_order_in_which_they_were_sent(nb: Notebook) -> None:
    nb.run("order = []")
    counts = [r.reply["execution_count"] for r in run_all(nb, *(f"order.append({n})" for n in range(10)))]
    assert nb.run("order").result == str(list(range(10)))
    assert counts == list(range(counts[0], counts[0] + 10))


def test_an_error_stops_the_cells_that_were_sent_after_it(nb: Notebook) -> None:
    replies = [ran.reply["status"] for ran in run_all(nb, "ran = 1", "1/0", "ran = 2", "ran = 3")]
    assert replies == ["ok", "error", "aborted", "aborted"]
    assert nb.run("ran").result == "1"


def test_an_error_of_ours_stops_the_cells_that_were_sent_after_it(nb: Notebook) -> None:
    cells = run_all(nb, "ran = 1", "%%remote --gpu H1OO\nran = 2", "ran = 3")
    replies = [ran.reply["status"] for ran in cells]
    assert replies == ["ok", "error", "aborted"]
    assert nb.run("ran").result == "1"


def test_cells_go_on_after_an_error_where_the_frontend_wants_that(nb: Notebook) -> None:
    sent = {nb.send("1/0", stop_on_error=False): Ran(), nb.send("5"): Ran()}
    collect(nb, sent)
    assert [ran.reply["status"] for ran in sent.values()] == ["error", "ok"]


def test_a_question_is_answered(nb: Notebook) -> None:
    ran = nb.run("print('you are ' + input('who? '))", answer=lambda prompt, _: f"<{prompt}>")
    assert "you are <who? >" in ran.text


def test_a_password_is_asked_for_as_one(nb: Notebook) -> None:
    code = "from getpass import getpass; p = getpass('word: ')"
    asked = []
    nb.run(code, answer=lambda prompt, password: asked.append((prompt, password)) or "secret")
    assert asked == [("word: ", True)]
    assert nb.run("p").result == "'secret'"


def test_two_frontends_share_the_kernel(nb: Notebook) -> None:
    other = BlockingKernelClient(connection_file=nb.manager.connection_file)
    other.load_connection_file()
    other.start_channels()
    try:
        other.wait_for_ready(30)
        mine = nb.send("shared = 1; input('mine? ')")
        nb.wait(mine, until=lambda ran: ran.of("execute_input"))
        theirs = other.execute("shared += 1; input('theirs? ')")
        ran = nb.wait(mine, answer=lambda prompt, _: "a")
        assert ran.result == "'a'"
        assert other.get_stdin_msg(timeout=30)["content"]["prompt"] == "theirs? "
        other.input("b")
        assert other.get_shell_msg(timeout=30)["parent_header"]["msg_id"] == theirs
        assert nb.run("shared").result == "2"
    finally:
        other.stop_channels()


def test_a_slider_moves(nb: Notebook) -> None:
    model = nb.run(SLIDER).result.strip("'")
    change = {"comm_id": model, "data": {"method": "update", "state": {"value": 7}, "buffer_paths": []}}
    assert statuses(nb, send(nb, "comm_msg", change)) == ["busy", "idle"]
    assert nb.run("s.value").result == "7"


def test_a_slider_moves_while_a_cell_runs(nb: Notebook) -> None:
    model = nb.run(SLIDER).result.strip("'")
    subshell = ask(nb, "create_subshell_request", {}, "control")["subshell_id"]
    running = nb.send("import time\nwhile s.value != 9: time.sleep(0.01)\nprint('moved')")
    nb.wait(running, until=lambda ran: ran.of("execute_input"))
    change = {"comm_id": model, "data": {"method": "update", "state": {"value": 9}, "buffer_paths": []}}
    send(nb, "comm_msg", change, subshell_id=subshell)
    assert "moved" in nb.wait(running).text
    assert ask(nb, "delete_subshell_request", {"subshell_id": subshell}, "control")["status"] == "ok"


def test_a_reloaded_page_finds_its_widgets(nb: Notebook) -> None:
    model = nb.run(SLIDER).result.strip("'")
    assert model in ask(nb, "comm_info_request", {"target_name": "jupyter.widget"})["comms"]


def test_the_debugger_stops_at_a_breakpoint_and_shows_variables(nb: Notebook) -> None:
    debugger = Debugger(nb)
    code = "def f(x):\n    y = x * 2\n    return y\nf(21)"
    assert not debugger.ask("debugInfo")["body"]["isStarted"]
    assert debugger.ask("initialize", clientID="test", adapterID="debugpy", pathFormat="path")["success"]
    assert debugger.ask("attach", justMyCode=False)["success"]
    source = debugger.ask("dumpCell", code=code)["body"]["sourcePath"]
    points = debugger.ask("setBreakpoints", source={"path": source}, breakpoints=[{"line": 3}])
    assert points["body"]["breakpoints"][0]["verified"]
    debugger.ask("configurationDone")
    running = nb.send(code)
    thread = debugger.event("stopped")["threadId"]
    frame = debugger.ask("stackTrace", threadId=thread)["body"]["stackFrames"][0]
    assert (frame["name"], frame["line"]) == ("f", 3)
    scope = debugger.ask("scopes", frameId=frame["id"])["body"]["scopes"][0]
    found = debugger.ask("variables", variablesReference=scope["variablesReference"])["body"]["variables"]
    assert {v["name"]: v["value"] for v in found}.items() >= {"x": "21", "y": "42"}.items()
    debugger.ask("continue", threadId=thread)
    assert answer(nb, running)["status"] == "ok"
    assert debugger.ask("disconnect")["success"]


def test_files_go_out_before_a_cell_and_come_back_after_it(nb: Notebook) -> None:
    (nb.folder / "in.txt").write_text("from here")
    nb.run("text = open('in.txt').read(); open('out.txt', 'w').write(text + ', from there')")
    assert (nb.folder / "out.txt").read_text() == "from here, from there"


def test_a_file_saved_while_a_cell_runs_is_there_for_the_next_one(nb: Notebook) -> None:
    first = nb.send("input('go? ')")
    nb.wait(first, until=lambda ran: ran.of("execute_input"))
    second = Ran()
    sent = {nb.send("open('late.txt').read()"): second}
    (nb.folder / "late.txt").write_text("saved late")
    nb.client.get_stdin_msg(timeout=LIMIT)
    nb.client.input("")
    collect(nb, sent)
    assert second.result == "'saved late'"


def test_verbs_are_carried_out_here(nb: Notebook) -> None:
    (machine,) = Registry().machines()
    assert machine.name in nb.run("%remote list").text
    assert machine.name in nb.run("# mine\n%remote\n").text


def test_several_verbs_may_stand_in_one_cell(nb: Notebook) -> None:
    text = nb.run("%remote list\n%remote cost").text
    assert len(text.splitlines()) > 2


def test_an_unknown_verb_is_named_with_the_one_that_was_meant(nb: Notebook) -> None:
    assert "Did you mean list?" in nb.run("%remote lsit").error


def test_verbs_among_other_code_are_refused_with_a_way_out(nb: Notebook) -> None:
    ran = nb.run("mixed = 1\n%remote list")
    assert "Put the %remote lines into a cell of their own." in ran.error
    assert nb.run("'mixed' in globals()").result == "False"


def test_a_string_that_looks_like_a_verb_is_left_alone(nb: Notebook) -> None:
    assert nb.run("'''\n%remote list\n'''").result == repr("\n%remote list\n")


def test_a_cell_written_for_the_magic_runs(nb: Notebook) -> None:
    nb.run("%load_ext jupyter_gpu_remote")
    nb.run("%%time\n%%remote\nfrom_the_magic = 1")
    assert nb.run("%%remote --cloud local\nfrom_the_magic + 1").result == "2"


def test_the_help_of_the_magic_is_shown(nb: Notebook) -> None:
    assert "--max-price" in nb.run("%%remote --help\n").text


def test_a_wrong_option_of_the_magic_is_named(nb: Notebook) -> None:
    ran = nb.run("%%remote --gpuu A100\nx = 1")
    assert "--gpuu" in ran.error
    assert "Did you mean --gpu?" in ran.error


def test_an_interrupt_message_interrupts_the_cell(nb: Notebook) -> None:
    running = nb.send("kept = 1\nprint('begun', flush=True)\nimport time; time.sleep(600)")
    nb.wait(running, until=lambda ran: "begun" in ran.text)
    nb.interrupt()
    assert nb.wait(running).reply["ename"] == "KeyboardInterrupt"
    assert nb.run("kept").result == "1"


def test_ctrl_c_interrupts_the_cell(nb: Notebook) -> None:
    running = nb.send("print('begun', flush=True)\nimport time; time.sleep(600)")
    nb.wait(running, until=lambda ran: "begun" in ran.text)
    relay_process(nb).send_signal(2)
    assert nb.wait(running).reply["ename"] == "KeyboardInterrupt"


def test_an_interrupt_of_an_idle_kernel_does_nothing(nb: Notebook) -> None:
    nb.interrupt()
    relay_process(nb).send_signal(2)
    assert nb.run("6 * 7").result == "42"


def test_junk_from_a_frontend_does_not_end_the_kernel(nb: Notebook) -> None:
    nb.client.shell_channel.socket.send_multipart([b"<IDS|MSG>", b"unsigned", b"{}", b"{}", b"{}", b"{}"])
    nb.client.shell_channel.socket.send_multipart([b"nothing at all"])
    send(nb, "complete_request", {})
    assert nb.run("1").result == "1"


def test_a_flood_of_outputs_arrives_in_order(nb: Notebook) -> None:
    ran = nb.run("for n in range(20_000): print(n)")
    assert ran.text.split() == [str(n) for n in range(20_000)]


def test_nothing_piles_up_from_cell_to_cell(nb: Notebook) -> None:
    def used() -> tuple[int, int]:
        return process.num_threads(), process.num_fds()

    process = relay_process(nb)
    nb.run("1")
    before = used()
    for n in range(20):
        nb.run(f"open('file{n % 2}', 'w').write('{n}')")
    wait_for(lambda: used() <= before, f"threads and files of the relay to be {before}")


def test_the_heartbeat_beats_while_a_cell_runs(nb: Notebook) -> None:
    running = nb.send("input('wait ')")
    nb.wait(running, until=lambda ran: ran.of("execute_input"))
    nb.client.hb_channel.unpause()
    beat = time.monotonic()
    wait_for(lambda: nb.client.hb_channel.is_beating() and time.monotonic() > beat, "a heartbeat")
    nb.wait(running, answer=lambda *_: "")


def relay_process(nb: Notebook) -> psutil.Process:
    """Return the kernel process on this side."""
    return psutil.Process(nb.manager.provisioner.pid)


def test_late_output_of_a_thread_finds_its_cell(nb: Notebook) -> None:
    code = "import threading, sys\nevent = threading.Event()\n"
    code += "def late(): event.wait(); print('late', flush=True)\n"
    request = nb.send(code + "threading.Thread(target=late).start()")
    nb.wait(request)
    nb.send("event.set()")
    assert heard(nb, "stream")["content"]["text"].strip() == "late"
