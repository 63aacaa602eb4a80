"""Verbs that look at all machines, and the one that launches."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from ..config import GpuRemote
from ..group import resize, wanted
from ..model import GpuRequest, Machine
from ..registry import Registry
from ..tables import duration, money, table
from .desk import Desk
from .offered import plan_table
from .words import SHARED, argument

verb = SHARED.verb


@verb(
    "List the machines, what they are and what they have cost.",
    argument("--json", action="store_true", help="as JSON, for programs"),
    name="list",
)
def list_machines(desk: Desk, json: bool = False) -> None:
    """Show the machines that exist."""
    desk.say(as_json(desk.registry) if json else as_table(desk))


def as_table(desk: Desk) -> str:
    """Return the machines as a table for people."""
    now = time.time()
    machines = desk.registry.machines()
    if not machines:
        return f"No machine is running. `{desk.prog} up` starts one."
    bound = desk.registry.binding(desk.notebook.key) if desk.notebook else None
    spent = desk.registry.spent()
    rows = [
        (
            m.name,
            m.offer.title,
            m.state.value,
            duration(now - m.created_at),
            money(spent.get(m.name, 0.0)),
            "this notebook" if m.name == bound else f"beside {m.head}" if m.head else "",
        )
        for m in machines
    ]
    return table(("NAME", "MACHINE", "STATE", "UP", "COST", "USED BY"), rows)


def as_json(registry: Registry) -> str:
    """Return the machines for programs; fields are only ever added."""
    spent = registry.spent()
    rows = [_plain(machine, spent.get(machine.name, 0.0)) for machine in registry.machines()]
    return json.dumps(rows, indent=2)


def _plain(machine: Machine, cost: float) -> dict[str, Any]:
    offer = machine.offer
    return {
        "name": machine.name,
        "state": machine.state.value,
        "provider": machine.provider,
        "provider_id": machine.provider_id,
        "machine_type": offer.machine_type,
        "gpu": offer.gpu,
        "count": offer.count,
        "stand_in_for": offer.stand_in_for,
        "region": offer.region,
        "zone": offer.zone,
        "spot": offer.spot,
        "price": offer.price,
        "cost": round(cost, 6),
        "created_at": machine.created_at,
        "ready_at": machine.ready_at or None,
        "note": machine.note,
        "head": machine.head,
    }


@verb("Launch a machine, or get a running one ready, without running anything.", asks=True)
def up(desk: Desk, request: GpuRequest, config: GpuRemote) -> None:
    """Make a machine ready for use."""
    if config.dry_run:
        return desk.say(plan_table(replace(desk, config=config).fleet, request))
    head = desk.launch(request, config)
    count = wanted(config)
    if head and count:
        said = resize(head, count, config, desk.registry, desk.report)
        desk.report("", "")
        desk.say(said)
