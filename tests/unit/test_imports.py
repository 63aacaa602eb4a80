"""Packages that become importable in a kernel that runs, and imports that wait for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.agent.imports import runs_python, versions

PROLOGUE = """
import fcntl, json, os, sys, threading, types
from pathlib import Path
from jupyter_gpu_remote.agent.imports import Packages

root = Path(ROOT)
file = root / "one.json"
packages = Packages()
lock = open(root / "one.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)

def say(name="one", **state):
    state = {"source": "requirements.txt", "notes": [], "modules": [], "missing": {}, "path": "", **state}
    new = root / "new"
    new.write_text(json.dumps(state))
    new.replace(root / f"{name}.json")

class Heard(threading.Event):
    # standard error that tells when something is written
    def __init__(self, then):
        super().__init__()
        self.text, self.then = "", then
    def write(self, text):
        self.text += text
        if self.then and "downloading" in self.text:
            then, self.then = self.then, None
            then()
    def flush(self): pass
    def isatty(self): return False

def during_the_wait(then):
    sys.stderr = Heard(then)
    return sys.stderr
"""
READY = 'say(state="ready", path=str(root / "one"))\n'
WAITING = 'say(state="installing", step="downloading torch (780 MB)")\npackages.activate(str(file))\n'


def environment(folder: Path, **modules: str) -> None:
    """Make an environment by hand, with modules of that content."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name, content in modules.items():
        (site / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (site / f"{name}.py").write_text(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    environment(tmp_path / "one", brought_m="where = 'one'")
    return tmp_path


def run(root: Path, *script: str, check: bool = True) -> dict[str, Any]:
    """Run a script in a Python of its own; return what it put into `out`."""
    text = PROLOGUE.replace("ROOT", repr(str(root))) + "out = {}\n"
    text += "\n".join(script) + "\nprint(json.dumps(out), file=sys.stdout)\n"
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- ready ------------------------------------------------------------------------------------------


def test_packages_that_are_ready_can_be_imported(root: Path) -> None:
    out = run(
        root, READY, "packages.activate(str(file))", "import brought_m", "out['where'] = brought_m.where"
    )
    assert out["where"] == "one"


def test_they_come_before_the_kernel_s_own_and_after_the_folder(root: Path) -> None:
    environment(root / "one", tqdm="mine = True", own_m="")
    (root / "folder").mkdir()
    (root / "folder" / "own_m.py").write_text("mine = True")
    out = run(
        root,
        READY,
        "sys.path.insert(0, str(root / 'folder'))",
        "packages.activate(str(file))",
        "import tqdm, own_m",
        "out.update(tqdm=tqdm.mine, own=own_m.mine, last=sys.path[0] == str(root / 'folder'))",
    )
    assert out == {"tqdm": True, "own": True, "last": True}


def test_what_a_pth_file_names_counts_too(root: Path) -> None:
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "editable_m.py").touch()
    site = next((root / "one").glob("lib/python*/site-packages"))
    (site / "edit.pth").write_text(f"{root}/elsewhere\n")
    run(root, READY, "packages.activate(str(file))", "import editable_m")


def test_python_in_a_shell_is_that_of_the_packages(root: Path) -> None:
    out = run(
        root,
        READY,
        "packages.activate(str(file))",
        "import subprocess",
        "code = 'import brought_m, sys; print(sys.prefix)'",
        "for name, argv in dict(path=['python', '-c', code], own=[sys.executable, '-c', code]).items():\n"
        "    out[name] = subprocess.run(argv, capture_output=True, text=True).stdout.strip()",
        "out['virtual'] = os.environ['VIRTUAL_ENV']",
    )
    assert out == dict.fromkeys(("path", "own", "virtual"), str(root / "one"))


def test_processes_of_multiprocessing_have_both_sides_packages(root: Path) -> None:
    environment(root / "one", work_m="import brought_m, psutil\ndef f(x):\n    return x + 1")
    out = run(
        root,
        "import multiprocessing",
        READY,
        "packages.activate(str(file))",
        "import work_m",
        "with multiprocessing.get_context('spawn').Pool(1) as pool:",
        "    out['sum'] = pool.map(work_m.f, [1, 2])",
    )
    assert out["sum"] == [2, 3]


def test_another_environment_takes_the_place_of_the_first_once_it_is_ready(root: Path) -> None:
    environment(root / "two", other_m="where = 'two'")
    out = run(
        root,
        READY,
        "packages.activate(str(file))",
        "say('two', state='installing', step='x')",
        "packages.activate(str(root / 'two.json'))",
        "import brought_m",
        "out['meanwhile'] = brought_m.where",
        "say('two', state='ready', path=str(root / 'two'))",
        "packages.activate(str(root / 'two.json'))",
        "import other_m",
        "out['then'] = other_m.where",
        "places = lambda: sys.path + os.environ['PATH'].split(':')",
        "out['paths'] = [p for p in places() if p.startswith(str(root / 'one'))]",
        "own = sys.executable",
        "packages.activate('')",
        "out['none'] = [p for p in places() if p.startswith(str(root))]",
        "out['own'] = sys.executable == own",
    )
    assert out == {"meanwhile": "one", "then": "two", "paths": [], "none": [], "own": False}


def test_activating_again_changes_nothing(root: Path) -> None:
    out = run(
        root,
        READY,
        "packages.activate(str(file))\nbefore = list(sys.path), os.environ['PATH']",
        "packages.activate(str(file))\nout['same'] = before == (sys.path, os.environ['PATH'])",
    )
    assert out["same"]


# -- installing -------------------------------------------------------------------------------------


def test_a_cell_that_needs_none_of_them_does_not_wait(root: Path) -> None:
    out = run(
        root, WAITING, "during = during_the_wait(None)", "import wave, colorsys", "out['said'] = during.text"
    )
    assert out["said"] == ""


def test_an_import_waits_and_says_for_what(root: Path) -> None:
    out = run(
        root,
        WAITING,
        "during = during_the_wait(lambda: say(state='ready', path=str(root / 'one'), notes=['a note']))",
        "import brought_m",
        "out.update(where=brought_m.where, said=during.text)",
    )
    assert out["where"] == "one"
    assert "packages of requirements.txt: downloading torch (780 MB)" in out["said"]
    assert "ready after" in out["said"] and "a note" in out["said"]


@pytest.mark.parametrize(
    "cell",
    [
        "import shared_ns.brought.deep as m",
        "from shared_ns import brought as m",
        "def f():\n  import brought_m\nf()",
    ],
)
def test_modules_in_namespaces_and_functions_wait_too(root: Path, cell: str) -> None:
    (root / "kernel" / "shared_ns" / "other").mkdir(parents=True)
    environment(root / "one", **{"shared_ns/brought/deep": "", "shared_ns/brought/__init__": ""})
    run(
        root,
        "sys.path.append(str(root / 'kernel'))",
        "import shared_ns.other",
        WAITING,
        "during_the_wait(lambda: say(state='ready', path=str(root / 'one')))",
        cell,
    )


def test_what_the_packages_do_not_bring_is_not_waited_for(root: Path) -> None:
    out = run(
        root,
        "say(state='installing', step='downloading', modules=['brought_m'])",
        "packages.activate(str(file))",
        "during = during_the_wait(None)",
        "for name in ('absent_m', 'json.absent', 'os.absent'):\n"
        "    try:\n        __import__(name)\n    except ImportError as e:\n        out[name] = str(e)",
        "out['said'] = during.text",
    )
    assert out.pop("said") == "" and len(out) == 3 and not any("install" in text for text in out.values())


def test_what_they_bring_is_waited_for_although_the_kernel_has_it_in_another_version(root: Path) -> None:
    environment(root / "one", both_m="where = 'one'")
    environment(root / "kernel", both_m="where = 'kernel'")
    out = run(
        root,
        "sys.path.append(str(next((root / 'kernel').glob('lib/python*/site-packages'))))",
        "say(state='installing', step='downloading', modules=['both_m'])",
        "packages.activate(str(file))",
        "during_the_wait(lambda: say(state='ready', path=str(root / 'one')))",
        "import both_m\nout['where'] = both_m.where",
    )
    assert out["where"] == "one"


def test_an_import_of_the_kernel_itself_does_not_wait_but_what_comes_for_a_cell_does(root: Path) -> None:
    (root / "internal_m.py").write_text(
        "def probe():\n    try:\n        import brought_m\n        return True\n"
        "    except ImportError:\n        return False\n"
    )
    out = run(
        root,
        "sys.path.append(str(root))\nimport internal_m",
        WAITING,
        "during_the_wait(lambda: say(state='ready', path=str(root / 'one')))",
        # a stack without a cell: the function runs in a thread that no function of the script is in
        "import concurrent.futures",
        "with concurrent.futures.ThreadPoolExecutor(1) as pool:\n"
        "    out['kernel'] = pool.submit(internal_m.probe).result()",
        "say(state='installing', step='downloading')",
        "with packages.on_behalf(), concurrent.futures.ThreadPoolExecutor(1) as pool:\n"
        "    future = pool.submit(internal_m.probe)\n"
        "    say(state='ready', path=str(root / 'one'))\n"
        "    out['on_behalf'] = future.result()",
        "out['cell'] = internal_m.probe()",
    )
    assert out == {"kernel": False, "on_behalf": True, "cell": True}


def test_the_wait_can_be_interrupted(root: Path) -> None:
    out = run(
        root,
        WAITING,
        "import signal",
        "during_the_wait(lambda: signal.raise_signal(signal.SIGINT))",
        "try:\n    import brought_m\nexcept KeyboardInterrupt:\n    out['interrupted'] = True",
        READY,
        "import brought_m",
    )
    assert out["interrupted"]


def test_an_installation_that_ended_half_way_is_not_waited_for_forever(root: Path) -> None:
    out = run(
        root,
        WAITING,
        "during_the_wait(lock.close)",
        "try:\n    import brought_m\nexcept ModuleNotFoundError as e:\n    out['error'] = str(e)",
    )
    assert "half-way" in out["error"] and "Run the cell again" in out["error"]


def test_a_cell_that_runs_python_in_a_shell_waits_before_it_runs(root: Path) -> None:
    out = run(
        root,
        WAITING,
        "during_the_wait(lambda: say(state='ready', path=str(root / 'one')))",
        "packages.activate(str(file), '!ls')",
        "out['before'] = sys.executable.startswith(str(root))",
        "packages.activate(str(file), '!python train.py')",
        "out['then'] = sys.executable.startswith(str(root))",
    )
    assert out == {"before": False, "then": True}


@pytest.mark.parametrize(
    ("cell", "runs"),
    [
        ("!python train.py", True),
        ("%pip install x", True),
        ("out = !pip list", True),
        ("if x:\n    !HF_HOME=a no-such-command-here 3", True),
        ("%%bash\nset -e\npython3 x.py", True),
        ("!uv pip install x", True),
        ("!ls *.py", False),
        ("!cd data && ls", False),
        ("!cat my-python-notes.txt", False),
        ("print('!python')", False),
        ("import python", False),
        ("%%html\npython", False),
        ("%timeit pip", False),
    ],
)
def test_cells_that_run_python_in_a_shell_are_told_from_others(cell: str, runs: bool) -> None:
    assert runs_python(cell) is runs


# -- failed -----------------------------------------------------------------------------------------


def test_after_a_failure_the_error_says_why_and_what_to_do(root: Path) -> None:
    out = run(
        root,
        "say(state='failed', error='The disk is full.', hint='Make room.', modules=['brought_m'])",
        "packages.activate(str(file))",
        "for name in ('brought_m', 'absent_m'):\n"
        "    try:\n        __import__(name)\n"
        "    except ImportError as e:\n        out[name] = [str(e), e.name]",
    )
    error, name = out["brought_m"]
    assert name == "brought_m" and "requirements.txt" in error and "disk" in error and "Make room." in error
    assert out["absent_m"] == ["No module named 'absent_m'", "absent_m"]


def test_a_package_that_was_left_out_is_named_when_it_is_imported(root: Path) -> None:
    out = run(
        root,
        "say(state='ready', path=str(root / 'one'), missing={'absent-m': 'no wheel'})",
        "packages.activate(str(file))",
        "try:\n    import absent_m\nexcept ModuleNotFoundError as e:\n    out['error'] = str(e)",
    )
    assert "absent-m" in out["error"] and "no wheel" in out["error"]


# -- in IPython -------------------------------------------------------------------------------------


def test_in_a_notebook_one_display_is_updated_in_its_place(root: Path) -> None:
    out = run(
        root,
        "from IPython.core.interactiveshell import InteractiveShell",
        "from IPython.core.displaypub import CapturingDisplayPublisher",
        "shell = InteractiveShell.instance()",
        "shell.display_pub = CapturingDisplayPublisher()",
        "kept, append = shell.display_pub.outputs, None",
        WAITING,
        "class Outputs(list):\n"
        "    def append(self, output):\n"
        "        super().append(output)\n"
        "        say(state='ready', path=str(root / 'one'))",
        "shell.display_pub.outputs = Outputs()",
        "result = shell.run_cell('import brought_m; w = brought_m.where')",
        "out['where'] = shell.user_ns['w']",
        "out['outputs'] = [[o['data']['text/plain'], o['update'], o['transient']['display_id']]"
        " for o in shell.display_pub.outputs]",
    )
    texts, updates, ids = zip(*out["outputs"], strict=True)
    assert out["where"] == "one" and "downloading torch" in texts[0] and "ready after" in texts[-1]
    assert not updates[0] and all(updates[1:]) and len(set(ids)) == 1


def test_the_versions_are_those_that_can_be_imported() -> None:
    import pytest as installed

    assert versions()["pytest"] == installed.__version__ and "ipykernel" in versions()


def test_versions_of_the_packages_count_before_the_kernel_s_own(root: Path) -> None:
    info = next((root / "one").glob("lib/python*/site-packages")) / "tqdm-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tqdm\nVersion: 0.0.1\n")
    out = run(
        root,
        READY,
        "packages.activate(str(file))",
        "from jupyter_gpu_remote.agent.imports import versions\nout['tqdm'] = versions()['tqdm']",
    )
    assert out["tqdm"] == "0.0.1"
    assert os.environ.get("VIRTUAL_ENV") != str(root / "one")
