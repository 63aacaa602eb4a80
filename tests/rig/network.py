"""The network of a rig: a bridge that hosts are plugged into, and their way out to package indexes."""

from __future__ import annotations

import ctypes
import select
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TypeVar

_T = TypeVar("_T")

_NETWORKS = range(256)
"""Networks of 198.18.0.0/16, which RFC 2544 sets aside for tests."""
GATEWAY_CARD = "02:00:00:00:00:01"
_CLONE_NEWNET = 0x40000000
_IDLE = 60.0
"""Seconds after which a connection that says nothing is given up."""


def ip(*lines: str) -> None:
    """Carry out commands of ``ip``."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(["ip", "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip could not do this: {done.stderr.strip()}\n{text}")


def claim_bridge() -> tuple[str, str]:
    """Make a bridge that is nobody else's; return its name and the first three numbers of its network."""
    for number in _NETWORKS:
        name, network = f"gr{number}", f"198.18.{number}"
        add = ["ip", "link", "add", name, "address", GATEWAY_CARD, "type", "bridge"]
        if subprocess.run(add, capture_output=True, check=False).returncode == 0:
            ip(f"address add {network}.1/24 dev {name}", f"link set {name} up")
            return name, network
    raise RuntimeError("All networks are taken; `ip link delete gr0` frees one.")


def inside(pid: int, task: Callable[[], _T]) -> _T:
    """Do a task in the network namespace of a process; sockets that it makes stay there."""

    def enter_and_do() -> _T:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return task()

    # a namespace is a thread's own, and this thread ends with its task
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter_and_do).result()


class WayOut(ThreadingTCPServer):
    """A proxy that hosts reach the world through by ``CONNECT``; no routing of this computer changes."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), _Connection)
        self.url = f"http://{address}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self.shutdown()
        self.server_close()


class _Connection(StreamRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):
            method, target, *_ = self.rfile.readline().decode("latin-1").split()
            while self.rfile.readline().strip():
                pass
            host, _, port = target.rpartition(":")
            if method != "CONNECT":
                self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                return
            try:
                there = socket.create_connection((host.strip("[]"), int(port)), timeout=_IDLE)
            except OSError:
                self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with there:
                _carry(self.connection, there)


def _carry(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    peers = {one: other, other: one}
    while ready := select.select(list(peers), [], [], _IDLE)[0]:
        for source in ready:
            if not (data := source.recv(1 << 16)):
                return
            peers[source].sendall(data)


def cgroup_root() -> Path:
    """Return where cgroups of version 2 are mounted, a folder that does not exist when they aren't."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next((Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"), Path("/nowhere"))
