"""The machines of an emulated EC2, as moto keeps them: how they begin and end, with their spot requests."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .ec2_market import IMAGES
from .ec2_wire import Call, now, tags_of
from .hosts import Boot, Hosts

ACCOUNT = "123456789012"


@dataclass
class _Spot:
    """A spot request, as the cloud keeps it longer than the machine."""

    id: str
    region: str
    machine: str
    tags: Mapping[str, str]
    state: str = "active"
    status: str = "fulfilled"
    updated: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def become(self, state: str, status: str) -> None:
        if self.state != "closed":
            self.state, self.status, self.updated = state, status, datetime.now(timezone.utc)


class Machines:
    """What lives in the regions.

    Args:
        hosts: What its machines are.
        regions: Where they can be.
    """

    def __init__(self, hosts: Hosts, regions: Iterable[str]) -> None:
        self.hosts = hosts
        self.pace, self.lag = 0.02, 0
        self._asked: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._spot: dict[str, _Spot] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._regions = list(regions)
        self._start_moto()

    def _start_moto(self) -> None:
        empty = Path(tempfile.gettempdir()) / "gpu-remote-no-images.json"
        empty.write_text("[]")
        # read when moto is imported: with its own images one look at them takes seconds
        os.environ["MOTO_AMIS_PATH"] = str(empty)
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        from moto.backends import get_backend
        from moto.ec2.models.amis import Ami
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._backends = get_backend("ec2")[ACCOUNT]
        for region in self._regions:
            backend = self._backends[region]
            backend.reset()
            for image in IMAGES.values():
                backend.amis[image] = Ami(backend, image, name=image, virtualization_type="hvm", public=True)
        self._moto = DomainDispatcherApplication(create_backend_app)

    # what a test asks and decrees

    def machines(self) -> list[str]:
        """Return the ids of the machines that are billed."""
        return [m.id for m in self._machines() if m.state in ("pending", "running", "stopping", "stopped")]

    def leftovers(self) -> list[str]:
        """Return all that is left of any machine: itself, its disk, its spot request."""
        with self._lock:
            disks = [f"{v.id} of {r}" for r in self._regions for v in self._backends[r].volumes.values()]
            spot = [s.id for s in self._spot.values() if s.state in ("open", "active")]
            return self.machines() + disks + spot

    def groups(self) -> list[str]:
        """Return the names of the security groups that somebody made."""
        with self._lock:
            groups = [
                g
                for r in self._regions
                for by_id in self._backends[r].groups.values()
                for g in by_id.values()
            ]
            return [g.name for g in groups if g.name != "default"]

    def ingress(self, region: str, name: str) -> list[str]:
        """Return who may connect, as ``port address`` for each rule of a security group."""
        with self._lock:
            group = self._backends[region].get_security_group_from_name(name)
            ranges = [(rule.from_port, rule.ip_range) for rule in (group.ingress_rules if group else [])]
            return sorted(f"{port} {r.get('CidrIp') or r.get('CidrIpv6')}" for port, r in ranges)

    def notice(self, id: str) -> None:
        """Say that a spot machine will be taken back."""
        with self._lock:
            for spot in self._spot_of(id):
                spot.status = "marked-for-termination"
        self.hosts.notice(id)

    def preempt(self, id: str) -> None:
        """Take a spot machine back, now."""
        with self._lock:
            for spot in self._spot_of(id):
                spot.become("closed", "instance-terminated-no-capacity")
            self._end(id, "Server.SpotInstanceTermination", "Spot instance termination")

    def kill(self, id: str) -> None:
        """End a machine as broken hardware does."""
        with self._lock:
            self._end(id, "Server.InternalError", "Internal error on launch")

    def forget(self, id: str) -> None:
        """Know nothing of a machine any more that ended, as after an hour."""
        with self._lock:
            for region in self._regions:
                for reservation in self._backends[region].reservations.values():
                    reservation.instances = [m for m in reservation.instances if m.id != id]

    def settle(self) -> None:
        """Have every machine be at once where it is going to."""
        with self._lock:
            while self._later:
                self._go_on(float("inf"))

    def power_off(self, id: str) -> None:
        """Power a machine off from inside."""
        with self._lock:
            machine = self._machine(id)
            if machine is None or machine.state not in ("pending", "running"):
                return
            if machine.instance_initiated_shutdown_behavior == "terminate":
                self._end(id, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
            else:
                self._address(machine, None)
                self._become(machine, "stopped")

    # the life of a machine

    def _machines(self) -> list[Any]:
        with self._lock:
            return [m for region in self._regions for m in self._backends[region].all_instances()]

    def _machine(self, id: str) -> Any:
        return next((m for m in self._machines() if m.id == id), None)

    def _spot_of(self, id: str) -> Iterable[_Spot]:
        return [spot for spot in self._spot.values() if spot.machine == id]

    def _become(self, machine: Any, state: str, then: Callable[[], None] | None = None) -> None:
        from moto.ec2.models.instances import InstanceState

        codes = {
            "pending": 0,
            "running": 16,
            "shutting-down": 32,
            "terminated": 48,
            "stopping": 64,
            "stopped": 80,
        }
        machine._state = InstanceState(state, codes[state])
        if then:
            self._later.append((time.monotonic() + self.pace, then))

    def _go_on(self, now: float = 0.0) -> None:
        """Do what is due by now; nothing happens that nobody sees."""
        now = now or time.monotonic()
        due = [step for at, step in self._later if at <= now]
        self._later = [(at, step) for at, step in self._later if at > now]
        for step in due:
            step()

    def _address(self, machine: Any, address: str | None) -> None:
        for nic in machine.nics.values():
            nic.public_ip = address

    def _began(self, id: str, call: Call) -> None:
        machine = self._machine(id)
        data = machine.user_data.decode() if machine.user_data is not None else ""
        if machine.lifecycle == "spot":
            spot = _Spot(
                f"sir-{next(self._numbers):08x}", call.region, id, tags_of(call, "spot-instances-request")
            )
            self._spot[spot.id] = spot
            machine.spot_instance_request_id = spot.id
        attributes = {
            "meta-data/instance-type": machine.instance_type,
            "meta-data/placement/availability-zone": call.zone,
            "meta-data/placement/region": call.region,
        }
        self._addresses[id] = self.hosts.boot(Boot(id, "aws", data, attributes, lambda: self.power_off(id)))
        self._asked[id] = 0
        self._address(machine, None)
        self._become(machine, "pending", lambda: self._up(machine))

    def _up(self, machine: Any) -> None:
        if machine.state == "pending":
            self._address(machine, self._addresses[machine.id])
            self._become(machine, "running")

    def _end(self, id: str, code: str, message: str) -> None:
        from moto.ec2.models.instances import StateReason

        machine = self._machine(id)
        if machine.state in ("shutting-down", "terminated"):
            return
        machine.terminate()  # its disks
        machine.state_reason = StateReason(f"{code}: {message}", code)
        machine._reason = "" if code.startswith("Server.Spot") else f"{message} ({now()})"
        self._going(machine)

    def _going(self, machine: Any) -> None:
        self.hosts.delete(machine.id)
        for spot in self._spot_of(machine.id):
            spot.become("closed", "instance-terminated-by-user")

        def gone() -> None:
            self._address(machine, None)
            self._become(machine, "terminated")

        self._become(machine, "shutting-down", gone)

    def _stopped(self, machine: Any) -> None:
        if machine.state != "stopping":
            return
        self.hosts.off(machine.id)
        self._address(machine, None)
        self._become(machine, "stopped")
