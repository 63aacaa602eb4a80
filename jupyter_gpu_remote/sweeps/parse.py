"""What ``--sweep``, ``--stop`` and ``--optimize`` say. Text of the user's is read, never run."""

from __future__ import annotations

import ast
import keyword
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..agent.space import COLUMNS, Axis
from ..errors import ConfigurationError

_WORD = re.compile(r"[A-Za-z_/~.][\w./:~@+-]*")
"""What may stand for a text without quotes, as a shell's words do; ``0.1.2`` is a slip."""
_NOT_WORDS = {"true": "True", "false": "False", "none": "None", "null": "None"}
_CALL = re.compile(r"(\w+(?:\.\w+)*)\s*\((.*)\)", re.DOTALL)
_RULE = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|==|!=|<|>)\s*(\S+?)(?:\s+after\s+(\d+))?\s*")
_GOAL = re.compile(r"\s*(min|max)\s+([A-Za-z_]\w*)\s*")
_EXAMPLES = "--sweep lr=0.1,0.01 · seed=range(5) · lr=log(1e-5,1e-1) · opt=adam,sgd · configs"

Rule = tuple[str, str, float, int]
"""Metric, comparison, number, and the step from which on it holds."""


def space(texts: Sequence[str]) -> list[Axis]:
    """Return the axes of the space that some ``--sweep`` describe.

    Raises:
        ConfigurationError: One can't be read, or a name is there twice.
    """
    axes = [_axis(text) for text in texts]
    names = [axis.get("name", "") for axis in axes]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ConfigurationError(
            f"--sweep {twice[0]} is there twice.", hint=f"Put its values into one: --sweep {twice[0]}=1,2,3"
        )
    return axes


def _axis(text: str) -> Axis:
    name, equals, values = text.partition("=")
    name = name.strip()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise _wrong(text, f"{name!r} can't be the name of a variable")
    if not equals:
        return {"list": name}
    if name in COLUMNS or name == "report":
        raise _wrong(text, f"{name!r} is a name that the results use themselves")
    items = _items(values)
    if not items:
        raise _wrong(text, "there is no value")
    if len(items) == 1 and (call := _CALL.fullmatch(items[0])) and call[1] in _DRAWS:
        return {"name": name, "draw": call[1], "of": _DRAWS[call[1]](text, _arguments(text, call[2]))}
    return {"name": name, "values": [value for item in items for value in _values(text, item)]}


def _items(text: str) -> list[str]:
    """Split at commas that stand in no brackets and no quotes."""
    items, depth, quote, start, escaped = [], 0, "", 0, False
    for at, c in enumerate(text):
        if quote:
            quote = "" if c == quote and not escaped else quote
            escaped = c == "\\" and not escaped
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth == 0:
            items.append(text[start:at])
            start = at + 1
    items.append(text[start:])
    return [item.strip() for item in items if item.strip()]


def _values(text: str, item: str) -> Sequence[Any]:
    """Return the values that an item stands for: one, or those of a range."""
    if call := _CALL.fullmatch(item):
        if call[1] in _DRAWS:
            raise _wrong(text, f"{call[1]}(…) stands for all values, and can't be one among others")
        if call[1] != "range":
            known = ", ".join(("range", *_DRAWS))
            raise _wrong(
                text, f"{call[1]}(…) is not known here, only {known}; for others make a list of dicts"
            )
        return _range(text, _arguments(text, call[2]))
    try:
        value = ast.literal_eval(item)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if right := _NOT_WORDS.get(item.lower()):
            raise _wrong(text, f"{item} is written {right}") from None
        if item.lower() in ("nan", "inf") or not _WORD.fullmatch(item):
            raise _wrong(text, f"{item!r} is no number, and as a text it needs quotes") from None
        return [item]
    if not _is_finite(value):
        raise _wrong(text, f"{item} is too large a number")
    return [value]


def _is_finite(value: Any) -> bool:
    if isinstance(value, (list, tuple, set)):
        return all(map(_is_finite, value))
    if isinstance(value, dict):
        return all(map(_is_finite, (*value, *value.values())))
    return not isinstance(value, (float, complex)) or abs(value) < math.inf


def _arguments(text: str, listed: str) -> list[Any]:
    try:
        found = [ast.literal_eval(item) for item in _items(listed)]
    except (ValueError, SyntaxError):
        found = [None]
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in found):
        raise _wrong(text, f"({listed}) are not numbers")
    return found


def _range(text: str, of: list[Any]) -> range:
    if not 1 <= len(of) <= 3 or not all(isinstance(value, int) for value in of) or (of[2:] == [0]):
        raise _wrong(text, "range takes one to three whole numbers, as in range(5) or range(10, 50, 10)")
    found = range(*of)
    if not found:
        raise _wrong(text, "that range is empty")
    return found


def _two(text: str, of: list[Any]) -> list[Any]:
    if len(of) != 2 or not of[0] < of[1] or not _is_finite(of):
        raise _wrong(text, "it takes the least and the greatest value, in that order")
    return of


def _log(text: str, of: list[Any]) -> list[Any]:
    if not _two(text, of)[0] > 0:
        raise _wrong(text, "log takes numbers above 0")
    return of


def _randint(text: str, of: list[Any]) -> list[Any]:
    if not all(isinstance(value, int) for value in _two(text, of)):
        raise _wrong(text, "randint takes whole numbers")
    return of


_DRAWS: dict[str, Callable[[str, list[Any]], list[Any]]] = {"log": _log, "uniform": _two, "randint": _randint}


def _wrong(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"--sweep {text} can't be read: {why}.", hint=f"For example: {_EXAMPLES}")


def rule(text: str) -> Rule | None:
    """Return what a ``--stop`` says; None when it is empty.

    Raises:
        ConfigurationError: It can't be read.
    """
    if not text:
        return None
    try:
        name, comparison, number, after = _RULE.fullmatch(text).groups()  # type: ignore[union-attr]
        return name, comparison, float(number), int(after or 0)
    except (AttributeError, ValueError):
        raise ConfigurationError(
            f"--stop {text!r} can't be read: it is METRIC, a comparison and a number, and perhaps the step "
            "from which on that holds.",
            hint='For example: --stop "loss > 2 after 100"',
        ) from None


def goal(text: str) -> tuple[str, str] | None:
    """Return what an ``--optimize`` says, ``min`` or ``max`` and the metric; None when it is empty.

    Raises:
        ConfigurationError: It can't be read.
    """
    if not text:
        return None
    if found := _GOAL.fullmatch(text):
        return found[1], found[2]
    raise ConfigurationError(
        f"--optimize {text!r} can't be read: it is min or max, and a metric.",
        hint='For example: --optimize "min loss" --trials 50',
    )
