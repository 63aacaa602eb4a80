"""The verb that shows what was spent: by machine, by notebook, by day."""

from __future__ import annotations

import json as json_format
import time

from ..spend import DAY, GROUPS, add_up, midnight
from ..tables import duration, money, table
from .desk import Desk
from .words import SHARED, argument, number


@SHARED.verb(
    "Show what the machines have cost, those that ended included.",
    argument("--by", choices=sorted(GROUPS), default="machine", help="what to add up (machine)"),
    argument("--since", type=number, metavar="DAYS", help="only the last DAYS days"),
    argument("--json", action="store_true", help="as JSON, for programs"),
)
def cost(desk: Desk, by: str = "machine", since: float | None = None, json: bool = False) -> None:
    """Show what was spent, and the sum."""
    now = time.time()
    start = now - since * DAY if since else 0.0
    spent = add_up(desk.registry.charges(start), by, start, now)
    if json:
        rounded = [{by: key, "cost": round(dollars, 6)} for key, (dollars, _) in spent.items()]
        desk.say(json_format.dumps(rounded))
        return
    if not spent:
        desk.say("Nothing was spent" + (f" in the last {since:g} days." if since else "."))
        return
    rows = [_row(desk, by, key, seconds, dollars) for key, (dollars, seconds) in spent.items()]
    dollars, seconds = (sum(column) for column in zip(*spent.values(), strict=True))
    rows.append(("total", "", "", duration(seconds), money(dollars)))
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
