"""What a test does with a host: give it its keys, and log in."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_gpu_remote.bootstrap import user_data
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import Address, MachineSpec

from ..conftest import wait_for
from ..emulators.hosts import Boot
from .hosts import NetnsHosts


class Guest:
    """A host that was told what every new machine is, with keys of its own.

    Args:
        hosts: What it is one of.
        folder: Where its keys go.
        id: Its id.
        cloud: Whose metadata service it sees.
        config: Lists of cloud-config, in addition to what every machine is told.

    Attributes:
        address: The way in.
        ended: Whether it told that it powered itself off.
    """

    def __init__(
        self, hosts: NetnsHosts, folder: Path, id: str, cloud: str, config: Mapping[str, list[Any]]
    ) -> None:
        self.hosts, self.id, self.ended = hosts, id, False
        key, host_key = folder / f"{id}.key", folder / f"{id}.host"
        public, public_host = make_key_pair(key, id), make_key_pair(host_key, id)
        first, _, text = user_data(MachineSpec(id, id, public, key, host_key)).partition("\n")
        told = json.loads(text)
        told |= {name: told.get(name, []) + value for name, value in config.items()}
        ip = hosts.boot(Boot(id, cloud, f"{first}\n{json.dumps(told)}", ended=self._end))
        self.address = Address(ip, 22, "ubuntu", key, " ".join(public_host.split()[:2]))
        self._known = folder / f"{id}.known"
        self._known.write_text(f"{ip} {self.address.host_key}\n")

    def _end(self) -> None:
        self.ended = True

    def answers(self) -> bool:
        """Return whether its sshd says something within a second."""
        try:
            with socket.create_connection((self.address.host, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def ready(self) -> Guest:
        """Wait until it answers."""
        wait_for(self.answers, f"{self.id} to answer; it said: {self.hosts.console(self.id)}")
        return self

    def ssh(self, *words: str) -> list[str]:
        """Return the command that runs a command line over there."""
        options = ["BatchMode=yes", f"UserKnownHostsFile={self._known}", "ConnectTimeout=5"]
        command = ["ssh", "-F", "none", "-i", str(self.address.key_file)]
        command += [word for option in options for word in ("-o", option)]
        return [*command, f"ubuntu@{self.address.host}", *words]

    def run(self, *words: str, input: str = "") -> str:
        """Run a command line over there; return what it says, and fail when it fails."""
        done = subprocess.run(
            self.ssh(*words), input=input, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
