"""A folder in which everything happens, and the end of all processes that came from it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Give a folder with a host key, a login key and an ssh-agent that knows it; remove it afterwards."""
    # short, for unix sockets
    work = Path(tempfile.mkdtemp(prefix="bench-")).resolve()
    try:
        for key in ("host_key", "key"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(work / key)]
            subprocess.run(argv, check=True)
        home_of_sites(work).mkdir()
        with ending(["ssh-agent", "-D", "-a", str(_agent(work))], stdout=subprocess.DEVNULL):
            end = time.monotonic() + 10
            while not _agent(work).exists() and time.monotonic() < end:
                time.sleep(0.01)
            subprocess.run(["ssh-add", "-q", work / "key"], env=environment(work), check=True)
            yield work
    finally:
        end_clients(work)
        end_machines(work)
        shutil.rmtree(work, ignore_errors=True)


def home_of_sites(work: Path) -> Path:
    """Return the home folder on all sites: what is set up there once serves at the end of the cable too."""
    return work / "home"


def _agent(work: Path) -> Path:
    return work / "ssh-agent"


def _state(work: Path) -> Path:
    return work / "state"


def environment(work: Path) -> dict[str, str]:
    """Return an environment that keeps everybody's files and connections inside the workplace."""
    mine = {
        "IPYTHONDIR": work / "ipython",
        "JUPYTER_CONFIG_DIR": work / "config",
        "JUPYTER_DATA_DIR": work / "data",
        "JUPYTER_GPU_REMOTE_DIR": _state(work),
        "JUPYTER_RUNTIME_DIR": work / "runtime",
        "XDG_RUNTIME_DIR": work / "run",
    }
    for folder in mine.values():
        folder.mkdir(mode=0o700, exist_ok=True)
    mine["SSH_AUTH_SOCK"] = _agent(work)
    given = dict(os.environ)
    given.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    return given | {name: str(path) for name, path in mine.items()}


def end_clients(work: Path) -> None:
    """End what runs on this side and outlived its part, such as shared connections."""

    def is_ours(process: psutil.Process) -> bool:
        # a shared ssh writes its title over its environment
        if process.name() == "ssh":
            return f"{work}/" in " ".join(process.cmdline())
        return bool(process.environ().get("JUPYTER_GPU_REMOTE_DIR") == str(_state(work)))

    _end_all(is_ours)


def end_machines(work: Path) -> None:
    """End agents and kernels on the sites, which go on by design."""
    home = str(home_of_sites(work))
    _end_all(lambda process: bool(process.environ().get("HOME") == home))


def _end_all(matches: Callable[[psutil.Process], bool]) -> None:
    def found() -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # it has just ended, or is not for us to look into
                if matches(process):
                    yield process

    while processes := list(found()):
        _end(processes)  # meanwhile one of them may have started another


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    stubborn = psutil.wait_procs(processes, timeout=5)[1]
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)


@contextlib.contextmanager
def ending(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block is left, and then end it with all its descendants."""
    process = subprocess.Popen(argv, start_new_session=True, text=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(process.pid)
            _end([top, *top.children(recursive=True)])
        process.wait(10)
