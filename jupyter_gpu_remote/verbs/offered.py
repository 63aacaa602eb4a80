"""The verb that shows what can be had, and for how much."""

from __future__ import annotations

import dataclasses
import json as plain_json
from collections.abc import Sequence

from ..config import GpuRemote
from ..fleet import Fleet
from ..model import GpuRequest, Offer
from ..tables import Table, money
from .desk import Desk
from .words import SHARED, argument

_SHOWN = 20
"""Lines of the table that are read; the rest is further down the page than anybody looks."""

_HEAD = ("GPU", "MEMORY", "VCPU", "RAM", "CLOUD", "WHERE", "MACHINE TYPE", "SPOT", "ON DEMAND", "SPOT SAVES")


@SHARED.verb(
    "Show what can be had, cheapest first, spot and on demand side by side.",
    argument("--all", action="store_true", help="all of it, however long the table"),
    argument("--json", action="store_true", help="as JSON, for programs"),
    asks=True,
)
def offers(desk: Desk, request: GpuRequest, config: GpuRemote, all: bool = False, json: bool = False) -> None:
    """Show what can be had for a request."""
    found, failed = dataclasses.replace(desk, config=config).fleet.look(request)
    why = {name: error.message for name, error in failed.items()}
    if json:
        listed = [dataclasses.asdict(offer) for offer in found]
        desk.say(plain_json.dumps({"offers": listed, "failed": why}, indent=2))
        return
    rows = _rows(found)
    shown = rows if all else rows[:_SHOWN]
    below = [f"and {len(rows) - len(shown)} more: add --all"] if len(shown) < len(rows) else []
    for name, error in failed.items():
        below.append(f"{name}: {error.message}" + (f" Next: {error.hint}" if error.hint else ""))
    desk.say(Table(_HEAD, shown, below))


def plan_table(fleet: Fleet, request: GpuRequest) -> Table:
    """Return which machines a launch would try, in that order, and why; nothing is launched."""
    plan = fleet.plan(request)
    rows = [
        (str(number), offer.title, offer.machine_type, _why(offer, plan[0]))
        for number, offer in enumerate(plan[:_SHOWN], 1)
    ]
    more = [f"and {len(plan) - _SHOWN} more"] if len(plan) > _SHOWN else []
    return Table(("", "TRIED", "MACHINE TYPE", "WHY"), rows, [*more, "Nothing was launched."])


def _why(offer: Offer, first: Offer) -> str:
    if offer is first:
        return "the cheapest" if offer.price else "free"
    more = f"{money(offer.price - first.price)}/h more" if offer.price > first.price else "the same price"
    return f"if those before are refused: {more}"


def _rows(found: Sequence[Offer]) -> list[Sequence[str]]:
    """Return a line for each machine type and place, in the order of the cheaper of its two prices."""
    lines: dict[tuple[str, str, str], dict[bool, Offer]] = {}
    listed: dict[tuple[str, str, str], Offer] = {}
    for offer in found:
        line = lines.setdefault((offer.provider, offer.machine_type, offer.zone or offer.region), {})
        line.setdefault(offer.spot, offer)
        if not offer.spot:
            listed.setdefault((offer.provider, offer.machine_type, offer.region), offer)
    rows = []
    for line in lines.values():
        spot = line.get(True)
        any_of = spot or line[False]
        # on-demand prices are those of a region, so another of its zones tells as well
        on_demand = line.get(False) or listed.get((any_of.provider, any_of.machine_type, any_of.region))
        rows.append(_row(any_of, spot, on_demand))
    return rows


def _row(offer: Offer, spot: Offer | None, on_demand: Offer | None) -> Sequence[str]:
    gpu = f"CPU stand-in for {offer.stand_in_for}" if offer.stand_in_for else offer.gpu or "none"
    saves = 1 - spot.price / on_demand.price if spot and on_demand and on_demand.price else 0.0
    return (
        f"{gpu} ×{offer.count}" if offer.count > 1 else gpu,
        f"{offer.gpu_memory:.0f} GB" if offer.gpu_memory else "",
        str(offer.cpus or ""),
        f"{offer.memory:.0f} GB" if offer.memory else "",
        offer.provider,
        offer.zone or offer.region,
        offer.machine_type,
        _price(spot),
        _price(on_demand),
        f"{saves:.0%}" if saves > 0 else "",
    )


def _price(offer: Offer | None) -> str:
    if offer is None:
        return ""
    return f"{money(offer.price)}/h" if offer.price else "free"
