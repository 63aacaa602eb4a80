"""Where in a value an object is, so that an error can name it: ``model.layers[3].lock``."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_LIMIT = 1.0
"""Seconds to look for it."""
_LOOK_AT = 1000
"""How many items of one container are looked at."""
_CLOSED = (str, bytes, bytearray, int, float, complex, bool, type(None), ModuleType, CodeType)


def path_to(culprit: Any, name: str, value: Any) -> str:
    """Return how to get at `culprit` in the variable `name`; just the name when it isn't found."""
    end = time.monotonic() + _LIMIT
    queue: deque[tuple[str, Any]] = deque([(name, value)])
    seen = {id(value)}
    alive = [value]
    while queue and time.monotonic() < end:
        path, at = queue.popleft()
        if at is culprit:
            return path
        for step, inside in _inside(at):
            if id(inside) not in seen and not isinstance(inside, _CLOSED):
                seen.add(id(inside))
                alive.append(inside)  # or its id may be another's in a moment
                queue.append((path + step, inside))
    return name


def type_name(value: Any) -> str:
    """Return the name of a value's type as users know it."""
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in itertools.islice(value.items(), _LOOK_AT):
            yield f"[{key!r}]", item
    elif isinstance(value, (list, tuple, deque)):
        for i, item in enumerate(itertools.islice(value, _LOOK_AT)):
            yield f"[{i}]", item
    elif isinstance(value, (set, frozenset)):
        for item in itertools.islice(value, _LOOK_AT):
            yield "{…}", item
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            try:
                yield f".<{name}>", cell.cell_contents
            except ValueError:
                continue
        for i, default in enumerate(value.__defaults__ or ()):
            yield f".__defaults__[{i}]", default
    try:
        attributes = dict(vars(value))
    except TypeError:
        attributes = {}
    for kind in type(value).__mro__ if not isinstance(value, type) else ():
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            try:
                attributes.setdefault(slot, getattr(value, slot))
            except AttributeError:
                continue
    for name, item in attributes.items():
        yield f".{name}", item
    if isinstance(owner := getattr(value, "__self__", None), object) and owner is not None:
        yield ".__self__", owner
    if hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
