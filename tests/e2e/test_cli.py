"""``jupyter gpu-remote`` as a user types it, on a real machine of this computer."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import need, wait_for
from tests.notebooks import delete_all_machines, notebook

COMMAND = [sys.executable, "-m", "jupyter_gpu_remote.cli"]
LIMIT = 60


def gpu(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command with no terminal and nothing to read."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=LIMIT, check=False, **options
    )


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder that the tests of this module share; its machines are gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("state")
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(path))
        yield path
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(path))
        delete_all_machines()


@pytest.fixture(scope="module")
def machine(state: Path) -> str:
    """The name of a machine that `up` launched."""
    env = {**os.environ, "JUPYTER_GPU_REMOTE_DIR": str(state)}
    up = gpu("up", "--cloud", "local", env=env)
    assert up.returncode == 0, up.stderr
    return up.stdout.rpartition("--on ")[2].strip()


@pytest.fixture
def here(state: Path, machine: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use the shared machine in this test."""
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", str(state))
    return machine


def test_the_machine_is_listed_for_programs(here: str) -> None:
    (listed,) = json.loads(gpu("list", "--json").stdout)
    assert (listed["name"], listed["state"], listed["price"]) == (here, "ready", 0.0)


def test_the_exit_code_and_both_streams_of_a_command_come_through(here: str) -> None:
    ran = gpu("exec", here, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ran.stdout, ran.stderr, ran.returncode) == ("out\n", "err\n", 7)


def test_a_command_reads_what_is_piped_into_it(here: str) -> None:
    ran = gpu("exec", here, "--", "tr", "a-z", "A-Z", stdin=None, input="quiet\n")
    assert ran.stdout == "QUIET\n"


def test_words_with_spaces_and_quotes_arrive_as_they_are(here: str) -> None:
    words = ["a b", "it's", '"', "$HOME", "*", "naïve 漢字", "--help", ""]
    ran = gpu("exec", here, "--", "printf", "%s\\n", *words)
    assert ran.stdout.split("\n")[:-1] == words


def test_ctrl_c_ends_the_command_over_there_too(here: str, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    script = f"echo $$ > {mark}.new; mv {mark}.new {mark}; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [*COMMAND, "exec", here, "--", "sh", "-c", script], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        wait_for(mark.exists, "the command to run")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        wait_for(lambda: not psutil.pid_exists(int(mark.read_text())), "the command to end")
    finally:
        process.kill()
        process.communicate()


def test_files_go_out_and_come_back(here: str, tmp_path: Path) -> None:
    (tmp_path / "naïve name.txt").write_text("out")
    assert "1 file sent" in gpu("push", cwd=tmp_path).stdout
    gpu("exec", here, "--", "sh", "-c", f"cd ~/gpu-remote/{tmp_path.name}-* && echo back > answer.txt")
    assert "1 file received" in gpu("pull", cwd=tmp_path).stdout
    assert (tmp_path / "answer.txt").read_text() == "back\n"


def test_a_folder_that_was_never_sent_cannot_be_fetched(here: str, tmp_path: Path) -> None:
    ran = gpu("pull", cwd=tmp_path)
    assert ran.returncode == 1
    assert f"push {here}" in ran.stderr


def test_ssh_opens_a_terminal(here: str) -> None:
    need(os.name == "posix", "terminals")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND[0], [*COMMAND, "ssh", here])
    said = b""

    def read() -> bool:
        nonlocal said
        if select.select([terminal], [], [], 0)[0]:
            said += os.read(terminal, 4096)
        return b"tty=/dev/" in said

    try:
        os.write(terminal, b'echo "tty=$(tty)"\n')
        wait_for(read, "the terminal over there")
        os.write(terminal, b"exit 3\n")
        wait_for(lambda: select.select([terminal], [], [], 0)[0] and not _rest(terminal), "its end")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    finally:
        os.close(terminal)


