"""What a machine of Google's is made of, and how our names and tags are written there."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import Any

from .. import bootstrap
from ..model import MachineSpec, Offer
from .gcp_firewall import rule_name
from .gcp_market import parts

USER = "ubuntu"

IMAGE = "projects/deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2204-nvidia-580"
"""Google's Deep Learning VM with this driver branch, the newest that still knows P4, P100 and V100."""

SMALLEST_DISK = 50
"""GiB that the image needs."""
DISK = 100
"""GiB of a machine for which nothing else is asked: the image, and room for packages and data."""
DISK_PRICE = 0.12 / 730
"""Dollars an hour for a GiB; by region Google asks between 0.10 and 0.16 a month for this kind."""

LONGEST_RUN = 120 * 86400
"""Seconds of the longest time limit that Google accepts."""

LABEL = "gpu-remote"
"""Label of every machine of ours, and of its disk; its value is the machine's name."""

_HYPERDISK_ONLY = ("a3-ultragpu-", "a4-", "a4x-", "g4-")


def disk_size(asked: float) -> int:
    """Return the size of a disk in GiB."""
    return max(SMALLEST_DISK, round(asked)) if asked else DISK


def made_of(offer: Offer, spec: MachineSpec) -> dict[str, Any]:
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
    labels = {encode_label(k): encode_label(v) for k, v in spec.tags.items()}
    labels[LABEL] = encode_label(spec.name)
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
                    "labels": labels,
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
        "labels": labels,
        "tags": {"items": [rule_name()]},
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
