"""The life of the kernel "Python (remote GPU)": launches, interrupts, restarts, deaths."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from jupyter_gpu_remote.config import load_settings
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.registry import Registry
from tests.conftest import wait_for
from tests.fake_cloud import FakeProvider
from tests.notebooks import Notebook, Ran, delete_all_machines, notebook

from .frontend import ask, collect, send, write_config

KERNEL = "gpu-remote"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Give the folder of a notebook."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def nb(work: Path) -> Iterator[Notebook]:
    """Give a notebook whose machine is ready."""
    with notebook(work, kernel_name=KERNEL) as opened:
        yield opened


@contextmanager
def nowhere() -> Iterator[str]:
    """Give an SSH destination that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"someone@127.0.0.1:{server.getsockname()[1]}"


def relay(nb: Notebook) -> psutil.Process:
    return psutil.Process(nb.manager.provisioner.pid)


def ended(pid: int) -> bool:
    """Return whether a process has ended."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def shown(ran: Ran) -> list[str]:
    """Return what the status line of a cell has said."""
    kinds = ("display_data", "update_display_data")
    return [m["content"]["data"]["text/plain"] for m in ran.messages if m["msg_type"] in kinds]


def start_again(nb: Notebook) -> Notebook:
    """Start the kernel's process anew with the same connection file, as Jupyter does after a crash."""
    nb.manager.restart_kernel(now=True)
    nb.client.wait_for_ready(30)
    return nb


# -- the launch ---------------------------------------------------------------------------------------


@pytest.fixture
def launching(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Notebook, Path]]:
    """Give a notebook whose machine does not come up, and the settings that say so."""
    with ExitStack() as stack:
        destination = stack.enter_context(nowhere())
        config = write_config(monkeypatch, tmp_path / "config", cloud="ssh", on=destination)
        yield stack.enter_context(closing(Notebook(work, KERNEL))), config


def test_everything_is_answered_while_the_machine_comes_up(launching: tuple[Notebook, Path]) -> None:
    nb, _ = launching
    assert ask(nb, "kernel_info_request", {})["supported_features"] == ["debugger", "kernel subshells"]
    assert ask(nb, "complete_request", {"code": "pri", "cursor_pos": 3})["matches"] == []
    assert not ask(nb, "inspect_request", {"code": "int", "cursor_pos": 3, "detail_level": 0})["found"]
    assert ask(nb, "history_request", {"hist_access_type": "tail"})["history"] == []
    assert ask(nb, "is_complete_request", {"code": "for x in y:"})["status"] == "incomplete"
    assert ask(nb, "comm_info_request", {})["comms"] == {}
    wait_for(lambda: Registry().machines(), "the launch to begin")


def test_the_first_cell_shows_the_launch_and_an_interrupt_undoes_it(launching: tuple[Notebook, Path]) -> None:
    nb, config = launching
    first = nb.send("1")
    nb.wait(first, until=lambda ran: any("connecting" in text for text in shown(ran)))
    second = nb.send("2")
    cells = {first: Ran(), second: Ran()}
    nb.interrupt()
    collect(nb, cells)
    assert cells[first].reply["ename"] == "KeyboardInterrupt"
    assert cells[second].reply["status"] == "aborted"
    assert Registry().machines() == []
    config.write_text("")
    assert nb.run("6 * 7").result == "42"
    delete_all_machines()


def test_what_asks_for_the_remote_kernel_waits_for_it_or_learns_that_it_did_not_come(
    launching: tuple[Notebook, Path],
) -> None:
    nb, _ = launching
    cell = nb.send("1")
    nb.wait(cell, until=shown)
    debugging = send(
        nb, "debug_request", {"type": "request", "seq": 1, "command": "debugInfo", "arguments": {}}, "control"
    )
    nb.interrupt()
    while (reply := nb.client.get_control_msg(timeout=30))["parent_header"]["msg_id"] != debugging:
        pass
    assert "Run a cell" in reply["content"]["evalue"]


def test_ctrl_c_undoes_the_launch(launching: tuple[Notebook, Path]) -> None:
    nb, _ = launching
    cell = nb.send("1")
    nb.wait(cell, until=shown)
    relay(nb).send_signal(signal.SIGINT)
    assert nb.wait(cell).reply["ename"] == "KeyboardInterrupt"
    assert Registry().machines() == []


def test_a_shutdown_undoes_the_launch(launching: tuple[Notebook, Path]) -> None:
    nb, _ = launching
    wait_for(lambda: Registry().machines(), "the launch to begin")
    nb.manager.shutdown_kernel()
    assert Registry().machines() == []


def test_a_termination_signal_undoes_the_launch(launching: tuple[Notebook, Path]) -> None:
    nb, _ = launching
    wait_for(lambda: Registry().machines(), "the launch to begin")
    process = relay(nb)
    process.terminate()
    process.wait(30)
    assert Registry().machines() == []


