"""Which global names a live object may look up when it is used."""

from __future__ import annotations

import gc
import re
import sys
import types
from collections.abc import Mapping
from contextlib import suppress
from dis import opmap
from functools import lru_cache
from itertools import islice
from typing import Any

_MANY = 1000
"""Parts of one container that are looked at; it is functions we are after, not data."""
_MOST = 10_000
"""Objects that are looked at for one name."""
_SHIFT = int(sys.version_info >= (3, 11))  # from then on its lowest bit says whether a NULL is pushed
_LOADS = {opmap["LOAD_GLOBAL"]: _SHIFT, opmap["LOAD_NAME"]: 0}
if "LOAD_FROM_DICT_OR_GLOBALS" in opmap:
    _LOADS[opmap["LOAD_FROM_DICT_OR_GLOBALS"]] = 0
_EXTENDED = opmap["EXTENDED_ARG"]
_DATA = (int, float, complex, bool, str, bytes, type(None), types.ModuleType, types.CodeType, types.FrameType)
_SEQUENCES = (list, tuple, set, frozenset)
_MACHINERY = frozenset({"IPython", "ipykernel", "asyncio", "logging", "threading", "zmq", "tornado"})
"""Packages whose objects hold the whole kernel sooner or later."""


@lru_cache(maxsize=4096)
def globals_of(code: types.CodeType) -> frozenset[str]:
    """Return the global names that a code object and those nested in it may look up."""
    found = set()
    argument = 0
    instructions = code.co_code
    for i in range(0, len(instructions), 2):
        operation = instructions[i]
        argument |= instructions[i + 1]
        if operation == _EXTENDED:
            argument <<= 8
            continue
        if operation in _LOADS:
            found.add(code.co_names[argument >> _LOADS[operation]])
        argument = 0
    nested = (globals_of(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return frozenset(found).union(*nested)


@lru_cache(maxsize=4096)
def _named_in_strings(code: types.CodeType) -> frozenset[str]:
    """Return the names in the constants of code that calls ``globals()`` or pandas' ``query``."""
    names = set(code.co_names)
    strings = [text for text in code.co_consts if isinstance(text, str)]
    found: set[str] = set()
    if names & {"query", "eval"}:
        found.update(name for text in strings for name in re.findall(r"@(\w+)", text))
    if "globals" in names:
        found.update(strings)
    nested = (
        _named_in_strings(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)
    )
    return frozenset(found).union(*nested)


def reach(value: Any, namespace: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of `namespace` that using `value` may look up there.

    Those are the globals of functions that live in that namespace and can be reached from the value: as it
    is one, wraps or closes over one, or is an object of a class that is defined there.

    Args:
        value: Any object.
        namespace: The globals of the notebook.
    """
    home = namespace.get("__name__", "__main__")
    found: set[str] = set()
    # objects are kept while their ids are compared
    seen: dict[int, Any] = {id(namespace): namespace}
    todo = [value]
    while todo and len(seen) < _MOST:
        item = todo.pop()
        kind = type(item)  # never item.__class__: a proxy's own code must not run
        if id(item) in seen or any(kind is data for data in _DATA):
            continue
        seen[id(item)] = item
        if kind is types.FunctionType:
            if item.__globals__ is namespace:
                found |= globals_of(item.__code__) | _named_in_strings(item.__code__)
            todo += _parts_of_function(item)
        elif issubclass(kind, type):
            if item.__module__ == home:
                todo += vars(item).values()
                todo += (kind, *item.__bases__)
        elif kind in _SEQUENCES:
            todo += islice(item, _MANY)
        elif kind is dict:
            todo += islice(item.values(), _MANY)
        elif str(kind.__module__).partition(".")[0] not in _MACHINERY:
            todo.append(kind)
            todo += islice(gc.get_referents(item), _MANY)
    return frozenset(name for name in found if name in namespace)


def _parts_of_function(function: types.FunctionType) -> list[Any]:
    parts: list[Any] = [*vars(function).values(), *(function.__defaults__ or ())]
    parts += (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not bound yet
            parts.append(cell.cell_contents)
    return parts
