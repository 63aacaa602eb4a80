"""One host: namespaces of its own, a disk that outlives them, and its metadata service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..conftest import wait_for
from ..emulators import metadata
from ..emulators.hosts import Boot
from .cable import Cable
from .network import GATEWAY_CARD, inside, ip

_BOOT = Path(__file__).with_name("boot.sh")
_ROOM = "size=8g"
"""The disk of a host; it is memory, as far as it is used."""
_POWER_OFF_LIMIT = 5.0
"""Seconds that a host which is switched off has to end by itself."""


@dataclass(frozen=True)
class Site:
    """Where a rig's hosts stand.

    Attributes:
        folder: What the rig keeps on this computer.
        cgroup: The cgroup that theirs are in.
        bridge: The bridge that they are plugged into.
        gateway: This computer's address on it.
        shared: A folder of packages already downloaded, for all of them.
        installed: The packages of this Python, which they can read in ``/opt/installed``.
        settings: Environment variables of every program on them.
    """

    folder: Path
    cgroup: Path
    bridge: str
    gateway: str
    shared: Path
    installed: Path
    settings: Mapping[str, str]


class Host:
    """A host that is off at first.

    Args:
        site: Where it stands.
        boot: What it is booted with.
        number: The last number of its address.
        delay: Seconds that a packet to it, or from it, takes.
    """

    def __init__(self, site: Site, boot: Boot, number: int, delay: float) -> None:
        self.number = number
        self._site, self._boot, self._delay = site, boot, delay
        self.address = f"{site.gateway.rpartition('.')[0]}.{number}"
        self._card = f"02:00:00:00:00:{number:02x}"
        self._plug = f"{site.bridge}-{number}"
        self._cgroup = site.cgroup / str(number)
        self._disk = site.folder / "disks" / str(number)
        self.console = site.folder / f"{number}.console"
        self.metadata = metadata.metadata_of(boot)
        self._process: subprocess.Popen[bytes] | None = None
        self._services: list[Cable | metadata.Service] = []
        self._lock = threading.RLock()
        self._cgroup.mkdir()
        self._disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,{_ROOM}", "disk", self._disk], check=True)
        # an address that is silent, like that of a machine that is gone, has a known card
        ip(f"neighbour replace {self.address} lladdr {self._card} dev {site.bridge} nud permanent")

    @property
    def pid(self) -> int:
        """The number that its first process has on this computer; fails when it is off."""
        assert self._process is not None, f"{self._boot.id} is off"
        return _only_child(self._process.pid)

    def on(self) -> None:
        """Switch it on; it answers a moment later."""
        with self._lock:
            if self._process is not None:
                return
            site = self._site
            words: list[str | Path] = [self._cgroup, site.folder / "layer", self._disk, site.shared]
            words += [site.installed, self._boot.id, self.address, self._card, site.gateway, GATEWAY_CARD]
            words += [f"{k}={v}" for k, v in {"CLOUD": self._boot.cloud, **site.settings}.items()]
            with self.console.open("ab") as console:
                process = subprocess.Popen(
                    [_BOOT, *words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=console,
                    start_new_session=True,
                )
            assert process.stdin and process.stdout
            with process.stdin, process.stdout:
                self._await(process.stdout, b"ready\n")
                self._serve(process.pid)
                process.stdin.write(b"wired\n")
                process.stdin.flush()
                self._await(process.stdout, b"up\n")
            self._process = process
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _serve(self, pid: int) -> None:
        """Wire it up, and have its metadata service listen inside."""
        if self._delay:
            self._services.append(Cable(self._plug, pid, self._delay))
        else:
            ip(f"link add {self._plug} type veth peer name eth0 netns {pid}")
        ip(f"link set {self._plug} master {self._site.bridge} up")
        listener = inside(pid, lambda: socket.create_server(("169.254.169.254", 80), backlog=64))
        self._services.append(metadata.Service(self.metadata, listener))

    def _await(self, output: IO[bytes], word: bytes) -> None:
        said = output.readline()
        assert said == word, f"{self._boot.id} did not boot: {self.console.read_text()}"

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with self._lock:
            by_itself = self._process is process
            if by_itself:
                self._end(process)
        if by_itself:
            self._boot.ended()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """See that nothing of it runs any more; not one more packet leaves it."""
        self._process = None
        ip(f"link set {self._plug} nomaster")
        (self._cgroup / "cgroup.kill").write_text("1")
        (self._cgroup / "cgroup.freeze").write_text("0")
        process.wait()
        wait_for(lambda: self._says("populated 0"), f"the processes of {self._boot.id} to be gone")
        ip(f"link delete {self._plug}")
        # its namespace, and what is in there, lasts for as long as one of these does
        for service in self._services:
            service.close()
        self._services.clear()

    def off(self) -> None:
        """Switch it off, as with its power button; its disk stays."""
        with self._lock:
            if (process := self._process) is None:
                return
            self._process = None  # so it does not end by itself
            with suppress(ProcessLookupError, FileNotFoundError, ValueError, subprocess.TimeoutExpired):
                os.kill(_only_child(process.pid), signal.SIGTERM)
                process.wait(_POWER_OFF_LIMIT)
            self._end(process)

    def kill(self) -> None:
        """End it like a power cut: not one more packet leaves it, and nobody is told."""
        with self._lock:
            if self._process is not None:
                self._end(self._process)

    def delete(self) -> None:
        """Take it away with its disk."""
        with self._lock:
            self.kill()
            subprocess.run(["umount", "-l", self._disk], check=True)
            self._disk.rmdir()
            self._cgroup.rmdir()

    def freeze(self, frozen: bool) -> None:
        """Stop every process of it, or let them go on; its network card goes on in any case."""
        (self._cgroup / "cgroup.freeze").write_text(f"{frozen:d}")
        wait_for(lambda: self._says(f"frozen {frozen:d}"), f"{self._boot.id} to freeze or thaw")

    def plug(self, plugged: bool) -> None:
        """Put its cable in or take it out: packets get lost, and neither end is told."""
        ip(f"link set {self._plug} " + (f"master {self._site.bridge}" if plugged else "nomaster"))

    def isolate(self, alone: bool) -> None:
        """Have it reach this computer alone and no other host, or undo that."""
        ip(f"link set {self._plug} type bridge_slave isolated " + ("on" if alone else "off"))

    def fill(self, full: bool) -> None:
        """Leave no room on its disk, or as much as there was."""
        disk = os.statvfs(self._disk)
        size = f"size={(disk.f_blocks - disk.f_bfree) * disk.f_frsize}" if full else _ROOM
        subprocess.run(["mount", "-o", f"remount,{size}", self._disk], check=True)

    def _says(self, event: str) -> bool:
        return event in (self._cgroup / "cgroup.events").read_text().splitlines()


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
