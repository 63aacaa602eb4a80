"""Where in a value an object is, so that an error can name it: ``model.layers[3].lock``."""

from __future__ import annotations

import contextlib
import functools
import itertools
import reprlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from types import BuiltinMethodType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

_LIMIT = 1.0
"""Seconds to look for it."""
_LOOK_AT = 1000
"""How many items of one container are looked at."""
_CLOSED = (str, bytes, bytearray, int, float, complex, bool, type(None), ModuleType, CodeType)


def path_to(culprit: Any, values: Mapping[str, Any]) -> str:
    """Return how to get at `culprit` in one of several variables; that it is in one, when it isn't found."""
    end = time.monotonic() + _LIMIT
    queue: deque[tuple[str, Any]] = deque(values.items())
    alive = {id(value): value for value in values.values()}  # or an id may be another's in a moment
    while queue and time.monotonic() < end:
        path, at = queue.popleft()
        if at is culprit:
            return path
        for step, inside in _inside(at):
            if id(inside) not in alive and not isinstance(inside, _CLOSED):
                alive[id(inside)] = inside
                queue.append((path + step, inside))
    return f"something in {', '.join(values)}"


def type_name(value: Any) -> str:
    """Return the name of a value's type as users know it."""
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is in a value, without running code of its class."""
    kind = type(value)
    if issubclass(kind, dict):
        for key, item in itertools.islice(dict.items(value), _LOOK_AT):
            yield f"[{_name(key)}]", item
            yield f".keys()[{_name(key)}]", key
    elif issubclass(kind, (list, tuple, deque)):
        for i, item in enumerate(itertools.islice(kind.__iter__(value), _LOOK_AT)):
            yield f"[{i}]", item
    elif issubclass(kind, (set, frozenset)):
        for item in itertools.islice(value, _LOOK_AT):
            yield "{…}", item
    elif kind is FunctionType:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            with contextlib.suppress(ValueError):  # not bound yet
                yield f".<{name}>", cell.cell_contents
        for i, default in enumerate(value.__defaults__ or ()):
            yield f".__defaults__[{i}]", default
        for name, default in (value.__kwdefaults__ or {}).items():
            yield f".__kwdefaults__[{name!r}]", default
    elif kind in (MethodType, BuiltinMethodType):
        yield ".__self__", value.__self__
    elif kind is functools.partial:
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif kind is property:
        yield from ((f".{name}", getattr(value, name)) for name in ("fget", "fset", "fdel"))
    elif (numpy := sys.modules.get("numpy")) and kind is numpy.ndarray and value.dtype == object:
        for i, item in enumerate(itertools.islice(value.flat, _LOOK_AT)):
            yield f"[{i}]" if value.ndim == 1 else f".flat[{i}]", item
    elif (pandas := sys.modules.get("pandas")) and kind is pandas.DataFrame:
        for i in range(min(len(value.columns), _LOOK_AT)):
            yield f"[{_name(value.columns[i])}]", value.iloc[:, i]
    elif (pandas := sys.modules.get("pandas")) and kind is pandas.Series and value.dtype == object:
        for i, item in enumerate(itertools.islice(value.array, _LOOK_AT)):
            yield f".iloc[{i}]", item
    yield from _attributes(value, kind)


def _attributes(value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    with contextlib.suppress(Exception):  # some classes have a __dict__ of their own kind
        yield from ((f".{name}", item) for name, item in dict(vars(value)).items())
    for base in kind.__mro__:
        for name, item in vars(base).items():
            if isinstance(item, MemberDescriptorType) and base.__module__ != "builtins":  # a slot
                with contextlib.suppress(AttributeError):
                    yield f".{name}", item.__get__(value)
            elif base.__module__ == "__main__":  # its class goes with it
                yield f".{name}", item


def _name(key: Any) -> str:
    with contextlib.suppress(Exception):  # a __repr__ is the user's code
        return reprlib.repr(key)
    return "…"
