"""An emulated cloud whose machines are real hosts, as a user's account."""

from __future__ import annotations

import abc
from pathlib import Path

import pytest

from ..emulators.ec2 import Ec2
from ..emulators.gce import Gce
from ..emulators.hosts import Hosts


class Cloud(abc.ABC):
    """One cloud, used by every process that the test starts from now on.

    Args:
        hosts: What its machines are.
        folder: For the user's settings.
        patch: Sets the environment.
    """

    name: str

    def __init__(self, hosts: Hosts, folder: Path, patch: pytest.MonkeyPatch, settings: str = "") -> None:
        self.start(hosts)
        for key, value in self.environment.items():
            patch.setenv(key, value)
        config = folder / "config"
        config.mkdir()
        # hosts are in a network of their own, so this computer has no address that one of them would see
        lines = ['c.GpuRemote.ingress = "198.18.0.0/15"', f'c.GpuRemote.cloud = "{self.name}"', settings]
        (config / "jupyter_gpu_remote_config.py").write_text("\n".join(lines))
        patch.setenv("JUPYTER_CONFIG_DIR", str(config))

    environment: dict[str, str]

    @abc.abstractmethod
    def start(self, hosts: Hosts) -> None:
        """Start the emulator."""

    @abc.abstractmethod
    def close(self) -> None:
        """End it."""

    @property
    @abc.abstractmethod
    def machines(self) -> list[str]:
        """What it bills, by the id that a host has."""

    @property
    @abc.abstractmethod
    def running(self) -> list[str]:
        """Those of them that are switched on."""

    @property
    @abc.abstractmethod
    def leftovers(self) -> list[str]:
        """Everything of ours that exists there, machines and what goes with them."""

    @property
    @abc.abstractmethod
    def created(self) -> int:
        """How often a machine was asked for."""

    @abc.abstractmethod
    def take_back(self, machine: str) -> None:
        """Give notice that a machine is taken back."""


class Aws(Cloud):
    """Amazon EC2."""

    name = "aws"

    def start(self, hosts: Hosts) -> None:
        self.ec2 = Ec2(hosts)
        self.environment = dict(self.ec2.environment)

    def close(self) -> None:
        self.ec2.close()

    @property
    def machines(self) -> list[str]:
        return self.ec2.machines()

    @property
    def running(self) -> list[str]:
        return self.ec2.machines()  # one that switches itself off is terminated

    @property
    def leftovers(self) -> list[str]:
        return self.ec2.leftovers()

    @property
    def created(self) -> int:
        return len(self.ec2.calls("RunInstances"))

    def take_back(self, machine: str) -> None:
        self.ec2.notice(machine)


class Gcp(Cloud):
    """Google Compute Engine."""

    name = "gcp"

    def start(self, hosts: Hosts) -> None:
        self.gce = Gce(hosts)
        self.environment = dict(self.gce.environment)

    def close(self) -> None:
        self.gce.close()

    @property
    def machines(self) -> list[str]:
        return [name for _, name in self.gce.machines]

    @property
    def running(self) -> list[str]:
        return [name for (_, name), m in self.gce.machines.items() if m.shown["status"] == "RUNNING"]

    @property
    def leftovers(self) -> list[str]:
        return [*self.machines, *self.gce.firewalls]

    @property
    def created(self) -> int:
        return len(self.gce.inserted)

    def take_back(self, machine: str) -> None:
        self.gce.preempt(machine, after=30.0)


CLOUDS: list[type[Cloud]] = [Aws, Gcp]
