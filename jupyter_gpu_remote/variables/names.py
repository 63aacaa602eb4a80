"""Which names a cell reads and binds, and which of a notebook's variables it needs."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .names_reach import globals_of, reach
from .names_scope import Outside
from .names_text import parse
from .names_walk import Walk

__all__ = ["Names", "globals_of", "names_of", "needed", "without_own"]

_BUILTINS = frozenset(dir(builtins)) | {"display", "get_ipython", "exit", "quit"}
_OWN = re.compile(
    r"_{1,3}|_i{1,3}|_i?\d+|_[ido]h|In|Out|_exit_code"
    r"|__(name|file|doc|package|loader|spec|builtins?|annotations|debug|class|module|qualname|session)__"
)
"""Names that each kernel and each scope has of its own."""
_NOTHING = object()
_SHELL_PACKAGES = frozenset({"IPython", "ipykernel"})


@dataclass(frozen=True)
class Names:
    """The names of a cell.

    Attributes:
        reads: What may be looked up from outside before the cell has surely bound it.
        binds: What the cell may bind or delete.
        builtins: What may be looked up likewise and is a builtin, unless the notebook has its own.
        surely: What of `binds` the cell has bound when it ends well.
    """

    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    builtins: frozenset[str] = frozenset()
    surely: frozenset[str] = frozenset()


@lru_cache(maxsize=1024)
def names_of(source: str) -> Names:
    """Return the names of a cell; of one that is no Python there are none.

    Args:
        source: The cell, with its magics.
    """
    walk = _walk(source)
    if walk is None:
        return Names()
    reads = without_own(walk.reads)
    binds = without_own(walk.stores)
    return Names(reads - _BUILTINS, binds, reads & _BUILTINS, binds & walk.owned)


def needed(source: str, namespace: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of a namespace that a cell needs to run elsewhere.

    Those are what it reads, and what functions that it reads look up in that namespace, unless the cell has
    bound that by then.

    Args:
        source: The cell, with its magics.
        namespace: The globals of the notebook.
    """
    names = names_of(source)
    needs = _needs(names.reads | names.builtins, namespace)
    if not any(reach(namespace[name], namespace) for name in needs):
        return needs
    # what functions read counts from where they are used, so the cell is walked once more
    walk = _walk(source, lambda name: reach(namespace[name], namespace) if name in namespace else ())
    return _needs(without_own(walk.reads), namespace) if walk else frozenset()


def _walk(source: str, outside: Outside | None = None) -> Walk | None:
    tree = parse(source)
    if tree is None:
        return None
    walk = Walk("cell", outside=outside)
    try:
        walk.walk(tree.body)
        walk.finish()
    except RecursionError:
        return None  # neither can Python compile it
    return walk


def without_own(names: Iterable[str]) -> frozenset[str]:
    """Return those of some names that are not every kernel's own."""
    return frozenset(name for name in names if not _OWN.fullmatch(name))


def _needs(reads: Iterable[str], namespace: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name in reads if name in namespace and not _is_given(name, namespace[name]))


def _is_given(name: str, value: Any) -> bool:
    """Say whether a value is what every kernel has under that name."""
    if name not in _BUILTINS:
        return False
    package = str(getattr(value, "__module__", None) or type(value).__module__).partition(".")[0]
    return package in _SHELL_PACKAGES or value is getattr(builtins, name, _NOTHING)
