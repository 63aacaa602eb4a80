"""Packages on the machine: installed once, whole or not at all, as far as they can be had."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import uv

from jupyter_gpu_remote.agent import packages
from jupyter_gpu_remote.agent.packages import FAILED, INSTALLING, READY, ensure, is_under_way, read
from jupyter_gpu_remote.agent.wanted import Wanted

from ..conftest import need, wait_for
from ..wheels import broken_source, wheel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the agent runs on Linux only")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of wheels that is all the index there is, for a machine whose home is empty."""
    folder = tmp_path / "index"
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    wheel(folder, "pip", "99")
    wheel(folder, "tiny", "1.0")
    return folder


def ask(*requirements: str, folder: Path | str = "/", **needs: Any) -> dict[str, Any]:
    return ensure({"requirements": requirements, **needs}, sys.executable, str(folder))


def over(answer: dict[str, Any]) -> dict[str, Any]:
    """Return how an installation ended."""
    file = Path(answer["file"])
    wait_for(lambda: not is_under_way(file), "the end of the installation")
    return read(file)


def shim(script: str) -> Path:
    """Put a program in place of uv."""
    file = Path.home() / ".gpu-remote" / "bin" / "uv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def has(path: str, module: str) -> bool:
    done = subprocess.run([f"{path}/bin/python", "-c", f"import {module}"], capture_output=True)
    return done.returncode == 0


# -- what is there already --------------------------------------------------------------------------


def test_nothing_is_installed_where_the_kernel_s_python_has_it_all(index: Path) -> None:
    answer = ask("packaging>=20", "ipykernel")
    assert (answer["state"], answer["path"], answer["file"]) == (READY, "", "")
    assert not list(packages.packages_folder().glob("*.json"))


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("pytest", True),
        ("pytest>=1", True),
        ("Pytest<1", False),
        ("no_such_package", False),
        ("no_such_package; python_version < '3'", True),
        ("requests-no[x]", False),
        ("pytest[no-such-extra]", True),
        ("pytest @ git+https://git.example/x@abc", False),
        ("-e ./lib", False),
        ("--index-url https://index.example", True),
    ],
)
def test_a_python_tells_whether_it_meets_a_requirement(requirement: str, met: bool) -> None:
    script = Path(packages.__file__).with_name("satisfied.py")
    done = subprocess.run(
        [sys.executable, script, json.dumps([requirement])], capture_output=True, check=True
    )
    assert json.loads(done.stdout) is met


# -- installing -------------------------------------------------------------------------------------


def test_packages_are_installed_beside_the_kernel_s_python(index: Path) -> None:
    answer = ask("tiny", notes=["one"], source="requirements.txt", modules=["tiny"])
    assert answer["state"] == INSTALLING and answer["step"]
    state = over(answer)
    assert state["state"] == READY and has(state["path"], "tiny") and has(state["path"], "pip")
    assert (state["notes"], state["source"], state["modules"]) == (["one"], "requirements.txt", ["tiny"])
    assert not list(packages.packages_folder().glob("*.new"))


def test_scripts_work_where_the_environment_ends_up(index: Path) -> None:
    wheel(index, "talker", "1", code="def main(): print('hello')")
    state = over(ask("talker"))
    said = subprocess.run([f"{state['path']}/bin/talker-tool"], capture_output=True, text=True, check=True)
    assert said.stdout == "hello\n"


def test_a_second_notebook_with_the_same_needs_waits_for_nothing(index: Path) -> None:
    over(ask("tiny"))
    shim("exit 1")
    again = ask("tiny", source="another", folder="/elsewhere")
    assert again["state"] == READY and has(again["path"], "tiny")


