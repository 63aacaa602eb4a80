"""Objects that several variables share: these variables go together, or refer to what the machine has."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Mapping
from types import CellType
from typing import Any

from ..variables import pickler
from ..variables.parcel import REMEMBERED
from ..variables.pickler import Pickled, Reference
from .ledger import Entry, Ledger


def groups(found: Mapping[str, Pickled]) -> Iterable[list[str]]:
    """Put together what shares objects, so that they are one again over there.

    Args:
        found: Variables, each pickled by itself.
    """
    leader: dict[str, str] = {}
    first: dict[int, str] = {}  # the first name that has an object

    def lead(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for name, pickled in found.items():
        leader[name] = name
        memo = pickled.memo.items()
        ids = {i for i, (place, obj) in memo if place and _may_be_shared(obj)} | pickled.roots
        for i in ids or {0}:  # numbers and text share nothing, and go together
            leader[lead(name)] = lead(first.setdefault(i, name))
    made: dict[str, list[str]] = {}
    for name in found:
        made.setdefault(lead(name), []).append(name)
    return made.values()


def _may_be_shared(obj: Any) -> bool:
    return isinstance(obj, (list, dict, set, bytearray, CellType)) or pickler.is_thing(obj)


def things(one: Pickled, sent: Pickled, transfer: str) -> dict[int, tuple[weakref.ref[Any], Reference]]:
    """Return the objects of a variable by which later ones can refer to it.

    Args:
        one: The variable, pickled by itself.
        sent: What it was sent as.
        transfer: What tells that from others.
    """
    if len(sent.memo) > REMEMBERED:
        return {}
    return {
        i: (weakref.ref(obj), (transfer, sent.memo[i][0]))
        for i, (_, obj) in one.memo.items()
        if i in sent.memo and pickler.is_thing(obj)
    }


def owners(entries: Mapping[str, Entry]) -> dict[int, list[str]]:
    """Return the names that brought the objects which the machine has, by id."""
    names: dict[int, list[str]] = {}
    for name, entry in entries.items():
        for i in entry.things if not entry.there else ():
            names.setdefault(i, []).append(name)
    return names


def known(ledger: Ledger, changed: Collection[str]) -> dict[int, Reference]:
    """Return what the machine has already, in variables that were compared and have not changed here."""
    return {
        i: reference
        for name, entry in ledger.entries.items()
        if name not in changed and entry.checked == ledger.epoch
        for i, (alive, reference) in entry.things.items()
        if alive() is not None
    }
