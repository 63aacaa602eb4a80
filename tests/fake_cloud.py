"""A cloud in a folder, for every process that is told of the folder; it fails and dawdles as told."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote import fleet
from jupyter_gpu_remote.config import GpuRemote, state_dir
from jupyter_gpu_remote.model import Address, Description, GpuRequest, Machine, MachineSpec, Offer, Presence
from jupyter_gpu_remote.model import MachineState as S
from jupyter_gpu_remote.providers.base import Provider
from jupyter_gpu_remote.registry import Registry

CHEAP = Offer("fake", "a1", gpu="T4", count=1, region="west", zone="west-1", spot=True, price=0.5)
DEAR = Offer("fake", "a1", gpu="T4", count=1, region="east", zone="east-1", spot=True, price=1.0)
DEAREST = Offer("fake", "a1", gpu="T4", count=1, region="east", zone="east-2", spot=False, price=2.0)


class FakeProvider(Provider):
    """`offered` is what it has; `hooks` run before (``create``) or after (``created``) a method's work."""

    name = "fake"
    offered: Sequence[Offer] = (DEAR, CHEAP, DEAREST)
    hooks: dict[str, Callable[..., Any]] = {}
    boot_polls = 2
    delete_calls_needed = 2

    def _hook(self, name: str, *args: Any) -> None:
        if hook := self.hooks.get(name):
            hook(*args)

    @classmethod
    def folder(cls) -> Path:
        folder = state_dir() / f"cloud-{cls.name}"
        folder.mkdir(exist_ok=True)
        return folder

    @classmethod
    def rented(cls) -> dict[str, dict[str, Any]]:
        """Return what the cloud has and bills."""
        found = {}
        for file in cls.folder().glob("*.json"):
            with suppress(FileNotFoundError):  # deleted meanwhile
                found[file.stem] = json.loads(file.read_text())
        return found

    @classmethod
    def put(cls, provider_id: str, **values: Any) -> None:
        temporary = cls.folder() / f"{uuid.uuid4().hex}.new"
        temporary.write_text(json.dumps(values))
        temporary.replace(cls.folder() / f"{provider_id}.json")

    def offers(self, request: GpuRequest) -> Sequence[Offer]:
        self._hook("offers", request)
        return self.offered

    def create(self, offer: Offer, spec: MachineSpec) -> str:
        self._hook("create", offer, spec)
        same = [i for i, m in self.rented().items() if m["token"] == spec.token]
        provider_id = same[0] if same else f"i-{uuid.uuid4().hex[:8]}"
        if not same:
            self.put(
                provider_id,
                name=spec.name,
                token=spec.token,
                tags=dict(spec.tags),
                key=str(spec.key_file),
                zone=offer.zone,
                polls=0,
                deletes=0,
                presence="pending",
            )
        self._hook("created", offer, spec)
        return provider_id

    def describe(self, provider_id: str) -> Description:
        self._hook("describe", provider_id)
        machine = self.rented().get(provider_id)
        if machine is None:
            return Description(provider_id, "", Presence.GONE)
        machine["polls"] += 1
        if machine["presence"] == "pending" and machine["polls"] > self.boot_polls:
            machine["presence"] = "running"
        self.put(provider_id, **machine)
        return self._description(provider_id, machine)

    def machines(self) -> Sequence[Description]:
        self._hook("machines")
        return [self._description(i, m) for i, m in self.rented().items() if m["presence"] != "gone"]

    def delete(self, provider_id: str) -> None:
        self._hook("delete", provider_id)
        machine = self.rented().get(provider_id)
        if machine is None:
            return
        machine["deletes"] += 1
        self.put(provider_id, **machine)
        if machine["deletes"] >= self.delete_calls_needed:
            (self.folder() / f"{provider_id}.json").unlink()

    def stop(self, provider_id: str) -> None:
        self._hook("stop", provider_id)
        self.put(provider_id, **{**self.rented()[provider_id], "presence": "stopped"})

    def start(self, provider_id: str) -> None:
        self._hook("start", provider_id)
        self.put(provider_id, **{**self.rented()[provider_id], "presence": "pending", "polls": 0})

    @staticmethod
    def _description(provider_id: str, machine: Mapping[str, Any]) -> Description:
        presence = Presence(machine["presence"])
        address = (
            Address("192.0.2.1", 22, "me", Path(machine["key"])) if presence.value == "running" else None
        )
        return Description(provider_id, machine["name"], presence, address, "/py", machine["tags"])


def install(patch: pytest.MonkeyPatch, *providers: type[Provider], loaded: list[str] | None = None) -> None:
    """Make `providers` the ones that there are; their names go to `loaded` on use."""
    known = {p.name: p for p in providers}

    def load(name: str, config: GpuRemote) -> Provider:
        if loaded is not None:
            loaded.append(name)
        return known[name](config)

    patch.setattr(fleet, "load_provider", load)
    patch.setattr(fleet, "provider_names", lambda: sorted(known))


def silent(phase: str, text: str) -> None:
    """Report to nobody."""


def prepare_in(registry: Registry) -> Callable[[Machine], None]:
    """Return what takes a machine that has booted for ready."""

    def prepare(machine: Machine) -> None:
        registry.update(machine.name, expect=S.CONNECTING, state=S.PREPARING)
        registry.update(machine.name, expect=S.PREPARING, state=S.READY, ready_at=time.time())

    return prepare