def test_two_notebooks_that_ask_at_once_build_one_environment(index: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    real = uv.find_uv_bin()
    shim(f'[ "$1" = venv ] && echo x >>{count}\nexec {real} "$@"')
    answers: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: answers.append(ask("tiny"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {over(answer)["state"] for answer in answers} == {READY}
    assert count.read_text() == "x\n"


def test_an_editable_package_of_the_folder_is_run_from_there(index: Path, tmp_path: Path) -> None:
    lib = tmp_path / "work" / "lib"
    lib.mkdir(parents=True)
    backend = (
        "import zipfile\n"
        "def build_editable(folder, *_):\n"
        "    with zipfile.ZipFile(folder + '/lib-1-py3-none-any.whl', 'w') as z:\n"
        f"        z.writestr('lib.pth', {str(lib)!r})\n"
        "        z.writestr('lib-1.dist-info/METADATA', "
        "'Metadata-Version: 2.1\\nName: lib\\nVersion: 1\\n')\n"
        "        z.writestr('lib-1.dist-info/WHEEL', "
        "'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        z.writestr('lib-1.dist-info/RECORD', '')\n"
        "    return 'lib-1-py3-none-any.whl'\n"
    )
    (lib / "backend.py").write_text(backend)
    (lib / "mylib.py").write_text("")
    (lib / "pyproject.toml").write_text(
        '[build-system]\nrequires=[]\nbuild-backend="backend"\nbackend-path=["."]\n'
        '[project]\nname="lib"\nversion="1"\n'
    )
    state = over(ask("-e ./lib", folder=tmp_path / "work"))
    assert state["state"] == READY and has(state["path"], "mylib"), state


def test_a_path_that_has_not_arrived_fails_and_can_be_tried_again(index: Path, tmp_path: Path) -> None:
    state = over(ask("./lib", "tiny", folder=tmp_path))
    assert state["state"] == FAILED and "./lib is not in the notebook's folder" in state["error"]


def test_the_same_path_in_two_folders_is_two_environments(index: Path, tmp_path: Path) -> None:
    one, other = ask("./lib", folder=tmp_path / "a"), ask("./lib", folder=tmp_path / "b")
    assert one["file"] != other["file"]
    over(one), over(other)


# -- what can't be had ------------------------------------------------------------------------------


def test_a_version_that_is_gone_is_replaced_and_said(index: Path) -> None:
    state = over(ask("tiny==0.9"))
    assert state["state"] == READY and has(state["path"], "tiny") and not state["missing"]
    assert "tiny==0.9" in state["notes"][0] and "1.0 instead" in state["notes"][0]


def test_a_package_that_is_nowhere_is_left_out_and_named(index: Path) -> None:
    state = over(ask("tiny", "nowhere==3"))
    assert state["state"] == READY and has(state["path"], "tiny")
    assert "not found" in state["missing"]["nowhere"] and "nowhere==3" in state["notes"][0]


def test_a_package_for_another_platform_is_left_out_and_named(index: Path) -> None:
    wheel(index, "elsewhere", "1", tag="py3-none-win_amd64")
    state = over(ask("elsewhere==1", "tiny"))
    assert state["state"] == READY and "platform" in state["missing"]["elsewhere"]


def test_of_two_that_do_not_go_together_the_one_below_gives_way(index: Path) -> None:
    wheel(index, "below", "1")
    wheel(index, "below", "2")
    wheel(index, "above", "1", requires=["below>=2"])
    state = over(ask("below==1", "above==1"))
    assert state["state"] == READY and [note.partition(" ")[0] for note in state["notes"]] == ["below==1"]
    assert "2 instead" in state["notes"][0]


def test_a_package_that_can_t_be_built_is_replaced_by_one_that_can(index: Path) -> None:
    broken_source(index, "rotten", "2")
    wheel(index, "rotten", "1")
    state = over(ask("rotten==2", "tiny"))
    assert state["state"] == READY and has(state["path"], "tiny")
    assert any(note.startswith("rotten==2") for note in state["notes"])


def test_what_needs_something_broken_is_left_out(index: Path) -> None:
    broken_source(index, "rotten", "1")
    wheel(index, "needy", "1", requires=["rotten"])
    state = over(ask("needy", "tiny"))
    assert state["state"] == READY and set(state["missing"]) == {"needy"} and has(state["path"], "tiny")


def test_an_address_that_can_t_be_reached_is_left_out(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_OFFLINE")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    state = over(ask("tiny", "far @ https://127.0.0.1:1/far-1-py3-none-any.whl"))
    assert state["state"] == READY and set(state["missing"]) == {"far"}


def test_without_an_index_it_fails_and_says_what_to_check(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_OFFLINE", "UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://127.0.0.1:1/simple")
    state = over(ask("tiny"))
    assert state["state"] == FAILED and "can't be reached" in state["error"] and "network" in state["hint"]


# -- faults -----------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_what_failed_is_tried_again(index: Path) -> None:
    fake = shim(
        '[ "$1" = venv ] && mkdir -p "$6" && exit\n'
        'echo "error: No space left on device (os error 28)"; exit 2'
    )
    state = over(ask("tiny"))
    assert state["state"] == FAILED and "full" in state["error"] and "df -h" in state["hint"]
    assert not list(packages.packages_folder().glob("*.new"))
    fake.unlink()
    again = ask("tiny")
    assert again["state"] == INSTALLING and over(again)["state"] == READY


def test_a_disk_that_fills_up_is_said_and_left_with_room(index: Path) -> None:
    need(os.geteuid() == 0, "root, to mount a small disk")
    wheel(index, "large", "1", code=f"x = {os.urandom(2_000_000).hex()!r}")
    folder = packages.packages_folder()
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        state = over(ask("large"))
        assert state["state"] == FAILED and "disk of the machine is full" in state["error"], state
        assert not list(folder.glob("*.new"))
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_an_index_of_pytorch_that_is_out_of_reach_is_done_without(index: Path) -> None:
    shim(
        'case "$*" in *--torch-backend*) '
        'echo "error sending request (https://download.pytorch.org/whl/cpu/)"; '
        f'exit 2;; esac\nexec {uv.find_uv_bin()} "$@"'
    )
    state = over(ask("tiny"))
    assert state["state"] == READY and "PyTorch" in state["notes"][0] and has(state["path"], "tiny")


def test_an_installation_that_is_killed_half_way_is_started_over(index: Path, tmp_path: Path) -> None:
    fake = shim(f'[ "$1" = venv ] && mkdir -p "$6"\necho $PPID >{tmp_path}/pid; sleep 60')
    answer = ask("tiny")
    file = Path(answer["file"])
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "uv to run")
    assert is_under_way(file) and read(file)["state"] == INSTALLING
    os.killpg(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    wait_for(lambda: not is_under_way(file), "the end of both processes")
    assert read(file)["state"] == INSTALLING
    fake.unlink()
    assert over(ask("tiny"))["state"] == READY


def test_nobody_builds_beside_a_uv_whose_installer_was_killed(index: Path, tmp_path: Path) -> None:
    shim(f"echo $PPID >{tmp_path}/installer; echo $$ >{tmp_path}/uv; exec sleep 60")
    answer = ask("tiny")
    file = Path(answer["file"])
    wait_for(lambda: (tmp_path / "uv").exists() and (tmp_path / "uv").read_text().strip(), "uv to run")
    os.kill(int((tmp_path / "installer").read_text()), signal.SIGKILL)
    wait_for(lambda: packages._children[-1].poll() is not None, "the end of the installer")
    assert is_under_way(file) and ask("tiny")["state"] == INSTALLING
    os.kill(int((tmp_path / "uv").read_text()), signal.SIGKILL)
    wait_for(lambda: not is_under_way(file), "the end of uv")


def test_an_environment_that_was_deleted_is_built_again(index: Path) -> None:
    state = over(ask("tiny"))
    Path(state["path"], "bin", "python").unlink()
    Path(state["path"]).rename(Path(state["path"]).with_name("gone"))
    assert has(over(ask("tiny"))["path"], "tiny")


def test_a_machine_without_uv_asks_for_it(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = ensure({"requirements": ["tiny"]}, str(python), "/")
    assert (
        answer["lacks"] == "uv"
        and answer["architecture"]
        and answer["state"] == FAILED
        and not answer["file"]
    )


def test_an_address_with_a_password_is_seen_by_nobody(index: Path, tmp_path: Path) -> None:
    real = uv.find_uv_bin()
    shim(
        f'tr "\\0" " " </proc/$PPID/cmdline >>{tmp_path}/argv; echo "$@" >>{tmp_path}/argv\nexec {real} "$@"'
    )
    state = over(ask("--extra-index-url https://user:secret@index.example/simple", "tiny"))
    assert state["state"] == READY, state
    assert "secret" not in (tmp_path / "argv").read_text() and "secret" not in json.dumps(state)


# -- what uv is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "cuda", "line"),
    [
        ("jax", 0, "jax"),
        ("jax", 12, "jax[cuda12]"),
        ("jax>=0.4", 13, "jax[cuda13]>=0.4"),
        ("jax==0.4.30", 13, "jax[cuda12]==0.4.30"),
        (
            "jax[cuda12,k8s]==0.9.1 ; python_version > '3'",
            13,
            "jax[k8s,cuda13] ==0.9.1 ; python_version > '3'",
        ),
        ("tensorflow==2.18", 12, "tensorflow[and-cuda]==2.18"),
        ("numpy >= 2 ; python_version > '3'", 12, "numpy >= 2 ; python_version > '3'"),
        ("a @ git+https://x.example/a@b#subdirectory=c", 12, "a @ git+https://x.example/a@b#subdirectory=c"),
        ("-e ./lib[x]", 12, "-e ./lib[x]"),
        ("git+ssh://git@x.example/a.git@v1", 12, "git+ssh://git@x.example/a.git@v1"),
        ("--index-url https://x.example", 12, "--index-url https://x.example"),
    ],
)
def test_what_uv_is_asked_for(asked: str, cuda: int, line: str) -> None:
    assert Wanted(asked, cuda).line.replace(" ", "") == line.replace(" ", "")


@pytest.mark.parametrize(
    ("asked", "then"),
    [
        ("numpy==1 ; python_version > '3'", ["numpy ; python_version > '3'", ""]),
        ("numpy", [""]),
        ("a[x]>=2,<3", ["a[x]", ""]),
        ("a @ https://x.example/a.whl", [""]),
        ("-e ./lib", [""]),
    ],
)
def test_what_can_t_be_had_is_asked_for_in_any_version_then_not_at_all(asked: str, then: list[str]) -> None:
    wanted = Wanted(asked, 0)
    for line in then:
        wanted.relax("gone")
        assert wanted.line == line
