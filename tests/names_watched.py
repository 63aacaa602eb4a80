"""A namespace that notes what is looked up in it from outside while a program runs."""

from __future__ import annotations

import builtins
import random
import types
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

NAMES = "abcdefgh"
_STEPS = 400


class Enough(BaseException):
    """A program has run long enough."""


class Chance:
    """Says yes or no, and stops a program that asks too often."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._steps = _STEPS

    def __call__(self) -> bool:
        self._steps -= 1
        if self._steps < 0:
            raise Enough
        return self._random.random() < 0.5


class Anything:
    """A value that goes along with whatever is done to it, and calls what it is given or does not."""

    def __init__(self, chance: Chance) -> None:
        self.__dict__["_chance"] = chance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for given in (*args, *kwargs.values()):
            if callable(given) and not isinstance(given, Anything) and self._chance():
                given()
            if hasattr(given, "__next__") and self._chance():
                list(given)
        return args[0] if len(args) == 1 and callable(args[0]) else Anything(self._chance)

    def _other(self, *args: Any) -> Any:
        return Anything(self._chance)

    def _decided(self, *args: Any) -> bool:
        return self._chance()

    def _nothing(self, *args: Any) -> None:
        self._chance()

    def __iter__(self) -> Iterator[Any]:
        while self._chance():
            yield Anything(self._chance)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(self._chance)

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        return ()

    def __exit__(self, *error: Any) -> bool:
        return False

    def __format__(self, spec: str) -> str:
        return "?"

    __bool__ = __eq__ = __lt__ = __contains__ = _decided  # type: ignore[assignment]
    __add__ = __radd__ = __iadd__ = __getitem__ = __enter__ = _other
    __setitem__ = __delitem__ = __setattr__ = _nothing  # type: ignore[assignment]
    __hash__ = object.__hash__


class Watched(dict[str, Any]):
    """A namespace that notes what is looked up while it still is what was there at first.

    Args:
        chance: What decides what its values do.
        names: The names that it has and watches.
    """

    def __init__(self, chance: Chance, names: Iterable[str] = NAMES) -> None:
        super().__init__({name: Anything(chance) for name in names})
        self._chance = chance
        self._names = tuple(names)
        self["__builtins__"] = {**vars(builtins), "tick": chance}
        self["__name__"] = "__main__"
        self.looked_up: set[str] = set()
        self.outside: dict[str, Any] = {}

    def watch(self) -> None:
        """Begin: what is there now is outside."""
        values: list[Any] = []
        for name in self._names:
            value = self.get(name)
            # told by identity: so none may come again by another way
            if (
                value is None
                or isinstance(value, (int, str, types.ModuleType))
                or any(value is x for x in values)
            ):
                value = self[name] = Anything(self._chance)
            values.append(value)
        self.outside = dict(zip(self._names, values, strict=True))
        self.looked_up.clear()

    def _note(self, name: str) -> None:
        if name in self.outside and super().get(name) is self.outside[name]:
            self.looked_up.add(name)

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def __delitem__(self, name: str) -> None:
        self._note(name)
        super().__delitem__(name)

    def run(self, source: str) -> None:
        """Run a program in here, until it ends or fails."""
        with suppress(Exception, Enough):
            exec(compile(source, "<cell>", "exec", dont_inherit=True), self)

    def changed(self) -> set[str]:
        """Return the names that have been bound anew or deleted."""
        return {name for name in self.outside if super(Watched, self).get(name) is not self.outside[name]}
