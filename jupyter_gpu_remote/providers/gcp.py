"""Google Cloud: GPU machines of Compute Engine, in the user's own project."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from .. import catalog
from ..errors import ConfigurationError, MachineNotFoundError, ProviderError
from ..model import Description, GpuRequest, MachineSpec, Offer, Presence
from ..offers import rank
from .base import Provider, address_of
from .gcp_clients import Compute, connect
from .gcp_errors import repeatable
from .gcp_firewall import admit, remove_rules, rule_name, rules
from .gcp_machine import DISK_PRICE, LABEL, USER, decode_label, disk_size, made_of
from .gcp_market import on_sale, within_quotas

OPERATION_LIMIT = 120.0
"""Seconds to wait for what becomes of a request; a zone without capacity says so within a minute."""
ATTEMPTS = 4
"""Times that an operation which ended as busy is begun."""

_ID = re.compile(r"(?P<zone>[a-z]+-[a-z0-9]+-[a-z0-9]+)/(?P<name>gpu-remote-[a-z0-9-]{0,51}[a-z0-9])")
_PRESENCE = {
    "RUNNING": Presence.RUNNING,
    # until it is off, as what it was
    "STOPPING": Presence.RUNNING,
    "PENDING_STOP": Presence.RUNNING,
    "DEPROVISIONING": Presence.RUNNING,
    "SUSPENDING": Presence.RUNNING,
    # also after it powered itself off: its disk is there and billed
    "TERMINATED": Presence.STOPPED,
    "STOPPED": Presence.STOPPED,
    "SUSPENDED": Presence.STOPPED,
}


class GcpProvider(Provider):
    """Machines in the zones of Compute Engine; an id is ``zone/name``."""

    name = "gcp"

    def offers(self, request: GpuRequest) -> Sequence[Offer]:
        """Return what the zones have within the project's quotas, with the prices of the catalog.

        Raises:
            QuotaError: There is something, and the project may have none of it.
            ProviderAuthError: There are no usable credentials.
        """
        compute = connect()
        disk = disk_size(request.disk) * DISK_PRICE
        fitting = rank(on_sale(compute, catalog.matching(self.name, request), disk), request)
        return within_quotas(compute, fitting)

    def create(self, offer: Offer, spec: MachineSpec) -> str:
        compute = connect()
        admit(compute, spec.ingress, spec.beside)
        machine = made_of(offer, spec)
        for attempt in range(ATTEMPTS):
            # the same request again is answered with what became of it
            request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{spec.token} {attempt}"))
            try:
                _do(
                    compute,
                    offer.zone,
                    "insert_unary",
                    instance_resource=machine,
                    request_id=request_id,
                )
                break
            except ProviderError as e:
                if e.cloud_code in ("alreadyExists", "RESOURCE_ALREADY_EXISTS"):
                    break  # its name has the token in it
                if not repeatable(e) or attempt == ATTEMPTS - 1:
                    raise
            time.sleep(0.2 * 2**attempt)
        with suppress(ProviderError):  # somebody who deleted at this moment took the rules for unused
            admit(compute, spec.ingress, spec.beside)
        return f"{offer.zone}/{machine['name']}"

    def describe(self, provider_id: str) -> Description:
        match = _ID.fullmatch(provider_id)
        if not match:
            return Description(provider_id, provider_id, Presence.GONE)
        compute = connect()
        try:
            machine = compute.ask("Instances", "get", zone=match["zone"], instance=match["name"])
        except MachineNotFoundError:
            presence, ended_at = _end(compute, **match.groupdict())
            return Description(provider_id, match["name"], presence, ended_at=ended_at)
        return _description(compute, match["zone"], machine)

    def machines(self) -> Sequence[Description]:
        compute = connect()
        return [_description(compute, zone, machine) for zone, machine in _listed(compute)]

    def delete(self, provider_id: str) -> None:
        match = _ID.fullmatch(provider_id)
        if not match:
            return
        compute = connect()
        with suppress(MachineNotFoundError):
            compute.ask("Instances", "delete_unary", zone=match["zone"], instance=match["name"])
        with suppress(ProviderError):  # a rule that no machine needs costs nothing and lets nobody in
            _remove_rules_unless_used(compute, but=match["name"])

    def stop(self, provider_id: str) -> None:
        compute, zone, name = self._known(provider_id)
        machine = compute.ask("Instances", "get", zone=zone, instance=name)
        # without this word Google does not stop a machine that has fast disks of its own
        scratch = any(disk.type_ == "SCRATCH" for disk in machine.disks)
        compute.ask(
            "Instances",
            "stop_unary",
            zone=zone,
            instance=name,
            **({"discard_local_ssd": True} if scratch else {}),
        )

    def start(self, provider_id: str) -> None:
        compute, zone, name = self._known(provider_id)
        _do(compute, zone, "start_unary", instance=name)

    def admit(self, provider_id: str, ingress: str) -> None:
        """Let these addresses connect to all machines that were created from here."""
        admit(connect(), ingress)

    def tidy(self) -> None:
        """Remove our firewall rules when no machine needs them, as after a launch that was refused."""
        compute = connect()
        if rules(compute):
            _remove_rules_unless_used(compute)

    @staticmethod
    def _known(provider_id: str) -> tuple[Compute, str, str]:
        match = _ID.fullmatch(provider_id)
        if not match:
            raise ConfigurationError(f"{provider_id!r} is no machine of Google Cloud.")
        return connect(), match["zone"], match["name"]


def _do(compute: Compute, zone: str, method: str, **fields: Any) -> None:
    """Ask for something and wait for what becomes of it, or until that takes too long to wait for."""
    operation = compute.ask("Instances", method, zone=zone, **fields)
    compute.finish(operation, zone, OPERATION_LIMIT)


# What becomes of it


def _listed(compute: Compute) -> Iterator[tuple[str, Any]]:
    """Yield our machines, each after its zone."""
    pages = compute.ask_all("Instances", "aggregated_list", filter=f"labels.{LABEL}:*")
    for zone, scoped in pages:
        for machine in scoped.instances:
            yield zone.removeprefix("zones/"), machine


def _remove_rules_unless_used(compute: Compute, but: str = "") -> None:
    if not any(rule_name() in m.tags.items for _, m in _listed(compute) if m.name != but):
        remove_rules(compute)


def _description(compute: Compute, zone: str, machine: Any) -> Description:
    tags = {decode_label(k): decode_label(v) for k, v in machine.labels.items() if k != LABEL}
    name = decode_label(machine.labels.get(LABEL, machine.name))
    presence = _PRESENCE.get(machine.status, Presence.PENDING)
    ended_at = 0.0
    if presence is Presence.STOPPED:
        ended_at = _seconds(machine.last_stop_timestamp)
    if machine.status not in ("RUNNING", "PROVISIONING", "STAGING"):
        end, when = _end(compute, zone, machine.name)
        if end is Presence.PREEMPTED:
            presence, ended_at = end, when
    address = None
    for card in machine.network_interfaces:
        for access in card.access_configs:
            if access.nat_i_p:
                address = address_of(name, access.nat_i_p, USER)
    return Description(
        f"{zone}/{machine.name}",
        name,
        presence,
        address,
        tags=tags,
        poweroff=("sudo", "-n", "poweroff"),
        notice="gcp",
        ended_at=ended_at,
    )


def _end(compute: Compute, zone: str, name: str) -> tuple[Presence, float]:
    """Return how and when a machine that is no more, or off, ended; the cloud knows it for some weeks."""
    done = compute.ask_all("ZoneOperations", "list", zone=zone, filter=f'targetLink eq ".*/instances/{name}"')
    preempted = [_seconds(o.end_time) for o in done if o.operation_type == "compute.instances.preempted"]
    if preempted:
        return Presence.PREEMPTED, max(preempted)
    return Presence.GONE, max((_seconds(o.end_time) for o in done), default=0.0)


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp() if timestamp else 0.0
