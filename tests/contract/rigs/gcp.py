"""Google Cloud as an emulator, with real hosts behind it where this computer can have some."""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_gpu_remote.keys import key_folder, make_key_pair
from jupyter_gpu_remote.model import Address, GpuRequest, MachineSpec

from ...conftest import need
from ...emulators.gce import Gce
from ...rig.hosts import missing
from .hosts import real_hosts
from .providers import ProviderRig


class GcpRig(ProviderRig):
    name = "gcp"
    unknown_id = "us-central1-a/gpu-remote-nobody-00000000"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gce = Gce(real_hosts())
        self._before = {name: os.environ.get(name) for name in self.gce.environment}
        os.environ.update(self.gce.environment)
        self.fitting = [
            GpuRequest(cloud="gcp", gpu="T4"),
            GpuRequest(cloud="gcp", gpu="A100", count=2),
            GpuRequest(cloud="gcp", cpus=4),
        ]
        self.unfit = [
            GpuRequest(cloud="gcp", gpu="T4", count=3),
            GpuRequest(cloud="gcp", gpu="T4", zone="us-central1-x"),
            GpuRequest(cloud="gcp", gpu="T4", max_price=0.01),
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
        # a machine runs before its sshd does; one try a second
        return [*super().ssh_options(), "-o", "ConnectionAttempts=20"]

    def kill(self, provider_id: str) -> None:
        self.gce.vanish(provider_id.partition("/")[2])

    def leftovers(self) -> list[str]:
        return [*(name for _, name in self.gce.machines), *self.gce.firewalls]

    def close(self) -> None:
        self.gce.close()
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
