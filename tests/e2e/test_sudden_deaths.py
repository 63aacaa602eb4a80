"""Kernels, agents, disks and whole machines that fail: one clear error each, and the notebook goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jupyter_gpu_remote.config import state_dir
from jupyter_gpu_remote.registry import Registry
from tests.conftest import mounted, need
from tests.notebooks import Notebook, notebook

from .frontend import refused


@pytest.fixture(scope="module", params=["python3", "gpu-remote"])
def face(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Notebook, str]]:
    """Give a notebook of each face, and its state folder."""
    with pytest.MonkeyPatch.context() as patch:
        state = str(tmp_path_factory.mktemp("state"))
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", state)
        with notebook(tmp_path_factory.mktemp("work"), kernel_name=request.param) as opened:
            top = "%%remote\n" if request.param == "python3" else ""
            opened.cell = lambda code: opened.run(top + code)
            opened.begin = lambda code: begin(opened, top + code)
            yield opened, state


@pytest.fixture
def nb(face: tuple[Notebook, str], monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """Give a notebook of each face with a machine; its `cell` runs code there."""
    opened, state = face
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", state)
    assert not opened.cell("x = 1").error
    return opened


def begin(nb: Notebook, code: str) -> str:
    """Start a cell and wait until it has printed."""
    request = nb.send(code)
    nb.wait(request, until=lambda ran: ran.text)
    return request


def there(*words: str) -> list[psutil.Process]:
    """Return the processes of the machine that have `words` in their command line."""
    (machine,) = Registry().machines()
    home = f"{state_dir().resolve()}/machines/{machine.name}/home"
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if (process.info["environ"] or {}).get("HOME") == home and all(word in line for word in words):
            found.append(process)
    return found


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes and wait for their ends."""
    assert processes
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)


WAITS = "print('begun', flush=True)\nimport time; time.sleep(600)"
DEATHS = {
    "import os; os._exit(7)": "exited with code 7",
    "import os; os.kill(os.getpid(), 9)": "killed by SIGKILL",
    "import ctypes; ctypes.string_at(0)": "killed by SIGSEGV",
}


@pytest.mark.parametrize("code", DEATHS)
def test_a_kernel_that_dies_in_a_cell_is_told_with_the_cause(nb: Notebook, code: str) -> None:
    refused(nb.cell(code), DEATHS[code], "variables are lost", "The machine still runs", "Next: ")
    assert nb.cell("'x' in globals()").result == "False"


def test_a_kernel_that_is_killed_for_memory_is_told_so(nb: Notebook) -> None:
    group = Path("/sys/fs/cgroup/memory" if Path("/sys/fs/cgroup/memory").is_dir() else "/sys/fs/cgroup")
    group /= f"gpu-remote-test-{os.getpid()}"
    try:
        group.mkdir()
        pid = nb.cell("import os; os.getpid()").result
        limits = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max")
        for limit in limits:
            if (group / limit).exists():
                (group / limit).write_text(str(0 if "swap.max" in limit else 400 << 20))
        (group / "cgroup.procs").write_text(pid)
    except OSError as e:
        need(False, f"a memory cgroup of our own: {e}")
    try:
        refused(nb.cell("y = b'x' * (1 << 30)"), "out of memory", "Next: ")
        assert nb.cell("6 * 7").result == "42"
    finally:
        group.rmdir()


def test_a_kernel_that_died_between_cells_is_told_once(nb: Notebook) -> None:
    kill([psutil.Process(int(nb.cell("import os; os.getpid()").result))])
    # it may have been sent before the death was known here, and then ran in the fresh kernel
    ran = nb.cell("x")
    for text in ("killed by SIGKILL", "variables are lost"):
        assert text in ran.error + ran.stream("stderr")
    assert nb.cell("'x' in globals()").result == "False"


def test_an_agent_that_is_killed_between_cells_is_not_noticed(nb: Notebook) -> None:
    kill(there("jupyter_gpu_remote.agent"))
    assert nb.cell("x").result == "1"


def test_an_agent_that_is_killed_in_a_cell_is_told_and_the_cell_goes_on(nb: Notebook) -> None:
    running = nb.begin("print('begun', flush=True)\nprint(input('go? '))")
    nb.client.get_stdin_msg(timeout=30)
    kill(there("jupyter_gpu_remote.agent"))
    nb.client.input("went on")
    ran = nb.wait(running)
    assert "went on" in ran.text
    assert "some output may be missing" in ran.stream("stderr")
    assert nb.cell("x").result == "1"


def test_a_machine_that_is_gone_between_cells_is_told_once(nb: Notebook) -> None:
    (machine,) = Registry().machines()
    kill(there())
    refused(nb.cell("x"), machine.name, "has ended", "costs nothing", "Run the cell again")
    assert nb.cell("'x' in globals()").result == "False"


def test_a_machine_that_is_gone_in_a_cell_is_told(nb: Notebook) -> None:
    (machine,) = Registry().machines()
    running = nb.begin(WAITS)
    kill(there())
    refused(nb.wait(running), machine.name, "has ended", "costs nothing", "Run the cell again")
    assert nb.cell("6 * 7").result == "42"


def test_a_kernel_that_cannot_start_is_told(nb: Notebook) -> None:
    nb.cell("import os; p = os.path.expanduser('~/.ipython/profile_default/startup'); os.makedirs(p)")
    nb.cell("open(p + '/broken.py', 'w').write('import os; os._exit(9)')")
    refused(nb.cell("os._exit(3)"), "code 3")
    refused(nb.cell("1"), "exited with code 9", "Next: ")
    assert not nb.run("%remote down --yes").error


FILL = """
import os
name = os.path.expanduser("~/filling")
with open(name, "wb", buffering=0) as f:
    try:
        while f.write(b"x" * 4096):
            pass
    except OSError:
        pass
"""


def test_a_disk_that_fills_up_is_told(tmp_path: Path) -> None:
    with mounted(state_dir() / "machines", "size=40m"), notebook(tmp_path) as nb:
        ran = nb.remote(f"{FILL}\nprint('y' * 1_000_000)")
        assert len(ran.text) == 1_000_001
        assert "The disk of the machine is full" in ran.stream("stderr")
        assert nb.remote("with open(name, 'ab') as f: f.write(b'x' * 10_000_000)").reply["ename"] == "OSError"
        nb.remote("os.remove(name)")
        (tmp_path / "big.bin").write_bytes(os.urandom(60 << 20))
        refused(nb.remote("1"), "62.9 MB", "the disk there has", ".gpuignore")
        (tmp_path / "big.bin").unlink()
        assert nb.remote("6 * 7").result == "42"
