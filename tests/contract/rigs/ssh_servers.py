"""The SSH servers that every transport must get along with; a new one joins by a line in `SERVERS`."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import Address, GpuRequest, MachineSpec
from jupyter_gpu_remote.providers.local import LocalProvider

from ...conftest import wait_for
from ...sshd import Sshd


@contextlib.contextmanager
def real_sshd(folder: Path) -> Iterator[Address]:
    """OpenSSH's server."""
    sshd = Sshd(folder)
    try:
        yield sshd.start().address
    finally:
        sshd.stop()


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[Address]:
    """The server of a `local` machine."""
    user_key = make_key_pair(folder / "login_key", "")
    make_key_pair(folder / "host_key", "")
    provider = LocalProvider(GpuRemote())
    spec = MachineSpec("m1", "token", user_key, folder / "login_key", folder / "host_key")
    # it outlives the state folder of a single test
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(folder / "state"))
        machine = provider.create(provider.offers(GpuRequest(cloud="local"))[0], spec)
        wait_for(lambda: provider.describe(machine).address, "the local machine to be up")
        address = provider.describe(machine).address
    assert address
    try:
        yield address
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(folder / "state"))
            provider.delete(machine)


SERVERS: dict[str, Callable[[Path], AbstractContextManager[Address]]] = {
    "sshd": real_sshd,
    "embedded": embedded,
}


@contextlib.contextmanager
def own_control_folder() -> Iterator[Path]:
    """Yield a short folder for XDG_RUNTIME_DIR; every ssh that uses it is ended with it."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="r") as folder:
        try:
            yield Path(folder)
        finally:
            for process in control_masters(folder):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def control_masters(folder: str | Path) -> list[psutil.Process]:
    """Return the ssh processes whose control socket is in `folder`."""
    found = psutil.process_iter(["name", "cmdline"])
    return [p for p in found if p.info["name"] == "ssh" and str(folder) in " ".join(p.info["cmdline"] or [])]


@contextlib.contextmanager
def unix_server(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen at `path` and give each connection to `serve` in a thread of its own."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=handle, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield str(path)
    finally:
        # closing alone does not wake the thread in accept()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def echo(connection: socket.socket) -> None:
    """Send back what comes."""
    while data := connection.recv(1 << 18):
        connection.sendall(data)