def test_a_gpu_that_nobody_has_is_an_error_with_a_way_on_until_the_settings_are_mended(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(monkeypatch, tmp_path / "config", gpu="H100", cloud="")
    with notebook(work, kernel_name=KERNEL) as nb:
        assert "--cloud local --gpu H100" in nb.run("1").error
        config.write_text("c.GpuRemote.gpu = 'H1000'")
        assert "Did you mean H100" in nb.run("1").error
        config.write_text("c.GpuRemote.gpu =")
        assert "Mend that file" in nb.run("1").error
        config.write_text("")
        assert nb.run("6 * 7").result == "42"


def test_a_notebook_that_is_only_opened_rents_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(monkeypatch, tmp_path / "config", gpu="T4", cloud="fake", ingress="192.0.2.9")
    spec = tmp_path / "share" / "kernels" / "rents"
    spec.mkdir(parents=True)
    code = (
        "import pytest; from tests.fake_cloud import FakeProvider, install;"
        "install(pytest.MonkeyPatch(), FakeProvider);"
        "from jupyter_gpu_remote.kernelapp import main; main()"
    )
    argv = [sys.executable, "-c", code, "-f", "{connection_file}"]
    fields = {"argv": argv, "display_name": "", "language": "python", "interrupt_mode": "message"}
    (spec / "kernel.json").write_text(json.dumps(fields))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with closing(Notebook(work, "rents")) as nb:
        # which waits for a machine that is on its way
        assert ask(nb, "list_subshell_request", {}, "control")["status"] == "error"
        assert Registry().machines(ended=True) == []
        cell = nb.send("1")
        wait_for(FakeProvider.rented, "a cell to rent a machine")
        nb.interrupt()
        assert nb.wait(cell).reply["ename"] == "KeyboardInterrupt"
        assert FakeProvider.rented() == {}


# -- restarts -----------------------------------------------------------------------------------------


def test_a_restart_gives_a_fresh_kernel_on_the_same_machine(nb: Notebook) -> None:
    nb.run("x = 1")
    nb.manager.restart_kernel()
    nb.client.wait_for_ready(30)
    assert nb.run("'x' in globals()").result == "False"
    assert len(Registry().machines(ended=True)) == 1


def test_a_restart_ends_a_cell_that_ignores_everything(nb: Notebook) -> None:
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True)"
    nb.wait(nb.send(f"x = 1; {code}\nwhile True: time.sleep(1)"), until=lambda ran: ran.text)
    nb.manager.restart_kernel()
    nb.client.wait_for_ready(30)
    assert nb.run("'x' in globals()").result == "False"


def test_a_shutdown_ends_the_remote_kernel_and_leaves_the_machine(nb: Notebook) -> None:
    pid = int(nb.run("import os; os.getpid()").result)
    nb.manager.shutdown_kernel()
    wait_for(lambda: ended(pid), "the remote kernel to end")
    assert len(Registry().machines()) == 1


def test_the_variables_outlive_the_kernel_process_on_this_side(nb: Notebook) -> None:
    nb.run("x = 42")
    relay(nb).kill()
    start_again(nb)
    assert nb.run("x").result == "42"


def test_a_cell_that_ran_when_the_process_on_this_side_died_can_be_seen_again(nb: Notebook) -> None:
    code = "print('before')\nanswer = input('go? ')\nprint('after', answer)"
    nb.wait(nb.send(code), until=lambda ran: "before" in ran.text)
    relay(nb).kill()
    start_again(nb)
    ran = nb.run("%remote attach", answer=lambda prompt, _: prompt.strip())
    assert ran.text.split() == ["before", "after", "go?"]
    assert nb.run("answer").result == "'go?'"


def test_there_may_be_nothing_to_attach_to(nb: Notebook) -> None:
    nb.manager.restart_kernel()
    nb.client.wait_for_ready(30)
    assert "has run no cell" in nb.run("%remote attach").text


def test_the_process_ends_with_the_one_that_started_it(nb: Notebook, tmp_path: Path) -> None:
    code = (
        "from jupyter_client import KernelManager; import sys, time;"
        f"manager = KernelManager(kernel_name={KERNEL!r}); manager.start_kernel(cwd={str(tmp_path)!r});"
        "print(manager.provisioner.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        process = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    wait_for(lambda: ended(process.pid), "the kernel process to end")


# -- deaths -------------------------------------------------------------------------------------------


def test_cells_that_wait_behind_a_dying_one_do_not_run(nb: Notebook) -> None:
    first, second = nb.send("import os; os._exit(7)"), nb.send("open('ran', 'w')")
    cells = {first: Ran(), second: Ran()}
    collect(nb, cells)
    assert cells[second].reply["status"] == "aborted"
    assert nb.run("import os; os.path.exists('ran')").result == "False"


def test_a_restart_that_was_asked_for_is_no_error(nb: Notebook) -> None:
    nb.run("x = 1")
    nb.run("%remote restart")
    assert nb.run("'x' in globals()").result == "False"


def test_a_machine_deleted_from_elsewhere_is_told_once(nb: Notebook) -> None:
    nb.run("x = 1")
    (machine,) = Registry().machines()
    Fleet(load_settings(), Registry()).delete(machine.name, lambda phase, text: None)
    ran = nb.run("x")
    assert machine.name in ran.error
    assert "has ended" in ran.error
    assert nb.run("'x' in globals()").result == "False"


def test_a_machine_deleted_here_is_replaced_when_it_is_needed(nb: Notebook) -> None:
    (machine,) = Registry().machines()
    assert "costs nothing any more" in nb.run("%remote down --yes").text
    assert nb.run("6 * 7").result == "42"
    assert Registry().machines()[0].name != machine.name


# -- runners ------------------------------------------------------------------------------------------


def test_nbclient_runs_a_notebook(work: Path) -> None:
    cells = ["import os; x = 6", "open('out.txt', 'w').write(str(x))", "x * 7"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    NotebookClient(book, kernel_name=KERNEL, timeout=60, resources={"metadata": {"path": work}}).execute()
    assert book.cells[2].outputs[0]["data"]["text/plain"] == "42"
    assert (work / "out.txt").read_text() == "6"
    delete_all_machines()


def test_nbclient_stops_at_an_error(work: Path) -> None:
    cells = ["1/0", "open('ran', 'w')"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
    client = NotebookClient(book, kernel_name=KERNEL, timeout=60, resources={"metadata": {"path": work}})
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        client.execute()
    assert not (work / "ran").exists()
    delete_all_machines()
