"""What the registry knows, as the schema has it."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import catalog, spend
from ..model import Machine, MachineState, Offer
from ..registry import Event, Registry
from .jobs import Job
from .kernelspecs import spec_name, usable

_S = MachineState
UNTOLD = "changed"
"""The kind of event that tells people nothing."""


def offer_view(offer: Offer) -> dict[str, Any]:
    """Return an offer."""
    listed = catalog.prices(offer.provider, offer.machine_type).get(offer.region)
    on_demand = listed.on_demand if offer.spot and listed else None if offer.spot else offer.price
    return {**dataclasses.asdict(offer), "title": offer.title, "on_demand_price": on_demand}


def machine_views(
    registry: Registry,
    machines: Iterable[Machine],
    jobs: Mapping[str, Job],
    path_of: Callable[[str], str],
) -> list[dict[str, Any]]:
    """Return machines.

    Args:
        registry: What knows them.
        machines: Which.
        jobs: What works on machines now.
        path_of: Returns the path of a notebook from its key.
    """
    spent, notebooks = registry.spent(), dict[str, list[str]]()
    for key, name in registry.bindings().items():
        if Path(key).exists():  # what has no file is known by its kernel, which tells people nothing
            notebooks.setdefault(name, []).append(path_of(key))
    return [
        _machine(m, spent.get(m.name, 0.0), sorted(notebooks.get(m.name, ())), jobs.get(m.name))
        for m in machines
    ]


def _machine(machine: Machine, spent: float, notebooks: list[str], job: Job | None) -> dict[str, Any]:
    can_be_used = usable(machine)
    login = [sys.executable, "-m", "jupyter_gpu_remote.cli", "ssh", machine.name]
    return {
        "name": machine.name,
        "state": machine.state.value,
        "offer": offer_view(machine.offer),
        "provider_id": machine.provider_id,
        "rate": spend.rate(machine),
        "spent": spent,
        "created_at": machine.created_at,
        "ready_at": machine.ready_at or None,
        "ended_at": machine.ended_at or None,
        "ends_at": machine.ends_at or None,
        "note": machine.note,
        "actions": _actions(machine),
        "notebooks": notebooks,
        "kernel": spec_name(machine.name) if can_be_used else None,
        "job": job.id if job else None,
        "ssh_command": shlex.join(login) if can_be_used else None,
    }


def _actions(machine: Machine) -> list[str]:
    if machine.state.final:
        return []
    if machine.state is _S.STOPPED:
        return ["start", "delete"]
    if not usable(machine):
        return ["delete"]
    can_stop = machine.offer.stopped_price is not None and machine.state in (_S.READY, _S.BUSY)
    return ["connect", "pull", "extend", *(["stop"] if can_stop else []), "delete"]


def event_view(event: Event) -> dict[str, Any]:
    """Return an event."""
    return {
        "id": event.id,
        "at": event.at,
        "kind": event.kind,
        "machine": event.machine,
        "text": event.text,
        "from": event.data.get("from"),
        "to": event.data.get("to"),
    }


def activity(registry: Registry, since: int | None, limit: int) -> dict[str, Any]:
    """Return what happened."""
    events = registry.events(since, limit)
    last = events[-1].id if events else since or 0
    return {"events": [event_view(e) for e in events if e.kind != UNTOLD], "last": last}


def spend_view(registry: Registry, by: str, days: float | None, daily_budget: float | None) -> dict[str, Any]:
    """Return what was spent.

    Args:
        registry: What knows it.
        by: What to add up: machine, notebook or day.
        days: Only so many; None for all.
        daily_budget: Dollars a day that the user allows.
    """
    now = time.time()
    start = now - days * spend.DAY if days else 0.0
    sums = spend.add_up(registry.charges(start), by, start, now)
    known = {m.name: m.offer.title for m in registry.machines(ended=True)} if by == "machine" else {}
    rows = [
        {"key": key, "title": known.get(key, ""), "cost": cost, "seconds": seconds}
        for key, (cost, seconds) in sums.items()
    ]
    return {
        "at": now,
        "by": by,
        "rows": rows,
        "total": sum(cost for cost, _ in sums.values()),
        "today": sum(registry.spent(spend.midnight(now)).values()),
        "rate": sum(map(spend.rate, registry.machines())),
        "daily_budget": daily_budget,
    }
