"""Small random programs, and a namespace that notes what is looked up in it from outside."""

from __future__ import annotations

import builtins
import random
import types
from collections.abc import Callable, Iterable, Iterator
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


class Program:
    """Writes a program.

    Args:
        seed: What it depends on.
        kinds: The kinds of statements that it begins with; all when empty.
    """

    def __init__(self, seed: int, kinds: str = "") -> None:
        self._random = random.Random(seed)
        self._kinds = kinds.split()
        self.source = "\n".join(self._block(0, "cell", False, 5))

    def _pick(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _name(self) -> str:
        return self._random.choice(NAMES)

    def _expression(self, depth: int = 0) -> str:
        if depth > 2 or self._random.random() < 0.4:
            return self._pick(self._name(), self._name(), "1")
        e: Callable[[], str] = lambda: self._expression(depth + 1)  # noqa: E731
        n = self._name
        return self._pick(
            lambda: f"({e()} + {e()})",
            lambda: f"{n()}({e()})",
            lambda: f"{n()}()",
            lambda: f"{n()}(lambda {n()}=1: {e()})",
            lambda: f"(lambda {n()}={e()}: {e()})",
            lambda: f"[{e()} for {n()} in {e()} if {e()}]",
            lambda: f"{{{e()}: {e()} for {n()} in {n()} for {n()} in {e()}}}",
            lambda: f"{n()}({e()} for {n()} in {e()})",
            lambda: f"({e()} if {e()} else {e()})",
            lambda: f"({e()} {self._pick('and', 'or')} {e()})",
            lambda: f"({n()} := {e()})",
            lambda: f"({e()} < {e()} < {e()})",
            lambda: f"f'{{{e()}}}{{{n()}:{{{n()}}}}}'",
            lambda: f"{{{e()}: {e()}, {e()}: {e()}}}",
            lambda: f"{n()}.x[{e()}]",
            lambda: f"globals()['{n()}']",
            lambda: f"eval('{n()}')",
        )()

    def _block(self, depth: int, place: str, loop: bool, length: int = 2) -> list[str]:
        lines = []
        for _ in range(self._random.randint(1, length)):
            lines += self._statement(depth, place, loop)
        return lines

    def _statement(self, depth: int, place: str, loop: bool) -> list[str]:
        simple = ["assign", "assign", "evaluate", "augment", "delete", "unpack", "import", "bind", "item"]
        simple += ["annotate", "exec"]
        if self._random.random() < 0.05:
            simple += ["raise", "assert"] + ["return"] * (place == "function") + ["break", "continue"] * loop
        blocks = ["if", "if", "for", "while", "try", "with", "match", "define", "define", "klass"]
        if not depth and self._kinds:
            kind = self._pick(*self._kinds)
        else:
            kind = self._pick(*simple, *(blocks if depth < 3 else ()))
        write = getattr(self, f"_{kind}")
        return write(depth, place, loop) if kind in blocks else [write()]

    # -- simple statements ----------------------------------------------------------------------------

    def _assign(self) -> str:
        return f"{self._name()} = {self._expression()}"

    def _bind(self) -> str:
        n = self._name
        value = self._pick(f"lambda: {self._expression()}", f"({self._expression()} for {n()} in {n()})")
        return f"{n()} = {value}"

    def _evaluate(self) -> str:
        return self._expression()

    def _augment(self) -> str:
        return f"{self._name()} += {self._expression()}"

    def _delete(self) -> str:
        return f"del {self._name()}"

    def _unpack(self) -> str:
        return f"{self._name()}, *{self._name()} = {self._expression()}, {self._expression()}"

    def _import(self) -> str:
        return f"import os.path as {self._name()}"

    def _item(self) -> str:
        return f"{self._name()}[{self._expression()}] = {self._expression()}"

    def _annotate(self) -> str:
        return f"{self._name()}: {self._name()}{self._pick('', f' = {self._expression()}')}"

    def _exec(self) -> str:
        return f"exec('{self._name()} = {self._name()}')"

    def _raise(self) -> str:
        return "raise ValueError"

    def _assert(self) -> str:
        return f"assert {self._expression()}, {self._expression()}"

    def _return(self) -> str:
        return f"return {self._expression()}"

    def _break(self) -> str:
        return "break"

    def _continue(self) -> str:
        return "continue"

    # -- compound statements --------------------------------------------------------------------------

    def _inner(self, depth: int, place: str, loop: bool) -> list[str]:
        return [f"  {line}" for line in self._block(depth + 1, place, loop)]

    def _if(self, depth: int, place: str, loop: bool) -> list[str]:
        lines = [f"if {self._expression()}:", *self._inner(depth, place, loop)]
        if self._pick(True, False):
            lines += [f"elif {self._expression()}:", *self._inner(depth, place, loop)]
        return lines + (["else:", *self._inner(depth, place, loop)] if self._pick(True, False) else [])

    def _for(self, depth: int, place: str, loop: bool) -> list[str]:
        lines = [f"for {self._name()} in {self._expression()}:", *self._inner(depth, place, True)]
        return lines + (["else:", *self._inner(depth, place, loop)] if self._pick(True, False) else [])

    def _while(self, depth: int, place: str, loop: bool) -> list[str]:
        test = self._pick("True", self._expression())
        lines = [f"while {test}:", "  if tick(): break", *self._inner(depth, place, True)]
        return lines + (["else:", *self._inner(depth, place, loop)] if self._pick(True, False) else [])

    def _try(self, depth: int, place: str, loop: bool) -> list[str]:
        lines = ["try:", *self._inner(depth, place, loop), "  if tick(): raise ValueError"]
        lines += [f"except Exception as {self._name()}:", *self._inner(depth, place, loop)]
        if self._pick(True, False):
            lines += ["else:", *self._inner(depth, place, loop)]
        return lines + (["finally:", *self._inner(depth, place, False)] if self._pick(True, False) else [])

    def _with(self, depth: int, place: str, loop: bool) -> list[str]:
        lines = ["import contextlib"] if self._pick(True, False) else []
        context = "contextlib.suppress(Exception)" if lines else self._name()
        return [*lines, f"with {context} as {self._name()}:", *self._inner(depth, place, loop)]

    def _match(self, depth: int, place: str, loop: bool) -> list[str]:
        patterns = ("1", f"{self._name()}.x", f"[{self._name()}, *_] if {self._expression()}", self._name())
        lines = [f"match {self._expression()}:"]
        for pattern in sorted(self._random.sample(patterns, 2), key=patterns.index):
            lines += [f"  case {pattern}:", *(f"  {line}" for line in self._inner(depth, place, loop))]
        return lines

    def _define(self, depth: int, place: str, loop: bool) -> list[str]:
        decorated = self._random.random() < 0.2
        # a decorator that calls a function before its own name is bound is not what we look for
        name = "decorated" if decorated else self._name()
        lines = [f"@{self._name()}"] if decorated else []
        lines += [f"def {name}({self._pick('', f'{self._name()}={self._expression()}')}):"]
        if self._pick(True, False):
            lines += [f"  global {self._name()}"]
        lines += self._inner(depth, "function", False)
        return [*lines, f"{self._name()} = decorated"] if decorated else lines

    def _klass(self, depth: int, place: str, loop: bool) -> list[str]:
        base = self._pick("", f"({self._name()})")
        lines = [f"class {self._name()}{base}:", *self._inner(depth, "class", False)]
        return [*lines, f"  def __init__(self, *_): {self._expression()}"]


def programs(count: int, kinds: str = "") -> Iterator[str]:
    """Yield programs that Python compiles.

    Args:
        count: How many to try.
        kinds: The kinds of statements that they begin with.
    """
    for seed in range(count):
        source = Program(seed, kinds).source
        try:
            compile(source, "<cell>", "exec", dont_inherit=True)
        except SyntaxError:
            continue
        yield source
