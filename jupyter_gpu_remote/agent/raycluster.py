"""The Ray cluster of a kernel: its head, and what machines beside the kernel's join.

Runs in the kernel's process, except for what it starts, which is this file as a program: Ray on this machine,
which ends with the kernel. Ray listens on all addresses of a machine, and takes nobody's word who has not the
token that was made for this cluster.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_UP_LIMIT = 90.0
"""Seconds for Ray to be up on a machine."""
_END_LIMIT = 10.0
_LOOK = 0.1
_UP = "Ray runtime started"


class Node:
    """Ray on this machine; it ends with this process.

    Args:
        ticket: Where the cluster is and what opens it; None: its head is to be here.

    Raises:
        RuntimeError: It did not come up.
        ImportError: There is no Ray.
    """

    def __init__(self, ticket: Mapping[str, str] | None = None) -> None:
        from ipykernel.connect import get_connection_file

        from .cluster import ADDRESS, own_address, visible_gpus

        # waits for it, where the packages are still being installed
        if importlib.util.find_spec("ray") is None:
            raise ImportError("There is no ray on the machine, and --engine ray needs it.")
        self.folder = Path.home() / ".gpu-remote" / "cluster" / f"{os.getpid()}-{secrets.token_hex(4)}"
        self.folder.mkdir(mode=0o700, parents=True)
        own = os.environ.get(ADDRESS) or own_address()
        words = [f"--node-ip-address={own}", f"--num-gpus={len(visible_gpus())}", "--disable-usage-stats"]
        if ticket is None:
            with socket.create_server(("", 0)) as free, socket.create_server(("", 0)) as other:
                port, for_clients = (one.getsockname()[1] for one in (free, other))
            self.ticket = {"id": self.folder.name, "address": f"{own}:{port}", "token": secrets.token_hex(32)}
            words += [
                "--head",
                f"--port={port}",
                "--include-dashboard=false",
                f"--ray-client-server-port={for_clients}",
            ]
            # beside the kernel's sockets: a socket's name must be short
            words += [f"--temp-dir={Path(get_connection_file()).with_name(f'ray-{os.getpid()}')}"]
        else:
            self.ticket = dict(ticket)
            words += [f"--address={self.ticket['address']}"]
        self.environment = {
            "RAY_ADDRESS": self.ticket["address"],
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.ticket["token"],
        }
        paths = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        log = self.folder / "log"
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), "start", "--block", *words],
                env={**os.environ, **self.environment, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # a cell's interrupt is not for it
            )
        try:
            self._await_start(log)
        except BaseException:  # an interrupt, too
            self.close()
            raise
        if ticket is None:
            file = self.folder / "ray.json"
            file.touch(0o600)
            file.write_text(json.dumps(self.ticket))

    def _await_start(self, log: Path) -> None:
        end = time.monotonic() + _UP_LIMIT
        while _UP not in (text := log.read_text(errors="replace")):
            if not self.runs or time.monotonic() > end:
                raise RuntimeError(f"Ray did not start: {text.strip()[-2000:] or 'it said nothing'}")
            time.sleep(_LOOK)

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


_here: Node | None = None
_joined: dict[str, Node] = {}


def start() -> None:
    """Have a cluster whose head runs here; ``ray.init(address="auto")`` finds it."""
    global _here
    if _here is None or not _here.runs:
        if _here is not None:
            _here.close()
        _here = Node()
        os.environ.update(_here.environment)


def join(file: str) -> None:
    """Be a part of the cluster that the ticket in `file` leads to, until it ends or this is interrupted.

    The file is removed. Called again with the same ticket, it goes on with the processes of before.
    """
    ticket = json.loads(Path(file).read_text())
    Path(file).unlink()
    node = _joined.get(ticket["id"])
    if node is None or not node.runs:
        while _joined:
            _joined.popitem()[1].close()
        node = _joined[ticket["id"]] = Node(ticket)
    print("up", flush=True)
    while node.runs:
        time.sleep(_LOOK)


def _main() -> None:
    """Be ``ray``, until the process ends that started this."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    del sys.path[0]  # this file's folder: its modules are not the user's
    from ray.scripts.scripts import main

    for word in sys.argv:
        if word.startswith("--temp-dir="):  # what is registered first comes last, when Ray has ended
            atexit.register(shutil.rmtree, word.partition("=")[2], ignore_errors=True)
    main()


if __name__ == "__main__":
    _main()
