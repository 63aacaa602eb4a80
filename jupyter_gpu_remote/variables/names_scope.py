"""Which names a stretch of code reads before it surely has them, kept up to date while the code is walked.

A scope *owns* a name once the code has surely bound or deleted it: what is outside under that name can't be
seen any more. That only ever grows along a path, so it is kept as a trail: a branch is walked, what it
gained is noted, the trail is taken back, and what all branches gained stays.

Bodies of functions run later, if at all. What they look up is held under the function's name and counts
when that name is used, and at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Outside = Callable[[str], Iterable[str]]
"""Returns the names that the value of an outer name may look up when it is used."""

Item = Any
"""A name, or a `Later` that was used."""
Path = set[Item] | None
"""What a branch surely owns at its end; None when its end is never reached."""

GLOBAL = "global "
"""Before a name that a function declared global; no local name can look like that."""


@dataclass(eq=False)
class Later:
    """What code that runs later may look up.

    Attributes:
        reads: The names.
        at_once: Whether making a subclass runs some of it.
    """

    reads: set[str]
    at_once: bool = False


class Scope:
    """A cell, function, class or comprehension while it is walked.

    Args:
        kind: ``cell``, ``function``, ``class`` or ``comprehension``.
        outer: The scope it stands in.
        params: Names that are bound from the start.
        outside: What values of outer names look up, for a cell.
    """

    def __init__(
        self,
        kind: str,
        outer: Scope | None = None,
        params: Iterable[str] = (),
        outside: Outside | None = None,
    ) -> None:
        self.kind = kind
        self.reads: set[str] = set()
        self.stores: set[str] = set(params)
        self.plain_annotations: bool = outer is not None and outer.plain_annotations
        self._outer = outer
        self._outside = outside
        self._beyond: dict[str, Later] = {}
        self._owned: set[Item] = set(self.stores)
        self._trail: list[Item] = []
        self._held: dict[str, list[Later]] = {}
        self._again: set[str] = set()  # names that may be looked up once more without being named again
        self._passed: set[str] = set()  # what inner scopes of a class look up: they don't see its names
        self._globals: set[str] = set()
        self._nonlocals: set[str] = set()
        self._loops: list[tuple[int, list[Path]]] = []
        self._dead = False

    @property
    def owned(self) -> frozenset[Item]:
        """What has surely been bound or deleted so far."""
        return frozenset(self._owned)

    # -- names ----------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        if self.kind == "cell":
            return name.removeprefix(GLOBAL)
        return GLOBAL + name if name in self._globals else name

    def look_up(self, *names: str) -> None:
        """Note that names are read here, and what their values may look up when they are called."""
        if self._dead:
            return
        todo = list(names)
        while todo:
            name = self._key(todo.pop())
            owned = name in self._owned
            if self._loops:
                self._again.add(name)
            if not owned:
                self.reads.add(name)
                if self._outside:
                    if name not in self._beyond:
                        self._beyond[name] = Later(set(self._outside(name)))
                    todo += self._use(self._beyond[name])
            for later in self._held.get(name, ()):
                todo += self._use(later)

    def _use(self, later: Later) -> Iterable[str]:
        if later in self._owned:
            return ()
        self._own(later)
        if self.kind == "class":
            self._passed |= later.reads
            return ()
        self._again |= later.reads
        return later.reads

    def glance(self, name: str) -> None:
        """Note that a name is read, but not called."""
        name = self._key(name)
        if not self._dead and name not in self._owned:
            self.reads.add(name)

    def bind(self, name: str, later: Later | None = None) -> None:
        """Note that a name is bound or deleted here."""
        home = self
        while home.kind == "comprehension" and home._outer:  # a walrus binds around comprehensions
            home = home._outer
        name = home._key(name)
        if name not in home._nonlocals:
            home.stores.add(name)
        self._own(name)
        if later:
            self._held.setdefault(name, []).append(later)
            if name in self._again:
                self.look_up(name)

    def _own(self, item: Item) -> None:
        if not self._dead and item not in self._owned:
            self._owned.add(item)
            self._trail.append(item)

    def absorb(self, reads: Iterable[str]) -> None:
        """Note what an inner scope that runs here looks up."""
        if self.kind != "class":
            self.look_up(*reads)
        elif not self._dead:
            self._passed.update(reads)

    def finish(self) -> set[str]:
        """Return what is looked up outside this scope, when its code has been walked."""
        if self.kind == "class":
            free = {GLOBAL + n if n in self.stores and " " not in n else n for n in self.reads} | self._passed
        else:
            self._dead = False  # what was defined before the end is there, however it was reached
            self.look_up(*(name for laters in self._held.values() for x in laters for name in self._use(x)))
            free = self.reads
            if self.kind != "cell":
                free = {name for name in free if name.startswith(GLOBAL) or name not in self.stores}
        if self._outer:
            self._outer.stores.update(
                self._outer._key(name) for name in self.stores if name.startswith(GLOBAL)
            )
        return free

    # -- paths ----------------------------------------------------------------------------------------

    def _mark(self) -> tuple[int, bool]:
        return len(self._trail), self._dead

    def _gained(self, start: int) -> Path:
        return None if self._dead else set(self._trail[start:])

    def _undo(self, mark: tuple[int, bool]) -> None:
        start, self._dead = mark
        self._owned.difference_update(self._trail[start:])
        del self._trail[start:]

    def _leave(self, mark: tuple[int, bool]) -> Path:
        gained = self._gained(mark[0])
        self._undo(mark)
        return gained

    def _join(self, paths: list[Path]) -> None:
        alive = [path for path in paths if path is not None]
        if not alive:
            self._dead = True
            return
        for item in set.intersection(*alive):
            self._own(item)
