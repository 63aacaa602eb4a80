"""A notebook whose processes can be told from those of others, to cut or to kill them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import psutil
import pytest

from jupyter_gpu_remote.registry import Registry
from tests.conftest import need
from tests.notebooks import Notebook, notebook


@contextmanager
def own_notebook(folders: pytest.TempPathFactory) -> Iterator[Notebook]:
    """Open a notebook with a state folder and sockets of its own, and have its machine up."""
    need(which("ssh"), "OpenSSH, whose connection can be cut from outside")
    short = TemporaryDirectory(prefix="gr-", dir="/tmp")  # sockets want it short
    with pytest.MonkeyPatch.context() as patch, short as sockets:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(folders.mktemp("state")))
        patch.setenv("XDG_RUNTIME_DIR", sockets)
        with notebook(folders.mktemp("notebook")) as opened:
            opened.sockets, opened.state = sockets, os.environ["JUPYTER_GPU_REMOTE_DIR"]
            assert not opened.remote("import time").error
            yield opened


def processes(*words: str) -> list[psutil.Process]:
    """Return the processes that have all `words` in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if all(word in line for word in words):
            found.append(process)
    return found


def cut(book: Notebook) -> None:
    """End the SSH connection without a word."""
    (master,) = processes(book.sockets, "[mux]")
    master.kill()
    master.wait(10)


def store_of() -> Path:
    """Return where the only machine keeps the data of variables."""
    (machine,) = Registry().machines()
    (host,) = Path(machine.home).glob(".gpu-remote/host/*")
    return host / "store"
