"""AWS as an emulator, with real hosts behind it where this computer can have some."""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_gpu_remote.keys import key_folder, make_key_pair
from jupyter_gpu_remote.model import Address, GpuRequest, MachineSpec

from ...conftest import need
from ...emulators.ec2 import Ec2
from ...rig.hosts import missing
from .hosts import real_hosts
from .providers import ProviderRig


class AwsRig(ProviderRig):
    name = "aws"
    unknown_id = "us-east-1/i-0123456789abcdef0"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ec2 = Ec2(real_hosts())
        self._before = {name: os.environ.get(name) for name in self.ec2.environment}
        os.environ.update(self.ec2.environment)
        self.fitting = [
            GpuRequest(cloud="aws", gpu="T4"),
            GpuRequest(cloud="aws", gpu="A100", count=8),
            GpuRequest(cloud="aws", gpu="L4", spot=True, zone="us-west-2b"),
            GpuRequest(cloud="aws", cpus=4, spot=False, region="us-east-1"),
        ]
        self.unfit = [
            GpuRequest(cloud="aws", gpu="A100", count=2),
            GpuRequest(cloud="aws", gpu="T4", zone="us-east-1z"),
            GpuRequest(cloud="aws", gpu="T4", region="mars-north-1"),
            GpuRequest(cloud="aws", gpu="T4", memory=10**6),
        ]

    def spec(self, name: str = "m1", token: str = "token-1") -> MachineSpec:
        folder = key_folder(name)
        user_key = make_key_pair(folder / "user", name)
        make_key_pair(folder / "host", name)
        tags = {"owner": "somebody", "purpose": "a test"}
        ingress = "203.0.113.7/32"
        return MachineSpec(name, token, user_key, folder / "user", folder / "host", tags, ingress=ingress)

    def host_key(self, address: Address) -> str:
        need(real_hosts(), f"machines that answer need {missing()}")
        return super().host_key(address)

    def ssh_options(self) -> list[str]:
        # a machine is up before its sshd is; one try a second
        return [*super().ssh_options(), "-o", "ConnectionAttempts=20"]

    def kill(self, provider_id: str) -> None:
        self.ec2.kill(provider_id.partition("/")[2])

    def leftovers(self) -> list[str]:
        return self.ec2.leftovers()

    def close(self) -> None:
        self.ec2.close()
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
