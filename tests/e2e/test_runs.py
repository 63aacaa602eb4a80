"""Scripts and notebooks that run on a machine, started from a command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jupyter_gpu_remote.registry import Registry
from tests.conftest import wait_for
from tests.notebooks import delete_all_machines

COMMAND = [sys.executable, "-m", "jupyter_gpu_remote.cli", "run"]
LIMIT = 60


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The state folder that the tests of this module share, and a machine in it."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("state")
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(path))
        subprocess.run([*COMMAND[:-1], "up", "--cloud", "local"], check=True, timeout=LIMIT)
        (machine,) = Registry().machines()
        yield path, machine.name
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(path))
        delete_all_machines()


@pytest.fixture(autouse=True)
def machine(state: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", str(state[0]))
    return state[1]


def run(folder: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False, **options
    )


def test_a_script_has_its_arguments_its_modules_and_brings_its_files_back(
    tmp_path: Path, machine: str
) -> None:
    (tmp_path / "helper.py").write_text("WORD = 'helped'")
    (tmp_path / "train.py").write_text(
        "import sys, helper, multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv, helper.WORD)\n"
        "    open('model.txt', 'w').write('trained')\n"
        "    sys.exit(0)\n"
    )
    ran = run(tmp_path, "--on", machine, "train.py", "--", "--lr", "0.1", "a b")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "['train.py', '--lr', '0.1', 'a b'] helped\n"
    assert (tmp_path / "model.txt").read_text() == "trained"


@pytest.mark.parametrize(
    "script", ["raise ValueError('no')", "import sys; sys.exit(3)", "import os; os._exit(0)"]
)
def test_a_script_that_fails_has_an_exit_code_of_one(tmp_path: Path, machine: str, script: str) -> None:
    (tmp_path / "bad.py").write_text(script)
    assert run(tmp_path, "bad.py", "--on", machine).returncode == 1


def test_ctrl_c_interrupts_the_script(tmp_path: Path, machine: str) -> None:
    (tmp_path / "long.py").write_text(
        "import time\nprint('on', flush=True)\n"
        "try:\n    time.sleep(600)\nfinally:\n    print('tidied', flush=True)"
    )
    process = subprocess.Popen(
        [*COMMAND, "long.py", "--on", machine], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        assert "tidied\n" in process.communicate(timeout=LIMIT)[0]
        assert process.returncode == 130
    finally:
        process.kill()


def test_a_detached_script_ends_unattended_and_frees_its_memory(tmp_path: Path, machine: str) -> None:
    (tmp_path / "train.py").write_text("import os\nprint('mine', os.getpid())")
    ran = run(tmp_path, "train.py", "--on", machine, "--detach")
    assert ran.returncode == 0 and "attach" in ran.stdout, ran.stderr
    number = ran.stdout.split()[1]
    shown = subprocess.run([*COMMAND[:-1], "attach", number], capture_output=True, text=True, timeout=LIMIT)
    assert shown.stdout.startswith("mine ") and shown.returncode == 0
    pid = int(shown.stdout.split()[1])
    wait_for(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "its process to end")
    again = subprocess.run([*COMMAND[:-1], "attach", number], capture_output=True, text=True, timeout=LIMIT)
    assert again.stdout == shown.stdout


def test_a_whole_notebook_comes_back_executed(tmp_path: Path, machine: str) -> None:
    cells = ["%load_ext jupyter_gpu_remote", "%%remote\nopen('out.txt', 'w').write('made')", "6 * 7", "1 / 0"]
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(content, tmp_path / "study.ipynb")
    ran = run(tmp_path, "study.ipynb", "--on", machine)
    assert ran.returncode == 1 and "42" in ran.stdout, ran.stderr
    executed = nbformat.read(tmp_path / "study.executed.ipynb", as_version=4)
    assert executed.cells[2].outputs[0].data["text/plain"] == "42"
    assert executed.cells[3].outputs[0].ename == "ZeroDivisionError"
    assert nbformat.read(tmp_path / "study.ipynb", as_version=4).cells[2].outputs == []
    assert (tmp_path / "out.txt").read_text() == "made"


def test_a_file_that_is_not_there_is_named_before_anything_is_launched(tmp_path: Path) -> None:
    ran = run(tmp_path, "--gpu", "A100", "train.py")
    assert ran.returncode == 1
    assert "There is no file train.py" in ran.stderr
