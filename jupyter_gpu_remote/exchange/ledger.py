"""Which end has the newest value of each name."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..variables.names import names_of

Fingerprint = tuple[Any, ...]


@dataclass
class Entry:
    """What is known of one name.

    Attributes:
        there: Whether its last assignment was over there.
        fingerprint: The value that the machine was sent, or sent back; None when it has none of ours.
        bound: The id of the object that it was bound to here when that was last looked at.
        things: The objects of that value that the machine has too: by id, what keeps the id honest and how
            to refer to it.
        globals: What functions of that value look up in the notebook.
        checked: When the value was last compared; see `Ledger.epoch`.
        seconds: How long that took.
    """

    there: bool = False
    fingerprint: Fingerprint | None = None
    bound: int = 0
    things: dict[int, tuple[weakref.ref[Any], tuple[str, int]]] = field(default_factory=dict)
    globals: frozenset[str] = frozenset()
    checked: int = -1
    seconds: float = 0.0


class Ledger:
    """The names of a notebook that both ends know.

    Args:
        namespace: The notebook's variables here.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.entries: dict[str, Entry] = {}
        self.epoch = 0
        """Counts what has run here: within one, nothing here has changed."""
        self._namespace = namespace

    def entry(self, name: str) -> Entry:
        """Return what is known of a name."""
        return self.entries.setdefault(name, Entry(bound=self._bound(name)))

    def is_there(self, name: str) -> bool:
        """Return whether the machine has the newest value of a name."""
        entry = self.entries.get(name)
        # what this very cell has bound here is newer
        return entry is not None and entry.there and self._bound(name) in (0, entry.bound)

    def ran_here(self, source: str, succeeded: bool) -> None:
        """Note that a cell has run here: what it bound is the newest."""
        sure = names_of(source).surely if succeeded else frozenset()
        for name, entry in self.entries.items():
            now = self._bound(name)
            if now and (now != entry.bound or name in sure):
                entry.there = False
            entry.bound = now

    def ran_there(self, bound: Iterable[str]) -> None:
        """Note that a cell has run over there, and what it bound."""
        for name in bound:
            entry = self.entry(name)
            entry.there, entry.fingerprint, entry.things = True, None, {}

    def deleted_there(self, names: Iterable[str]) -> None:
        """Note that a cell over there has deleted names: an older value here is the newest again."""
        for name in names:
            if self.is_there(name):
                del self.entries[name]

    def forget(self) -> None:
        """Forget the machine: its kernel is another one, or gone."""
        self.entries.clear()

    def _bound(self, name: str) -> int:
        return id(self._namespace[name]) if name in self._namespace else 0
