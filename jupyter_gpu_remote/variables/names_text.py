"""Code that a cell keeps in strings: magics, shell lines, ``exec`` and ``eval``, expressions of pandas."""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache

from .names_magics import CALLS, Text
from .names_scope import GLOBAL


@lru_cache(maxsize=32)
def parse(source: str) -> ast.Module | None:
    """Return the tree of a cell, its magics turned into calls, or None where it is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the machine warns when it runs the cell
        try:
            return ast.parse(source)
        except SyntaxError:
            pass
        except (ValueError, RecursionError, MemoryError):
            return None
        try:
            return ast.parse(_transform(source))
        except Exception:  # IPython's transformers stumble over broken cells in many ways
            return None


def _transform(source: str) -> str:
    # on use: this module is imported where no cell is run
    from IPython.core.inputtransformer2 import TransformerManager

    return str(TransformerManager().transform_cell(source))


def name_in_namespace(node: ast.AST) -> str:
    """Return the x of ``locals()["x"]`` and ``"x" in locals()``, marked for ``globals()``, or nothing."""
    match node:
        case ast.Subscript(value=place, slice=ast.Constant(value=str(name))):
            pass
        case ast.Compare(
            left=ast.Constant(value=str(name)), ops=[ast.In() | ast.NotIn()], comparators=[place]
        ):
            pass
        case _:
            return ""
    namespace = _namespace(place)
    return (GLOBAL + name if namespace == "globals" else name) if namespace else ""


def _namespace(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Name(id="globals" | "locals" | "vars" | "dir" as name), args=[], keywords=[]):
            return name
    return ""


def text_of(call: ast.Call) -> Text | None:
    """Return what the string does that a call is given to run, if it is given one."""
    function = call.func
    if isinstance(function, ast.Name):
        if function.id in ("exec", "eval") and _string(call) and all(map(_namespace, call.args[1:])):
            return Text(runs=_string(call).strip() if function.id == "eval" else _string(call))
    elif isinstance(function, ast.Attribute):
        owner = function.value
        if function.attr in CALLS and isinstance(owner, ast.Call) and _name(owner.func) == "get_ipython":
            given = [x.value if isinstance(x, ast.Constant) else "" for x in call.args]
            strings = [x if isinstance(x, str) else "" for x in given]
            return CALLS[function.attr](*(strings + [""] * 3)[:3])
        if function.attr == "get" and _namespace(owner) and _string(call):
            return Text(reads=(f"{_namespace(owner)}()[{_string(call)!r}]",))
        if function.attr in ("query", "eval") and (call.args or call.keywords):
            return _pandas(call, _name(owner) in ("pd", "pandas"))
    return None


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _string(call: ast.Call) -> str:
    match call.args:
        case [ast.Constant(value=str(text)), *_]:
            return text
    return ""


def _pandas(call: ast.Call, all_names: bool) -> Text | None:
    first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "expr"), None)
    parts = first.values if isinstance(first, ast.JoinedStr) else [first]
    text = "".join(
        x.value if isinstance(x, ast.Constant) and isinstance(x.value, str) else " " for x in parts
    )
    if all_names:
        return Text(runs=text.replace("@", "").strip(), apart=True)
    return Text(reads=tuple(re.findall(r"@([^\W\d]\w*)", text)))
