"""Small random programs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from .names_watched import NAMES


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
        return f"{self._name()}{self._pick('', '.x', f'[{self._name()}]')} += {self._expression()}"

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
