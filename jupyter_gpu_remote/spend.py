"""What machines cost: a row for each time at one price, kept in step with what becomes of them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from .model import Machine, MachineState

SCHEMA = (
    "CREATE TABLE spend (machine TEXT NOT NULL, notebook TEXT NOT NULL, price REAL NOT NULL,"
    " began REAL NOT NULL, ended REAL)",
    "CREATE INDEX spend_of ON spend (machine)",
)

DAY = 86400.0
"""Seconds."""

_COLUMNS = "machine, notebook, price, began, ended"


@dataclass(frozen=True)
class Charge:
    """A machine at one price; `ended` is None while it goes on."""

    machine: str
    notebook: str
    price: float
    began: float
    ended: float | None

    def cost(self, since: float, until: float) -> float:
        """Return the dollars of this that fall between two times."""
        end = until if self.ended is None else min(self.ended, until)
        return max(0.0, end - max(self.began, since)) / 3600 * self.price

    def days(self, now: float) -> Iterator[Charge]:
        """Yield what of this falls on each day of the user's calendar."""
        end = now if self.ended is None else self.ended
        began = self.began
        while began < end:
            following = min(end, midnight(began, days=1))
            yield replace(self, began=began, ended=following)
            began = following


def midnight(at: float, days: int = 0) -> float:
    """Return when the user's day that `at` is in began; `days` later ones with a number."""
    day = datetime.fromtimestamp(at).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day + timedelta(days=days)).timestamp()


def _notebook(charge: Charge) -> str:
    return Path(charge.notebook).name or "no notebook"


GROUPS: Mapping[str, Callable[[Charge], str]] = {
    "machine": lambda charge: charge.machine,
    "notebook": _notebook,
    "day": lambda charge: f"{datetime.fromtimestamp(charge.began):%Y-%m-%d}",
}
"""What charges can be added up by."""


def add_up(charges: Iterable[Charge], by: str, since: float, now: float) -> dict[str, tuple[float, float]]:
    """Return dollars and seconds by machine, notebook or day, of what falls between two times."""
    sums: dict[str, tuple[float, float]] = {}
    for whole in charges:
        for charge in whole.days(now):
            if dollars := charge.cost(since, now):
                cost, seconds = sums.get(key := GROUPS[by](charge), (0.0, 0.0))
                sums[key] = cost + dollars, seconds + (charge.ended or now) - max(charge.began, since)
    return sums


def rate(machine: Machine) -> float:
    """Return the dollars an hour that a machine costs in its state."""
    if machine.state is MachineState.STOPPED:
        return machine.offer.stopped_price or 0.0
    if machine.state in (MachineState.REQUESTED, MachineState.CREATING) or machine.state.final:
        return 0.0
    return machine.offer.price  # also while it is being deleted: until it is gone


def follow(db: sqlite3.Connection, machine: Machine) -> None:
    """Begin or end a charge where a machine's state calls for it, within the transaction of `db`."""
    latest = db.execute(
        "SELECT rowid, price, ended FROM spend WHERE machine = ? ORDER BY began DESC, rowid DESC LIMIT 1",
        (machine.name,),
    ).fetchone()
    price, now = rate(machine), time.time()
    goes_on = latest is not None and latest[2] is None
    if goes_on and latest[1] == price:
        return
    if goes_on:
        end = machine.ended_at if machine.state.final else now
        db.execute("UPDATE spend SET ended = max(began, ?) WHERE rowid = ?", (end, latest[0]))
    unknown = latest is None and machine.state.final and machine.ended_at > machine.created_at
    if price:
        began = now if latest else machine.created_at or now
        _add(db, machine.name, "", price, began, None)
    elif unknown and machine.offer.price:  # it had come to be without our learning its id
        _add(db, machine.name, "", machine.offer.price, machine.created_at, machine.ended_at)


def attribute(db: sqlite3.Connection, machine: str, notebook: str) -> None:
    """Put what a machine costs from now on down to a notebook; and from its start, if nobody's so far."""
    row = db.execute(
        "SELECT rowid, notebook, price FROM spend WHERE machine = ? AND ended IS NULL", (machine,)
    ).fetchone()
    if row is None or row[1] == notebook:
        return
    if not row[1]:
        db.execute("UPDATE spend SET notebook = ? WHERE rowid = ?", (notebook, row[0]))
        return
    now = time.time()
    db.execute("UPDATE spend SET ended = max(began, ?) WHERE rowid = ?", (now, row[0]))
    _add(db, machine, notebook, row[2], now, None)


def charges(db: sqlite3.Connection, since: float) -> list[Charge]:
    """Return what was spent after `since`, oldest first."""
    # one that was deleted before it came to be has ended when it began
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM spend WHERE ended IS NULL OR ended > max(began, ?) ORDER BY began, rowid",
        (since,),
    )
    return [Charge(*row) for row in rows]


def _add(
    db: sqlite3.Connection, machine: str, notebook: str, price: float, began: float, ended: float | None
) -> None:
    db.execute(
        f"INSERT INTO spend ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", (machine, notebook, price, began, ended)
    )
