"""What comes back beside the variables that are asked for: what they would not work without."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from operator import attrgetter
from types import ModuleType
from typing import Any

from ..variables import pickler
from ..variables.names_reach import globals_of
from ..variables.pickler import Pickled

_LIMIT = 100_000_000
"""Bytes that something may have to come back without being asked for."""


class Company:
    """Variables that go together.

    Args:
        names: Those that are asked for.
        namespace: The notebook's.
        current: Those of which the client has the newest value.
        same: Those that both ends have, with objects that may be part of others.

    Attributes:
        names: With those that were added.
        pickled: They, as a dict.
        imports: What is to be imported rather than sent: module and name in it, by variable.

    Raises:
        UnpicklableError: One that is asked for can't be pickled.
    """

    def __init__(
        self,
        names: Sequence[str],
        namespace: MutableMapping[str, Any],
        current: Collection[str],
        same: Collection[str],
    ) -> None:
        self.names = list(names)
        self.imports: dict[str, tuple[str, str]] = {}
        self._namespace = namespace
        self.pickled = self._dump(self.names)
        candidates = same if _things(self.pickled) else ()
        left = {name: one for name in candidates if name not in names and (one := self._try(name))}
        passed = {*names, *current}
        while added := [*self._looked_up(passed), *self._sharing(left)]:
            self.names += added
            self.pickled = self._dump(self.names)

    def _dump(self, names: Sequence[str], **options: Any) -> Pickled:
        return pickler.dump({name: self._namespace[name] for name in names}, self._namespace, **options)

    def _try(self, name: str) -> Pickled | None:
        try:
            return self._dump([name], limit=_LIMIT) if name in self._namespace else None
        except (pickler.UnpicklableError, pickler.TooLargeError):
            return None

    def _looked_up(self, passed: set[str]) -> Iterator[str]:
        """Yield what functions among them look up, and the client lacks."""
        found = {name for code in self.pickled.codes for name in globals_of(code)}
        for name in sorted((found & self._namespace.keys()) - passed):
            passed.add(name)
            if source := _source_of(self._namespace[name]):
                self.imports[name] = source
            elif self._try(name):
                yield name

    def _sharing(self, left: dict[str, Pickled]) -> Iterator[str]:
        """Yield what shares objects with them: an optimizer goes with the parameters that it changes."""
        met = _things(self.pickled)
        for name in [name for name, one in left.items() if not met.isdisjoint(_things(one))]:
            del left[name]
            if name not in self.names:
                yield name


def _things(pickled: Pickled) -> set[int]:
    return {i for i, (_, value) in pickled.memo.items() if pickler.is_thing(value)}.union(pickled.roots)


def _source_of(value: Any) -> tuple[str, str] | None:
    """Return where a value can be imported from: its module, and its name there."""
    if isinstance(value, ModuleType):
        return value.__name__, ""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)) or module == "__main__":
        return None
    try:
        return (module, name) if attrgetter(name)(sys.modules[module]) is value else None
    except (KeyError, AttributeError):
        return None