def _rest(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux, at the end
        return b""


def test_the_machine_stays_for_as_long_as_asked(here: str) -> None:
    assert "stays for at least 45 min" in gpu("extend", "45").stdout


def test_the_log_tells_how_the_machine_came_to_be(here: str) -> None:
    said = gpu("logs").stdout
    assert re.search(r"creating\n.*booting\n(.*\n)*.*state +ready\n", said)


def test_a_question_without_a_terminal_deletes_nothing(here: str) -> None:
    ran = gpu("down")
    assert ran.returncode == 1
    assert "Add --yes" in ran.stderr
    assert here in gpu("list").stdout


@pytest.mark.parametrize(
    "words",
    ["lits", "list more", "up --cpus x", "offers --gpu A1000", "exec", "cost --sinc", ""],
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(words: str) -> None:
    ran = gpu(*words.split())
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def test_an_error_of_ours_is_exit_code_1_and_one_message() -> None:
    ran = gpu("down", "nobody")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("MachineNotFoundError: There is no machine called 'nobody'.\nNext: ")


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in gpu("down", "nobody", "--debug").stderr


def test_settings_come_from_the_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text('c.GpuRemote.gpu = "A1000"\n')
    ran = gpu("--config", str(file), "offers")
    assert ran.returncode == 2
    assert "A1000" in ran.stderr


def test_a_setting_that_cannot_be_is_wrong_usage() -> None:
    ran = gpu("--GpuRemote.idle=never", "list")
    assert ran.returncode == 2
    assert "idle" in ran.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen([*COMMAND, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.wait(LIMIT)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_the_doctor_finds_nothing_that_is_needed_missing() -> None:
    ran = gpu("doctor")
    assert ran.returncode == 0, ran.stdout
    assert "local: can be used" in ran.stdout


def test_the_doctor_says_what_to_do_about_a_damaged_state_file(state: Path, tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_text("no database " * 1000)
    ran = gpu("doctor", env={**os.environ, "JUPYTER_GPU_REMOTE_DIR": str(tmp_path)})
    assert ran.returncode == 1
    assert "FAIL  state file" in ran.stdout
    assert "Next: End every notebook that uses it" in ran.stdout


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder for control sockets of its own, with a path as short as they need it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_reaping_with_nothing_to_do_says_so(runtime: Path) -> None:
    env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    assert gpu("reap", env=env).stdout == "Nothing was left behind.\n"


def test_sockets_of_dead_connections_are_reaped(runtime: Path) -> None:
    folder = runtime / "gpu-remote"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "0123456789ab"))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    assert "1 left behind" in gpu("doctor", env=env).stdout
    assert "1 sockets" in gpu("reap", env=env).stdout
    assert list(folder.iterdir()) == []


def test_the_kernel_is_installed_listed_and_removed(tmp_path: Path) -> None:
    from jupyter_gpu_remote import shell_verbs

    assert shell_verbs.SPEC == "gpu-remote"
    # a prefix of its own: this environment's kernelspec is not the test's to remove
    script = (
        f"import sys; sys.prefix = {str(tmp_path)!r}\n"
        "from jupyter_gpu_remote.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    env = {
        **os.environ,
        "JUPYTER_PATH": str(tmp_path / "share" / "jupyter"),
        "JUPYTER_DATA_DIR": str(tmp_path / "none"),
    }

    def kernelspec(action: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", script, "kernelspec", action]
        return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, env=env, check=False)

    folder = tmp_path / "share" / "jupyter" / "kernels" / "gpu-remote"
    assert kernelspec("install").returncode == 0
    assert (folder / "kernel.json").exists()
    assert str(folder) in kernelspec("list").stdout
    assert kernelspec("remove").returncode == 0
    assert not folder.exists()


def test_down_fetches_files_and_tells_of_running_cells_first(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        book.remote("1")
        code = "import time\nopen('late.txt', 'w').write('kept')\nprint('on', flush=True)\ntime.sleep(600)"
        book.wait(book.send(f"%%remote\n{code}"), until=lambda ran: "on" in ran.text)
        ran = gpu("down", "--yes", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "1 running cell will be ended" in ran.stdout
    assert (tmp_path / "late.txt").read_text() == "kept"
    assert gpu("list").stdout.startswith("No machine is running.")


def test_a_running_cell_can_be_watched_and_interrupted_from_a_terminal(tmp_path: Path) -> None:
    with notebook(tmp_path) as book:
        code = "import time\nprint('on', flush=True)\ntime.sleep(600)"
        request = book.send(f"%%remote\n{code}")
        book.wait(request, until=lambda ran: "on" in ran.text)
        watcher = subprocess.Popen([*COMMAND, "attach"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "on\n"
        assert gpu("interrupt", cwd=tmp_path).stdout == "Interrupted.\n"
        assert "KeyboardInterrupt" in watcher.communicate(timeout=LIMIT)[0]
        assert watcher.returncode == 1
        assert book.wait(request).error.startswith("KeyboardInterrupt")
        assert gpu("restart", cwd=tmp_path).returncode == 0


def test_ctrl_c_while_it_launches_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([*COMMAND, "up", "--cloud", "local"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "booting" in line or "preparing" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert gpu("list").stdout.startswith("No machine is running.")
