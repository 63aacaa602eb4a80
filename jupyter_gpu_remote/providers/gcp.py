"""Google Cloud: GPU machines of Compute Engine, in the user's own project."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from .. import bootstrap, catalog
from ..errors import ConfigurationError, MachineNotFoundError, ProviderError
from ..model import Description, GpuRequest, MachineSpec, Offer, Presence
from ..offers import rank
from ..owner import installation
from .base import Provider, address_of
from .gcp_clients import Compute, connect
from .gcp_errors import repeatable
from .gcp_market import on_sale, parts, within_quotas

USER = "ubuntu"

IMAGE = "projects/deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2204-nvidia-580"
"""Google's Deep Learning VM with this driver branch, the newest that still knows P4, P100 and V100."""

SMALLEST_DISK = 50
"""GiB that the image needs."""
DISK = 100
"""GiB of a machine for which nothing else is asked: the image, and room for packages and data."""
DISK_PRICE = 0.12 / 730
"""Dollars an hour for a GiB; by region Google asks between 0.10 and 0.16 a month for this kind."""

OPERATION_LIMIT = 120.0
"""Seconds to wait for what becomes of a request; a zone without capacity says so within a minute."""
ATTEMPTS = 4
"""Times that an operation which ended as busy is begun."""

LONGEST_RUN = 120 * 86400
"""Seconds of the longest time limit that Google accepts."""

LABEL = "gpu-remote"
"""Label of every machine of ours; its value is the machine's name."""

_ID = re.compile(r"(?P<zone>[a-z]+-[a-z0-9]+-[a-z0-9]+)/(?P<name>gpu-remote-[a-z0-9-]{0,51}[a-z0-9])")
_HYPERDISK_ONLY = ("a3-ultragpu-", "a4-", "a4x-", "g4-")
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
        _admit(compute, spec.ingress, spec.beside)
        machine = _machine(offer, spec)
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
            _admit(compute, spec.ingress, spec.beside)
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
            if not any(_rule() in m.tags.items for _, m in _listed(compute) if m.name != match["name"]):
                _remove_rules(compute)

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
        _admit(connect(), ingress)

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


def disk_size(asked: float) -> int:
    """Return the size of a disk in GiB."""
    return max(SMALLEST_DISK, round(asked)) if asked else DISK


# What a machine is made of


def _machine(offer: Offer, spec: MachineSpec) -> dict[str, Any]:
    """Return the machine to ask for."""
    place = f"zones/{offer.zone}"
    (machine_type, _), *attached = parts(offer.machine_type)
    kind = "hyperdisk-balanced" if machine_type.startswith(_HYPERDISK_ONLY) else "pd-balanced"
    scheduling: dict[str, Any] = {
        "provisioning_model": "SPOT" if offer.spot else "STANDARD",
        "automatic_restart": False,
        "on_host_maintenance": "TERMINATE",
    }
    if spec.max_seconds:
        scheduling["max_run_duration"] = {"seconds": min(max(30, int(spec.max_seconds)), LONGEST_RUN)}
    if spec.max_seconds or offer.spot:
        scheduling["instance_termination_action"] = "DELETE"
    metadata = {
        "user-data": bootstrap.user_data(spec, USER),
        "install-nvidia-driver": "True",
        # nobody else's keys, and ours even where the project logs people in by their accounts
        "block-project-ssh-keys": "TRUE",
        "enable-oslogin": "FALSE",
    }
    return {
        "name": _cloud_name(spec),
        "machine_type": f"{place}/machineTypes/{machine_type}",
        "guest_accelerators": [
            {"accelerator_type": f"{place}/acceleratorTypes/{name}", "accelerator_count": count}
            for name, count in attached
        ],
        "scheduling": scheduling,
        "disks": [
            {
                "boot": True,
                "auto_delete": True,
                "initialize_params": {
                    "source_image": IMAGE,
                    "disk_size_gb": disk_size(spec.disk),
                    "disk_type": f"{place}/diskTypes/{kind}",
                },
            }
        ],
        "network_interfaces": [
            {
                "network": "global/networks/default",
                "access_configs": [{"name": "External NAT", "type_": "ONE_TO_ONE_NAT"}],
            }
        ],
        "metadata": {"items": [{"key": k, "value": v} for k, v in metadata.items()]},
        "labels": {
            LABEL: encode_label(spec.name),
            **{encode_label(k): encode_label(v) for k, v in spec.tags.items()},
        },
        "tags": {"items": [_rule()]},
        # no secure boot: it would refuse the driver's module, which is built on the machine
        "shielded_instance_config": {"enable_vtpm": True, "enable_integrity_monitoring": True},
        # and no service_accounts: what runs there gets no access to the project
    }


