"""``jupyter gpu-remote demo``: the notebook of the README, and any other one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest

COMMAND = [sys.executable, "-m", "jupyter_gpu_remote.cli", "demo"]
LIMIT = 100
ENDLESS = "%%remote\nimport time\nprint('it runs', flush=True)\ntime.sleep(600)"


def write(folder: Path, *cells: str) -> Path:
    """Make a notebook that loads the extension and has these cells."""
    made = [nbformat.v4.new_code_cell(source) for source in ("%load_ext jupyter_gpu_remote", *cells)]
    path = folder / "some notebook.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


def demo(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=LIMIT, check=False
    )


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the demo make its folder where the test can see what is left of it, and of its processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.glob("gpu-remote-demo-*")) == []
    left = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]
    assert left == []


def test_the_demo_of_the_readme_works() -> None:
    ran = demo()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("demo: ok\n")
    assert ">>> %%remote" in ran.stdout
    assert "[image " in ran.stdout


def test_cells_and_their_outputs_are_printed_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, "%%remote\nprint('one')\n40 + 2")
    lines = demo(path).stdout.splitlines()
    assert (
        lines.index(">>> %%remote") < lines.index("... print('one')") < lines.index("one") < lines.index("42")
    )
    assert lines[-1] == "demo: ok"


def test_it_runs_in_a_copy_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "beside.py").write_text("WORD = 'found'")
    path = write(folder, "%%remote\nimport beside\nprint(beside.WORD)\nopen('made.txt', 'w').close()")
    assert "found\n" in demo(path).stdout
    assert sorted(p.name for p in folder.iterdir()) == ["beside.py", path.name]


def test_the_first_error_ends_it_with_exit_code_1(tmp_path: Path) -> None:
    ran = demo(write(tmp_path, "%%remote\n1 / 0", "print('never' + ' printed')"))
    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stdout
    assert "never printed" not in ran.stdout
    assert "demo: ok" not in ran.stdout


def test_a_kernel_that_dies_ends_it_with_exit_code_1(tmp_path: Path) -> None:
    ran = demo(write(tmp_path, "import os; os._exit(3)"))
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr


def test_settings_of_the_user_do_not_spend_money(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jupyter_gpu_remote_config.py").write_text("c.GpuRemote.cloud = 'nowhere'\n")
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    folder = tmp_path / "work"
    folder.mkdir()
    assert demo(write(folder, "%%remote\n1")).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", ["booting", "it runs"])
def test_ctrl_c_ends_it_and_its_machine(tmp_path: Path, after: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(write(tmp_path, ENDLESS))], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    said = b""
    while after.encode() not in said:
        said += os.read(process.stdout.fileno(), 4096)
    process.send_signal(number)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 130


@pytest.mark.parametrize("content", [None, "no notebook", "{}", "[]"])
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content)
    ran = demo(path)
    assert ran.returncode == 1
    assert "cannot be read" in ran.stderr
