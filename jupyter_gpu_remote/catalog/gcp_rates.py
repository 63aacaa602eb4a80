"""Google's price list: what each part of a machine costs, and so the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import MachineType, Price

SKUS = "/v1/services/6F81-5844-456A/skus"
"""Where the Cloud Billing Catalog lists what Compute Engine sells."""
_HOURS = 730.0
"""Hours of a month, as Google bills them."""


@dataclass(frozen=True)
class _Parts:
    """What the parts of a machine are called in the price list.

    Attributes:
        cores: Its cores and memory.
        gpu: Its GPUs.
        ssd: GiB of local SSD that come with each GPU, and are billed.
    """

    cores: str
    gpu: str = ""
    ssd: float = 0.0


FAMILIES = {
    "e2-standard": _Parts("E2"),
    "e2-highmem": _Parts("E2"),
    "n2-standard": _Parts("N2"),
    "n1-standard": _Parts("N1 Predefined"),
    "n1-highmem": _Parts("N1 Predefined"),
    "g2-standard": _Parts("G2", "L4"),
    "g4-standard": _Parts("G4", "RTX 6000 96GB"),
    "a2-highgpu": _Parts("A2", "Tesla A100"),
    "a2-megagpu": _Parts("A2", "Tesla A100"),
    "a2-ultragpu": _Parts("A2", "Tesla A100 80GB", 375),
    "a3-highgpu": _Parts("A3", "H100 80GB", 750),
    "a3-edgegpu": _Parts("A3", "H100 80GB", 750),
    "a3-megagpu": _Parts("A3Plus", "H100 80GB Mega", 750),
    "a3-ultragpu": _Parts("A3Ultra", "H200 141GB", 1500),
    # a slice is an eighth of the machine, its cores, memory and disks included
    "a4-highgpu": _Parts("", "A4 slice"),
}

_RESERVED_ONLY = re.compile(r"a4-|a3-ultragpu-|a3-highgpu-[124]g")
"""Types that are rented as spot or by reservation, and not on demand, though they have a list price."""
_OTHER_MARKETS = re.compile(r"Commitment|Reserved|Sole Tenancy|Custom|DWS|Premium|suspended", re.IGNORECASE)
_CORES = re.compile(r"(?:Spot Preemptible )?(.+) Instance (Core|Ram) running in ")
_GPU = re.compile(r"(?:Nvidia )?(.+?)(?: GPU)? (?:attached to Spot Preemptible VMs )?running in ")

Rates = Mapping[tuple[str, str, bool], float]
"""Dollars an hour of one part, by its name, its region and whether it is spot."""


def read_rates(skus: Iterable[Mapping[str, Any]]) -> Rates:
    """Return what each part of a machine costs.

    Args:
        skus: As the Cloud Billing Catalog lists those of Compute Engine.
    """
    rates = {}
    for sku in skus:
        text, category = sku["description"], sku["category"]
        if category["usageType"] not in ("OnDemand", "Preemptible") or _OTHER_MARKETS.search(text):
            continue
        if part := _part(text, category["resourceGroup"]):
            spot = "Preemptible" in text or category["usageType"] == "Preemptible"
            hourly = _dollars(sku) / (_HOURS if part == "ssd" else 1.0)
            rates.update(dict.fromkeys([(part, region, spot) for region in sku["serviceRegions"]], hourly))
    return rates


def _part(text: str, group: str) -> str:
    if text.startswith("SSD backed Local Storage"):
        return "ssd"
    if "A4 Nvidia B200 (1 gpu slice)" in text:
        return "A4 slice"
    if match := _CORES.match(text):
        return f"{match[1]} {match[2]}"
    if group == "GPU" and (match := _GPU.match(text)):
        return match[1].replace("80GB Plus", "80GB Mega")  # one GPU, once called so and once so
    return ""


def _dollars(sku: Mapping[str, Any]) -> float:
    # the first rate may be a free allowance
    rate = sku["pricingInfo"][0]["pricingExpression"]["tieredRates"][-1]["unitPrice"]
    return int(rate.get("units") or 0) + int(rate.get("nanos") or 0) / 1e9


def price_of(machine: MachineType, region: str, rates: Rates) -> Price:
    """Return what a machine costs in a region: the sum of its parts, unknown if one is."""
    spot_only = bool(_RESERVED_ONLY.match(machine.machine_type))
    on_demand = None if spot_only else _sum(machine, region, False, rates)
    return Price(on_demand, _sum(machine, region, True, rates))


def _sum(machine: MachineType, region: str, spot: bool, rates: Rates) -> float | None:
    name, _, attached = machine.machine_type.partition("+")
    parts = FAMILIES[family(name)]
    gpu = f"Tesla {attached.partition(':')[0].rpartition('-')[2].upper()}" if attached else parts.gpu
    total = 0.0
    for amount, part in (
        (machine.cpus if parts.cores else 0, f"{parts.cores} Core"),
        (machine.memory if parts.cores else 0, f"{parts.cores} Ram"),
        (machine.count, gpu),
        (machine.count * parts.ssd, "ssd"),
    ):
        if amount:
            if (rate := rates.get((part, region, spot))) is None:
                return None
            total += amount * rate
    return total


def family(name: str) -> str:
    """Return what the names of machine types with the same parts begin with."""
    return "-".join(name.split("-")[:2])
