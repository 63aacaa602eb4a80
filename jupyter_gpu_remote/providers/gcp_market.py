"""What Google Cloud has where, at which price, and how much of it a project may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import catalog
from ..catalog import MachineType
from ..catalog.cached import cached
from ..errors import QuotaError, RulesOut
from ..model import Offer
from .gcp_clients import Compute
from .gcp_errors import quota_hint
from .gcp_prices import prices

ZONES_KEPT = 24 * 3600.0
"""Seconds that we go by the same answer about what each zone has."""
QUOTAS_KEPT = 120.0
"""Seconds that we go by the same answer about quotas and what of them is used."""

Quotas = Mapping[str, Mapping[str, Sequence[float]]]
"""Limit and usage by metric, by region; the whole project's under an empty name."""


def parts(machine_type: str) -> list[tuple[str, int]]:
    """Return the type of a machine and then what is attached to it, each with how many."""
    machine, *attached = machine_type.split("+")
    pairs = (a.split(":") for a in attached)
    return [(machine, 1), *((name, int(count)) for name, count in pairs)]


def on_sale(compute: Compute, machines: Sequence[MachineType], disk: float) -> Iterator[Offer]:
    """Yield offers of `machines` in every zone that has them and where their price is known.

    Args:
        disk: Dollars an hour for their disk.
    """
    if not machines:
        return
    today, zones = prices(compute), _zones(compute)
    for machine in machines:
        needed = {name for name, _ in parts(machine.machine_type)}
        shipped, now = catalog.prices("gcp", machine.machine_type), today.get(machine.machine_type, {})
        for zone, has in zones.items():
            region = zone.rpartition("-")[0]
            if not needed <= set(has):
                continue
            told = [known[region] for known in (now, shipped) if region in known]
            spot_price = next((p.spot for p in told if p.spot is not None), None)
            listed = next((p.on_demand for p in told if p.on_demand is not None), None)
            for spot, price in ((True, spot_price), (False, listed)):
                if price is not None:
                    yield Offer(
                        "gcp",
                        machine.machine_type,
                        machine.gpu,
                        machine.count,
                        machine.gpu_memory,
                        machine.cpus,
                        machine.memory,
                        region,
                        zone,
                        spot,
                        price + disk,
                        disk,
                    )


def within_quotas(compute: Compute, offers: Sequence[Offer]) -> Sequence[Offer]:
    """Return the offers that no quota forbids, as far as quotas are known.

    Raises:
        QuotaError: There are some, and a quota forbids every one.
    """
    if not any(offer.gpu for offer in offers):
        return offers
    quotas = _quotas(compute)
    lacking = [_lacking(offer, quotas) for offer in offers]
    allowed = [offer for offer, lacks in zip(offers, lacking, strict=True) if not lacks]
    if not allowed:
        raise _too_small(list(dict.fromkeys(lacking)), compute.project)
    return allowed


def _zones(compute: Compute) -> Mapping[str, Sequence[str]]:
    """Return what each zone has of the types in the catalog."""
    names = sorted({name for t in catalog.types("gcp") for name, _ in parts(t.machine_type)})
    wanted = f'name eq "{"|".join(names)}"'

    def ask() -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for service, field in (("MachineTypes", "machine_types"), ("AcceleratorTypes", "accelerator_types")):
            for zone, scoped in compute.ask_all(service, "aggregated_list", filter=wanted, max_results=500):
                found.setdefault(zone.removeprefix("zones/"), []).extend(
                    t.name for t in getattr(scoped, field)
                )
        return found

    return cached(f"gcp zones {compute.project} {wanted}", ZONES_KEPT, ask)


def _quotas(compute: Compute) -> Quotas:
    def gpus(holder: Any) -> dict[str, Sequence[float]]:
        return {q.metric: (q.limit, q.usage) for q in holder.quotas if "GPUS" in q.metric}

    def ask() -> Quotas:
        regions = {r.name: gpus(r) for r in compute.ask_all("Regions", "list")}
        return regions | {"": gpus(compute.ask("Projects", "get"))}

    return cached(f"gcp quotas {compute.project}", QUOTAS_KEPT, ask)


def _lacking(offer: Offer, quotas: Quotas) -> str:
    """Return the quota that is too small for an offer, in words; empty when none is known to be."""
    # a GPU sold with two sizes of memory goes without the smaller: A100 and A100_80GB
    gpu = offer.gpu.removesuffix("-40GB").removesuffix("-16GB").replace("-", "_")
    here = quotas.get(offer.region, {})
    metric = f"NVIDIA_{gpu}_GPUS"
    spot_limit, _ = here.get(f"PREEMPTIBLE_{metric}", (0.0, 0.0))
    if offer.spot and spot_limit:  # with none of their own, spot machines count as all others
        metric = f"PREEMPTIBLE_{metric}"
    for name, limits, where in (
        ("GPUS_ALL_REGIONS", quotas.get("", {}), ""),
        (metric, here, f" in {offer.region}"),
    ):
        limit, usage = limits.get(name, (offer.count, 0))
        if offer.count > limit - usage:
            return f"{name} is {limit:g}{where}, {usage:g} of it in use"
    return ""


def _too_small(lacking: Sequence[str], project: str) -> QuotaError:
    more = f"; and {len(lacking) - 3} more like these" if len(lacking) > 3 else ""
    return QuotaError(
        f"The quotas of project {project} are too small: {'; '.join(lacking[:3])}{more}.",
        hint=quota_hint(project),
        rules_out=RulesOut.GPU,
        cloud_code="QUOTA_EXCEEDED",
    )
