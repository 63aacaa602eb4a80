"""The trials of a sweep, made from the space that it searches; used at both ends.

An axis of the space is a dict: ``{"name", "values"}`` for a grid, ``{"name", "draw", "of"}`` for numbers that
are drawn, ``{"list"}`` for a variable that is a list of dicts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

MOST = 100_000
"""Trials of one sweep; more are a slip of the pen."""
COLUMNS = ("trial", "state", "value", "seconds", "machine", "retries", "error", "log")
"""What the table of results has beside parameters and metrics."""

Axis = Mapping[str, Any]


def is_drawn(axes: Sequence[Axis]) -> bool:
    """Return whether some values are drawn, so that there is no end of trials."""
    return any("draw" in axis for axis in axes)


def expand(
    axes: Sequence[Axis], limit: int = 0, lists: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the parameters of each trial.

    What is drawn is drawn from the space itself, so the same space gives the same trials.

    Args:
        axes: The space.
        limit: The most trials; 0 for all.
        lists: The lists of dicts that axes name.

    Raises:
        ValueError: There is no such space; the text says why.
    """
    choices = [_choices(axis, lists or {}) for axis in axes if "draw" not in axis]
    drawn = [axis for axis in axes if "draw" in axis]
    _check_names(choices, drawn)
    total = math.prod(map(len, choices))
    if drawn and not limit:
        raise ValueError("values that are drawn have no end: --max-trials says how many")
    count = limit if drawn else min(total, limit or total)
    if count > MOST:
        raise ValueError(f"that are {count:,} trials; --max-trials takes some of them")
    chance = random.Random(repr((axes, limit)))
    picked = range(total) if drawn or count == total else sorted(chance.sample(range(total), count))
    return [
        {**_combination(choices, picked[i % total]), **{axis["name"]: _draw(axis, chance) for axis in drawn}}
        for i in range(count)
    ]


def _choices(axis: Axis, lists: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if "values" in axis:
        if not axis["values"]:
            raise ValueError(f"{axis['name']} has no value")
        return [{axis["name"]: value} for value in axis["values"]]
    name = axis["list"]
    if name not in lists:
        raise ValueError(f"there is no variable {name!r}")
    found = lists[name]
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, Mapping) for item in found):
        raise ValueError(f"{name} is not a list of dicts, but a {type(found).__name__}")
    if not found:
        raise ValueError(f"the list {name} is empty")
    wrong = [key for item in found for key in item if not (isinstance(key, str) and key.isidentifier())]
    if wrong:
        raise ValueError(f"{wrong[0]!r} in {name} can't be the name of a variable")
    return found


def _check_names(choices: Sequence[Sequence[Mapping[str, Any]]], drawn: Sequence[Axis]) -> None:
    seen: set[str] = set()
    for names in [
        *({name for item in axis for name in item} for axis in choices),
        *({a["name"]} for a in drawn),
    ]:
        if twice := sorted(seen & names):
            raise ValueError(f"{twice[0]} is there twice")
        seen |= names
    if taken := sorted(seen & {*COLUMNS, "report"}):
        raise ValueError(f"{taken[0]} is a name that the results use themselves")


def _combination(choices: Sequence[Sequence[Mapping[str, Any]]], number: int) -> dict[str, Any]:
    """Return the combination of that number; the last axis changes first."""
    parts = []
    for axis in reversed(choices):
        number, at = divmod(number, len(axis))
        parts.append(axis[at])
    return {name: value for part in reversed(parts) for name, value in part.items()}


def _draw(axis: Axis, chance: random.Random) -> float | int:
    low: float
    high: float
    low, high = axis["of"]
    if axis["draw"] == "randint":
        return chance.randint(int(low), int(high))
    if axis["draw"] == "log":
        return min(high, max(low, math.exp(chance.uniform(math.log(low), math.log(high)))))
    return chance.uniform(low, high)
