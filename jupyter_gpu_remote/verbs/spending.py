"""The verb that shows what was spent: by machine, by notebook, by day."""

from __future__ import annotations

import json as json_format
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ..spend import Charge, midnight
from ..tables import duration, money, table
from .desk import Desk
from .words import SHARED, argument, number

_DAY = 86400.0


def _day(charge: Charge) -> str:
    return f"{datetime.fromtimestamp(charge.began):%Y-%m-%d}"


def _notebook(charge: Charge) -> str:
    return Path(charge.notebook).name or "no notebook"


_GROUPS: dict[str, Callable[[Charge], str]] = {
    "machine": lambda charge: charge.machine,
    "notebook": _notebook,
    "day": _day,
}


@SHARED.verb(
    "Show what the machines have cost, those that ended included.",
    argument("--by", choices=sorted(_GROUPS), default="machine", help="what to add up (machine)"),
    argument("--since", type=number, metavar="DAYS", help="only the last DAYS days"),
    argument("--json", action="store_true", help="as JSON, for programs"),
)
def cost(desk: Desk, by: str = "machine", since: float | None = None, json: bool = False) -> None:
    """Show what was spent, and the sum."""
    now = time.time()
    start = now - since * _DAY if since else 0.0
    spent: dict[str, float] = {}
    hours: dict[str, float] = {}
    for whole in desk.registry.charges(start):
        for charge in whole.days(now):
            key = _GROUPS[by](charge)
            if dollars := charge.cost(start, now):
                spent[key] = spent.get(key, 0.0) + dollars
                hours[key] = hours.get(key, 0.0) + (charge.ended or now) - max(charge.began, start)
    if json:
        desk.say(json_format.dumps([{by: key, "cost": round(dollars, 6)} for key, dollars in spent.items()]))
        return
    if not spent:
        desk.say("Nothing was spent" + (f" in the last {since:g} days." if since else "."))
        return
    rows = [_row(desk, by, key, hours[key], dollars) for key, dollars in spent.items()]
    rows.append(("total", "", "", duration(sum(hours.values())), money(sum(spent.values()))))
    desk.say(table((by.upper(), "WHAT", "STATE", "TIME", "COST"), rows))
    if limit := desk.config.daily_budget:
        today = sum(desk.registry.spent(midnight(now)).values())
        desk.say(f"Today {money(today)} of {money(limit)} (c.GpuRemote.daily_budget).")


def _row(desk: Desk, by: str, key: str, seconds: float, dollars: float) -> tuple[str, str, str, str, str]:
    what = state = ""
    if by == "machine":
        machine = desk.registry.get(key)
        what, state = machine.offer.title, machine.state.value
    return key, what, state, duration(seconds), money(dollars)
