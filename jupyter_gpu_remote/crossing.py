"""Machines that can't reach each other: what they say to one another goes through this computer, by SSH.

Each has an address of 127.0.0.0/8 that is good on every one of them. On a machine, `clusterhost` listens at
those of the others; each connection that it takes becomes two channels of SSH, joined here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

from .errors import GpuRemoteError
from .machine import LiveMachine
from .transport.base import Stream

_AGAIN = 0.5
"""Seconds until a machine is tried again on which nobody listens."""
_PIECE = 1 << 16
FREE = """
import socket
here = socket.create_server(("", 0))
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    probe.connect(("10.255.255.255", 1))
    own = probe.getsockname()[0]
except OSError:
    own = "127.0.0.1"
print(own, here.getsockname()[1], flush=True)
"""
"""A program that says the address of its machine, and a port there that was free."""
_LISTEN = f"""
import signal, sys, threading
signal.alarm(30)
{FREE}
def serve():
    while True:
        there = here.accept()[0]
        there.sendall(sys.argv[1].encode())
        there.close()
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
"""
_CONNECT = """
import socket, sys
for name, host, port in zip(*[iter(sys.argv[1:])] * 3):
    try:
        with socket.create_connection((host, int(port)), timeout=3) as there:
            met = there.recv(200).decode() == name
    except OSError:
        met = False
    if not met:
        print(name)
"""


def apart(machines: Sequence[LiveMachine]) -> list[tuple[str, str]]:
    """Return which machines can't reach which others, by trying; those that don't answer are left out."""
    listening = []
    try:
        for live in machines:
            name = live.machine.name  # who answers says it: in another network, others have the same address
            with contextlib.suppress(GpuRemoteError):
                process = live.transport.popen([live.machine.python, "-I", "-c", _LISTEN, name])
                listening.append((name, process))
        said = [(name, process.stdout.readline().decode().split()) for name, process in listening]

        def missed(live: LiveMachine) -> list[tuple[str, str]]:
            others = [word for name, at in said if at and name != live.machine.name for word in (name, *at)]
            with contextlib.suppress(GpuRemoteError):
                done = live.transport.run([live.machine.python, "-I", "-c", _CONNECT, *others])
                return [(live.machine.name, name) for name in done.stdout.decode().split()]
            return []

        with ThreadPoolExecutor(max(1, len(machines))) as pool:
            return [pair for pairs in pool.map(missed, machines) for pair in pairs]
    finally:
        for _, process in listening:
            process.kill()


class Crossing:
    """What joins machines of one cluster.

    Args:
        cluster: What tells it from others.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._machines: dict[str, LiveMachine] = {}
        self._ports: dict[str, int] = {}
        self._over = threading.Event()

    def place(self, live: LiveMachine) -> dict[str, str]:
        """Return at which address a machine is, and the socket over there by which it is joined to others."""
        digest = hashlib.sha256(f"{self._cluster} {live.machine.name}".encode()).digest()
        own = hashlib.sha256(self._cluster.encode()).hexdigest()[:8]
        path = PurePosixPath(live.machine.agent_socket).with_name(f"cross-{own}")
        return {"host": f"127.{64 + digest[0] % 128}.{digest[1]}.{1 + digest[2] % 254}", "socket": str(path)}

    def keep(self, machines: Sequence[LiveMachine]) -> None:
        """Join these machines, as soon as their parts of the cluster are there, and no others."""
        for name in self._machines.keys() - {live.machine.name for live in machines}:
            del self._machines[name]
        for live in machines:
            if self._machines.get(live.machine.name) is not live:
                self._machines[live.machine.name] = live
                threading.Thread(target=self._serve, args=(live,), name="crossing", daemon=True).start()

    def close(self) -> None:
        """Let go of all."""
        self._over.set()
        self._machines.clear()

    def _ask(self, live: LiveMachine, wish: dict[str, Any], sure: bool = True) -> Stream:
        stream = live.transport.connect_unix(self.place(live)["socket"], sure=sure)
        stream.sendall(json.dumps(wish).encode() + b"\n")
        return stream

    def _serve(self, live: LiveMachine) -> None:
        """Wait for connections that a machine wants to have to others."""
        name, told = live.machine.name, False
        while not self._over.is_set() and self._machines.get(name) is live:
            try:
                if not told:
                    live.transport.open()
                    self._tell(live)
                    told = True
                    for other in list(self._machines.values()):
                        with contextlib.suppress(GpuRemoteError, OSError, ValueError):
                            self._tell(other)
                stream = self._ask(live, {"next": True})
                host, port = _line(stream).split()
                threading.Thread(target=self._carry, args=(stream, host, int(port)), daemon=True).start()
            except (GpuRemoteError, OSError, ValueError):
                told = False
                self._over.wait(_AGAIN)

    def _tell(self, live: LiveMachine) -> None:
        """Tell a machine at which addresses others are, and hear how many ports it has."""
        others = {
            self.place(other)["host"]: self._ports.get(name, 1)
            for name, other in list(self._machines.items())
            if other is not live
        }
        stream = self._ask(live, {"listen": others})
        with contextlib.closing(stream):
            self._ports[live.machine.name] = int(_line(stream))

    def _carry(self, one: Stream, host: str, port: int) -> None:
        """Join a connection to the one that it is meant to be."""
        there = next((m for m in list(self._machines.values()) if self.place(m)["host"] == host), None)
        with contextlib.closing(one), contextlib.suppress(GpuRemoteError, OSError):
            if there is not None:
                other = self._ask(there, {"to": [host, port]}, sure=False)
                with contextlib.closing(other):
                    join(one, other)


def join(one: Stream | socket.socket, other: Stream | socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    back = threading.Thread(target=_copy, args=(other, one), name="crossing", daemon=True)
    back.start()
    _copy(one, other)


def _copy(source: Stream | socket.socket, target: Stream | socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            target.sendall(data)
    target.close()


def _line(stream: Stream) -> str:
    """Return the next line; what follows it is not touched."""
    text = b""
    while not text.endswith(b"\n"):
        if not (byte := stream.recv(1)):
            raise OSError("the connection has ended")
        text += byte
    return text.decode()