def _cloud_name(spec: MachineSpec) -> str:
    """Return a name that is unique in the project, over all computers and attempts."""
    readable = re.sub(r"[^a-z0-9]+", "-", spec.name.lower()).strip("-")[:40].rstrip("-")
    token = hashlib.sha256(spec.token.encode()).hexdigest()[:8]
    return "-".join(filter(None, ("gpu-remote", readable, token)))


def encode_label(text: str) -> str:
    """Return `text` in the letters that labels may have: others become ``_`` and their bytes in hex."""
    return re.sub(r"[^a-z0-9-]", lambda m: "".join(f"_{b:02x}" for b in m[0].encode()), text)


def decode_label(label: str) -> str:
    """Return what `encode_label` was given; other people's labels come back more or less as they are."""
    octets = re.sub(r"_([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), label)
    with suppress(UnicodeError):
        return octets.encode("latin-1").decode()
    return label


# Who may connect


def _rule() -> str:
    """Return the name of our firewall rule, and of the network tag that it goes by."""
    return f"gpu-remote-{installation()[:16]}"


def _admit(compute: Compute, ingress: str, among: bool = False) -> None:
    """Let `ingress` connect by SSH to the machines created from here, and nobody else.

    With `among`, they may also reach each other. Not waited for: rules work after seconds, and no machine
    boots as quickly.
    """
    rule = _rule()
    port = [{"I_p_protocol": "tcp", "ports": ["22"]}]
    common = {"network": "global/networks/default", "direction": "INGRESS", "target_tags": [rule]}
    wanted: dict[str, dict[str, Any]] = {
        # the second overrules default-allow-ssh, which new projects have, and the first the second
        rule: {"priority": 900, "allowed": port, "source_ranges": [ingress] if ingress else []},
        f"{rule}-deny": {"priority": 901, "denied": port, "source_ranges": ["0.0.0.0/0"]},
    }
    if among:
        everything = [{"I_p_protocol": "all"}]
        wanted[f"{rule}-among"] = {"priority": 900, "allowed": everything, "source_tags": [rule]}
    listed = compute.ask_all("Firewalls", "list", filter=f'name eq "{rule}(-deny|-among)?"')
    there = {r.name: list(r.source_ranges or r.source_tags) for r in listed}
    for name, firewall in wanted.items():
        sources = firewall.get("source_ranges", [rule])
        try:
            if sources == there.get(name, []):
                continue
            if not sources:
                compute.ask("Firewalls", "delete_unary", firewall=name)
            elif name in there:
                changed = {"source_ranges": sources}
                compute.ask("Firewalls", "patch_unary", firewall=name, firewall_resource=changed)
            else:
                made = {"name": name, **common, **firewall}
                compute.ask("Firewalls", "insert_unary", firewall_resource=made)
        except ProviderError as e:
            if e.cloud_code not in ("alreadyExists", "notFound"):  # another process was as fast
                raise


def _remove_rules(compute: Compute) -> None:
    for rule in (_rule(), f"{_rule()}-deny", f"{_rule()}-among"):
        with suppress(ProviderError):  # it is not there, most likely
            compute.ask("Firewalls", "delete_unary", firewall=rule)


# What becomes of it


def _listed(compute: Compute) -> Iterator[tuple[str, Any]]:
    """Yield our machines, each after its zone."""
    pages = compute.ask_all("Instances", "aggregated_list", filter=f"labels.{LABEL}:*")
    for zone, scoped in pages:
        for machine in scoped.instances:
            yield zone.removeprefix("zones/"), machine


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
