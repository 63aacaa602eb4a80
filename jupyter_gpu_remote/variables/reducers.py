"""How Python's own things are taken apart where cloudpickle does not know how, or not well enough."""

from __future__ import annotations

import dataclasses
import functools
import io
import sys
from types import CellType, FunctionType, MemberDescriptorType
from typing import Any

import cloudpickle

from . import rebuild

_FUNCTION_SLOTS = (
    "__module__",
    "__name__",
    "__qualname__",
    "__doc__",
    "__defaults__",
    "__kwdefaults__",
    "__annotations__",
)
_SENTINELS = {
    type(dataclasses.MISSING): "MISSING",
    type(dataclasses.KW_ONLY): "KW_ONLY",
    type(dataclasses._HAS_DEFAULT_FACTORY): "_HAS_DEFAULT_FACTORY",  # type: ignore[attr-defined]
}
"""What dataclasses recognise by identity, by type."""


class UnpicklableError(Exception):
    """Something can't be pickled.

    Args:
        culprit: The object that can't be.
        reason: Why.
    """

    def __init__(self, culprit: Any, reason: str) -> None:
        super().__init__(reason)
        self.culprit = culprit
        self.reason = reason


def function(obj: FunctionType) -> Any:
    """Return how to make a function of the notebook again."""
    slots = {}
    for name in _FUNCTION_SLOTS:
        try:
            slots[name] = getattr(obj, name)
        except NameError:  # an annotation that means nothing yet
            slots[name] = {}
    if parameters := getattr(obj, "__type_params__", None):
        slots["__type_params__"] = parameters
    state = (obj.__dict__, slots)
    return rebuild.function, (obj.__code__, obj.__closure__), state, None, None, rebuild.set_function


def cell(obj: CellType) -> Any:
    """Return how to make a closure's cell again."""
    try:
        contents = obj.cell_contents
    except ValueError:
        return rebuild.cell, ()
    return rebuild.cell, (), (contents,), None, None, rebuild.set_cell


def made_class(obj: type, reduced: Any) -> Any:
    """Return how to make a class again, from what cloudpickle says."""
    if not isinstance(reduced, tuple) or reduced[0] is not cloudpickle.cloudpickle._make_skeleton_class:
        return reduced
    make, (*head, first, tracker, extra), (attributes, slots), *rest = reduced
    if attributes.get("__slots__"):  # or its objects would have a dict over there, and could not come back
        first = {**first, "__slots__": attributes["__slots__"]}
    kept = {
        name: value
        for name, value in attributes.items()
        # its slots; and a cache of copyreg
        if name not in (*first, "__slotnames__")
        and not (isinstance(value, MemberDescriptorType) and value.__objclass__ is obj)
    }
    return rebuild.quiet_class, (make, *head, first, tracker, extra), (kept, slots), *rest


def other(obj: Any, kind: type) -> Any:
    """Return how to make any other object again; NotImplemented if its class knows.

    Args:
        obj: It.
        kind: Its type.

    Raises:
        UnpicklableError: It is bound to this process.
    """
    if kind is FunctionType:
        if obj.__globals__ is vars(functools) and obj.__module__ == "__main__" and hasattr(obj, "registry"):
            return rebuild.dispatcher, (obj.registry[object], dict(obj.registry))
    elif kind is functools.cached_property:
        return kind, (obj.func,), {name: value for name, value in vars(obj).items() if name != "lock"}
    elif kind is functools._lru_cache_wrapper:
        if obj.__module__ == "__main__":
            return rebuild.cached, (obj.__wrapped__, obj.cache_parameters())
    elif name := _SENTINELS.get(kind):
        return name
    elif issubclass(kind, io._io._IOBase):  # type: ignore[attr-defined]
        return _file(obj, kind)
    return NotImplemented


def _file(obj: Any, kind: type) -> Any:
    for name in ("stdin", "stdout", "stderr"):
        if obj is getattr(sys, name):
            return getattr, (sys, name)
    if kind.__module__ == "_io" and kind not in (io.BytesIO, io.StringIO):
        raise UnpicklableError(obj, "an open file exists only here")
    return NotImplemented
