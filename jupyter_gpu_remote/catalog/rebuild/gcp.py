"""GCP: the machine and accelerator types of all zones, and the price of each part of a machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ...offers import vendor_gpu
from .. import MachineType
from ..gcp_rates import FAMILIES, SKUS, Rates, family, price_of, read_rates
from . import Catalog, Prices
from .aws import sold_with

_COMPUTE = "https://compute.googleapis.com/compute/v1/projects/{project}/aggregated/{what}"
_SKUS = f"https://cloudbilling.googleapis.com{SKUS}"
_ANSWER_LIMIT = 60.0
"""Seconds for one page of an answer."""
_WITHOUT_GPU = [
    *(f"e2-standard-{n}" for n in (2, 4, 8, 16, 32)),
    *(f"e2-highmem-{n}" for n in (2, 4, 8, 16)),
    *(f"n2-standard-{n}" for n in (4, 8, 16, 32, 64)),
]
_SMALL = ("n1-standard-4", "n1-standard-8", "n1-highmem-8")
_MIDDLE = ("n1-standard-8", "n1-standard-16", "n1-highmem-16")
_LARGE = ("n1-standard-16", "n1-standard-32", "n1-highmem-32")
_ATTACHED: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "nvidia-tesla-t4": {
        1: (*_SMALL, "n1-standard-16", "n1-standard-32"),
        2: (*_MIDDLE, "n1-standard-32"),
        4: (*_LARGE, "n1-standard-64", "n1-standard-96"),
    },
    "nvidia-tesla-v100": {
        1: _SMALL,
        2: _MIDDLE,
        4: _LARGE,
        8: ("n1-standard-32", "n1-standard-64", "n1-highmem-64", "n1-standard-96"),
    },
    **{
        gpu: {
            1: (*_SMALL, "n1-standard-16"),
            2: (*_MIDDLE, "n1-standard-32"),
            4: (*_LARGE, "n1-standard-64"),
        }
        for gpu in ("nvidia-tesla-p100", "nvidia-tesla-p4")
    },
}
"""What GPUs are worth attaching to, by their number; Google allows no more cores and memory for each."""

Where = Mapping[str, frozenset[str]]


def read_types(machines: Iterable[Mapping[str, Any]], attachable: Where) -> tuple[list[MachineType], Where]:
    """Return the types worth offering, and the regions that have them.

    Args:
        machines: The answers of ``machineTypes.aggregatedList``, each for one zone.
        attachable: The regions of each GPU that can be attached.
    """
    known: dict[str, Mapping[str, Any]] = {}
    regions: dict[str, set[str]] = {}
    for machine in machines:
        if machine.get("deprecated", {}).get("state", "ACTIVE") == "ACTIVE":
            known[machine["name"]] = machine
            regions.setdefault(machine["name"], set()).add(region_of(machine["zone"]))
    types, where = [], {}
    for name, machine in known.items():
        if built := _built_in(machine):
            types.append(built)
            where[name] = frozenset(regions[name])
    for accelerator, numbers in _ATTACHED.items():
        for count, names in numbers.items():
            for name in names:
                both = regions.get(name, set()) & attachable.get(accelerator, frozenset())
                if both:
                    types.append(_type(known[name], f"{name}+{accelerator}:{count}", accelerator, count))
                    where[types[-1].machine_type] = frozenset(both)
    return types, where


def _built_in(machine: Mapping[str, Any]) -> MachineType | None:
    name = machine["name"]
    if name in _WITHOUT_GPU:
        return _type(machine, name, "", 0)
    # ARM is left out, as what is sent to a machine is built for x86-64
    if family(name) not in FAMILIES or machine.get("architecture") == "ARM64":
        return None
    if not re.fullmatch(r"a\d-[a-z]+-\d+g|g2-standard-\d+|g4-standard-(48|96|192|384)", name):
        return None  # the smaller g4 have part of a GPU
    gpus = machine.get("accelerators")
    return (
        _type(machine, name, gpus[0]["guestAcceleratorType"], gpus[0]["guestAcceleratorCount"])
        if gpus
        else None
    )


def _type(machine: Mapping[str, Any], name: str, accelerator: str, count: int) -> MachineType:
    gpu = vendor_gpu(accelerator, 0.0) if accelerator else ""
    return MachineType(name, gpu, count, sold_with(gpu), machine["guestCpus"], machine["memoryMb"] / 1024)


def read_prices(types: Iterable[MachineType], where: Where, rates: Rates) -> Prices:
    """Return the price of each type in each of its regions."""
    return {
        machine.machine_type: {
            region: price_of(machine, region, rates) for region in sorted(where[machine.machine_type])
        }
        for machine in types
    }


def region_of(zone: str) -> str:
    """Return the region of a zone, given by its name or address."""
    return zone.rpartition("/")[2].rpartition("-")[0]


def fetch(project: str, say: Callable[[str], None]) -> Catalog:
    """Ask for all zones that a project may use.

    Args:
        project: The project to ask as; both APIs must be enabled there.
        say: Told what is going on.
    """
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    session = AuthorizedSession(credentials)
    failed: dict[str, str] = {}

    def pages(url: str) -> Iterator[Mapping[str, Any]]:
        token = ""
        while True:
            answer = session.get(url, params={"pageToken": token} if token else {}, timeout=_ANSWER_LIMIT)
            answer.raise_for_status()
            page = answer.json()
            failed.update(dict.fromkeys(page.get("unreachables", ()), "did not answer"))
            yield page
            token = page.get("nextPageToken", "")
            if not token:
                return

    def in_all_zones(what: str) -> Iterator[Mapping[str, Any]]:
        url = _COMPUTE.format(project=project, what=what) + "?returnPartialSuccess=true&maxResults=500"
        for page in pages(url):
            for zone in page.get("items", {}).values():
                yield from zone.get(what, ())

    say("accelerator types")
    attachable: dict[str, set[str]] = {}
    for accelerator in in_all_zones("acceleratorTypes"):
        attachable.setdefault(accelerator["name"], set()).add(region_of(accelerator["zone"]))
    say("machine types")
    machines = list(in_all_zones("machineTypes"))
    types, where = read_types(machines, {name: frozenset(found) for name, found in attachable.items()})
    say("prices")
    rates = read_rates(sku for page in pages(f"{_SKUS}?pageSize=5000") for sku in page.get("skus", ()))
    return Catalog(types, read_prices(types, where, rates), failed, unknown_families(machines))


def unknown_families(machines: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the families of machines with NVIDIA GPUs that this script has no words for."""
    return frozenset(
        family(m["name"])
        for m in machines
        if any(a["guestAcceleratorType"].startswith("nvidia") for a in m.get("accelerators", ()))
        and m.get("architecture") != "ARM64"
        and family(m["name"]) not in FAMILIES
    )
