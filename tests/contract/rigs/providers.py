"""One rig for each provider: how to make it, what it can be asked for, how to break it."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import psutil

from jupyter_gpu_remote.config import GpuRemote, state_dir
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import Address, GpuRequest, MachineSpec, Presence
from jupyter_gpu_remote.providers.base import Provider, load_provider

from ...conftest import need, wait_for


class ProviderRig(ABC):
    """A provider in a world of its own.

    Args:
        folder: Where the rig may put files.

    Attributes:
        name: The provider's.
        settings: Traits of `GpuRemote`, enough to make the provider in another process too.
        unknown_id: An id of a well-formed machine that does not exist.
        fitting: Requests that it has offers for.
        unfit: Requests that it has none for.
        presence_when_killed: What it says of a machine that was ended from outside.
        limit: Seconds that a machine may take to come or to go.
    """

    name: ClassVar[str]
    unknown_id: ClassVar[str]
    presence_when_killed: ClassVar[Presence] = Presence.GONE
    limit: ClassVar[float] = 30

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {}
        self.fitting = [GpuRequest(cloud=self.name), GpuRequest(cloud=self.name, gpu="A100", count=2)]
        self.unfit: list[GpuRequest] = []

    def provider(self) -> Provider:
        """Return the provider, made anew: it may keep nothing in memory."""
        return load_provider(self.name, GpuRemote(**self.settings))

    def spec(self, name: str = "m1", token: str = "token-1") -> MachineSpec:
        """Return what to create, with keys of its own."""
        key, host_key = self.folder / f"{name}.key", self.folder / f"{name}.host"
        make_key_pair(host_key, name)
        tags = {"owner": "somebody", "purpose": "a test"}
        return MachineSpec(name, token, make_key_pair(key, name), key, host_key, tags)

    def host_key(self, address: Address) -> str:
        """Return the key that the machine at `address` must show."""
        return address.host_key

    def ssh_options(self) -> list[str]:
        """Return what ``ssh`` needs besides the address."""
        return ["-F", "none"]

    @abstractmethod
    def kill(self, provider_id: str) -> None:
        """End the machine as a power cut would, behind the provider's back."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """Return all that is left of any machine."""

    def close(self) -> None:
        """Remove everything."""
        for machine in self.provider().machines():
            self.provider().delete(machine.provider_id)


class LocalRig(ProviderRig):
    name = "local"
    unknown_id = "no-such-machine"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.unfit = [GpuRequest(cloud="local", cpus=10**6), GpuRequest(cloud="local", memory=10**6)]

    @staticmethod
    def processes(provider_id: str) -> list[psutil.Process]:
        """Return the processes that say they belong to a machine, its server first."""
        marks = {
            "GPU_REMOTE_MACHINE": provider_id,
            "GPU_REMOTE_MACHINE_DIR": str(state_dir().resolve() / "machines" / provider_id),
        }.items()
        found = psutil.process_iter(["environ", "create_time"])
        return sorted(
            (p for p in found if marks <= (p.info["environ"] or {}).items()),
            key=lambda p: float(p.info["create_time"]),
        )

    def kill(self, provider_id: str) -> None:
        self.processes(provider_id)[0].kill()

    def leftovers(self) -> list[str]:
        folder = state_dir() / "machines"
        files = [str(p) for p in folder.iterdir() if p.name != ".lock"]
        return files + [str(p) for p in self.processes("m1")]


class SshRig(ProviderRig):
    """A real sshd, known to the user's configuration under an alias."""

    name = "ssh"
    unknown_id = "nobody@nowhere.invalid:2222"
    presence_when_killed = Presence.RUNNING  # whether it answers is for who logs in to say

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        need(shutil.which("ssh"), "the OpenSSH client")
        sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        need(sshd, "an OpenSSH server")
        self.settings = {"ssh_hosts": ["gpu-box"]}
        self.unfit = [GpuRequest(gpu="A100")]  # nobody knows what GPU it has
        self._host_key = make_key_pair(folder / "sshd.host", "sshd")
        user_key = make_key_pair(folder / "user", "user")
        (folder / "authorized").write_text(user_key + "\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder / 'sshd.host'}\nPidFile none\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nStrictModes no\nPasswordAuthentication no\n"
        )
        (folder / "ssh_config").write_text(
            f"Host gpu-box\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder / 'user'}\n  IdentitiesOnly yes\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd as root insists on it
        with (folder / "sshd.log").open("wb") as log:
            self.sshd = subprocess.Popen(
                [str(sshd), "-D", "-e", "-f", folder / "sshd_config"], stdin=subprocess.DEVNULL, stderr=log
            )
        wait_for(self._answers, "sshd to listen")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def host_key(self, address: Address) -> str:
        return self._host_key

    def ssh_options(self) -> list[str]:
        return ["-F", str(self.folder / "ssh_config")]

    def kill(self, provider_id: str) -> None:
        self.sshd.send_signal(signal.SIGKILL)
        self.sshd.wait()

    def leftovers(self) -> list[str]:
        return [str(p) for p in (state_dir() / "ssh").iterdir()]

    def close(self) -> None:
        super().close()
        self.sshd.kill()
        self.sshd.wait()


def login(rig: ProviderRig, address: Address) -> list[str]:
    """Return the argv that logs in with plain ``ssh``, insisting on the host key; a command follows."""
    known = rig.folder / "known_hosts"
    known.write_text(f"machine {rig.host_key(address)}\n")
    argv = ["ssh", *rig.ssh_options(), "-o", "BatchMode=yes", "-o", "HostKeyAlias=machine"]
    argv += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
    if address.key_file:
        argv += ["-o", "IdentitiesOnly=yes", "-i", str(address.key_file)]
    if address.port:
        argv += ["-p", str(address.port)]
    return [*argv, f"{address.user}@{address.host}" if address.user else address.host]
