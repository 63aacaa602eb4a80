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
    slots: dict[str, Any] = {}
    for name in _FUNCTION_SLOTS:
        try:
            value = getattr(obj, name)
        except NameError:  # an annotation that means nothing yet
            value = {}
        slots[name] = _fresh(value)
    slots["__annotations__"] = {_fresh(name): value for name, value in slots["__annotations__"].items()}
    if parameters := getattr(obj, "__type_params__", None):
        slots["__type_params__"] = parameters
    state = (obj.__dict__, slots)
    return rebuild.function, (obj.__code__, obj.__closure__), state, None, None, rebuild.set_function


def _fresh(value: Any) -> Any:
    """Return a copy of a text: whether Python keeps one for equal ones must not show in the pickle."""
    return "".join(value) if type(value) is str else value


def cell(obj: CellType) -> Any:
    """Return how to make a closure's cell again."""
    try:
        contents = obj.cell_contents
    except ValueError:
        return rebuild.cell, ()
    return rebuild.cell, (), (contents,), None, None, rebuild.set_cell


def made_class(obj: type, reduced: Any) -> Any:
    """Return how to make a class again, from what cloudpickle says."""
    if not isinstance(reduced, tuple) or len(reduced) < 6:  # it is found by its name
        return reduced
    make, arguments, (attributes, slots), *rest = reduced
    arguments = [_fresh(value) for value in arguments]
    kept = {
        name: _fresh(value)
        for name, value in attributes.items()
        # its slots; and a cache of copyreg
        if not (isinstance(value, MemberDescriptorType) and value.__objclass__ is obj)
        and name != "__slotnames__"
    }
    if make is cloudpickle.cloudpickle._make_skeleton_class:
        first = {name: _fresh(value) for name, value in arguments[3].items()}
        if kept.get("__slots__"):  # or its objects would have a dict over there, and could not come back
            first["__slots__"] = kept.pop("__slots__")
        make, arguments = rebuild.quiet_class, [make, *arguments[:3], first, *arguments[4:]]
    return make, tuple(arguments), (kept, slots), *rest


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
