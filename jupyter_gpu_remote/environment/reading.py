"""What Python source says about packages: what it imports, installs and runs. Pure."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .known import FOR_NAMES

_BLOCK = re.compile(r"(?m)^# /// script\s*$\s(?P<content>(^#(| .*)$\s?)+?)^# ///\s*$")
"""PEP 723; its reference expression, with lines of blanks allowed at their ends."""
_PYTHON_BODIES = {"capture", "debug", "memit", "prun", "remote", "time", "timeit"}
_SHELLS = {"!", "bash", "script", "sh", "sx", "system", "zsh"}
_SHELL_CALLS = {"getoutput", "system"}
_MISSING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_INSTALLERS = {"pip": "pip", "pip3": "pip", "conda": "conda", "mamba": "conda", "micromamba": "conda"}
_AWAIT = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@dataclass
class Reading:
    """What some source needs.

    Attributes:
        imports: Dotted names; ``from a import b`` gives ``a.b``, as ``b`` may be a module.
        optional: Those of them that may be missing: their `ImportError` is handled.
        relative: What relative imports name, as dots and names.
        pip: The words after each ``pip install``.
        conda: Those after each ``conda install``.
        scripts: Python files that are run.
        written: Modules, and folders of them, that a cell writes to a file.
    """

    imports: set[str] = field(default_factory=set)
    optional: set[str] = field(default_factory=set)
    relative: set[str] = field(default_factory=set)
    pip: list[tuple[str, ...]] = field(default_factory=list)
    conda: list[tuple[str, ...]] = field(default_factory=list)
    scripts: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    def add(self, other: Reading) -> None:
        """Take in what other source needs."""
        needed = (self.imports - self.optional) | (other.imports - other.optional)
        self.imports |= other.imports
        self.optional = (self.optional | other.optional) - needed
        self.relative |= other.relative
        self.pip += other.pip
        self.conda += other.conda
        self.scripts |= other.scripts
        self.written |= other.written


def declaration(source: str) -> str:
    """Return the TOML of the PEP 723 block in `source`; empty when there is none."""
    found = _BLOCK.search(source)
    return "\n".join(re.sub(r"^# ?", "", line) for line in found["content"].splitlines()) if found else ""


@functools.lru_cache(maxsize=2000)
def read_cell(source: str) -> Reading:
    """Read a cell, which may hold magics and shell lines; one that can't be parsed needs nothing."""
    from IPython.core.inputtransformer2 import TransformerManager

    while source.lstrip().startswith("%%"):
        head, _, body = source.lstrip().partition("\n")
        words = head[2:].split() or [""]
        if words[0] in _SHELLS or head.startswith("%%!"):
            found = Reading()
            for line in body.splitlines():
                _read_command(line, found)
            return found
        if words[0] in ("writefile", "file") and words[-1].endswith(".py"):
            found = _read(body)
            found.written.update(words[-1].removesuffix(".py").split("/"))
            return found
        if words[0] not in _PYTHON_BODIES:
            return Reading()
        source = body
    return _read(TransformerManager().transform_cell(source))


@functools.lru_cache(maxsize=2000)
def read_module(source: str) -> Reading:
    """Read a Python file; one that can't be parsed needs nothing."""
    return _read(source)


def _read(source: str) -> Reading:
    found = Reading()
    try:
        tree = compile(source, "cell", "exec", _AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    optional: set[str] = set()
    needed: set[str] = set()
    for node, may_fail in _nodes(tree, False):
        names = optional if may_fail else needed
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = "." * node.level + (node.module or "")
            joint = "." if node.module else ""
            for alias in node.names:
                name = stem if alias.name == "*" else f"{stem}{joint}{alias.name}"
                (found.relative if node.level else names).add(name)
        elif isinstance(node, ast.Call):
            _read_call(node, names, found)
        elif isinstance(node, ast.Name):
            names.update(FOR_NAMES.get(node.id, ()))
    found.imports, found.optional = optional | needed, optional - needed
    return found


def _nodes(node: ast.AST, optional: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield all nodes that run, with whether a missing module is handled there."""
    todo = [(node, optional)]
    while todo:
        node, optional = todo.pop()
        yield node, optional
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += [(child, optional) for child in node.orelse]
        elif isinstance(node, ast.Try) and any(map(_handles_missing, node.handlers)):
            todo += [(child, True) for child in node.body]
            # what is imported in its place is as optional: one of the two will do
            todo += [(child, True) for child in node.handlers]
            todo += [(child, optional) for child in [*node.orelse, *node.finalbody]]
        elif isinstance(node, ast.With) and "suppress" in "".join(ast.unparse(i) for i in node.items):
            todo += [(child, True) for child in node.body]
        else:
            todo += [(child, optional) for child in ast.iter_child_nodes(node)]


def _handles_missing(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind).rpartition(".")[2] in _MISSING for kind in kinds)


def _read_call(node: ast.Call, names: set[str], found: Reading) -> None:
    """Read a call that imports, or what IPython makes of a magic or a shell line."""
    callee = node.func
    called = callee.attr if isinstance(callee, ast.Attribute) else getattr(callee, "id", "")
    words: list[Any] = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    if not words or len(words) != len(node.args) or not all(isinstance(word, str) for word in words):
        return
    if called in ("import_module", "__import__") and not words[0].startswith("."):
        names.add(words[0])
    elif called == "run_line_magic" and len(words) == 2:
        _read_command(" ".join(words), found)
        if words[0] in ("matplotlib", "pylab"):
            names.add("matplotlib")
    elif called == "run_cell_magic" and len(words) == 3:
        found.add(read_cell(f"%%{words[0]} {words[1]}\n{words[2]}"))
    elif called in _SHELL_CALLS and isinstance(callee, ast.Attribute):
        for line in words[0].splitlines():
            _read_command(line, found)


def _read_command(line: str, found: Reading) -> None:
    """Read a line for a shell: installations, and Python files that are run."""
    lexer = shlex.shlex(line.strip().lstrip("!"), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, "#"
    try:
        words = list(lexer)
    except ValueError:
        return
    found.scripts.update(word for word in words if word.endswith(".py"))
    command: list[str] = []
    for word in [*words, ";"]:
        if word.strip(";&|"):
            command.append(word)
            continue
        verbs = [name.rpartition("/")[2].lstrip("%") for name in command]
        for at, verb in enumerate(verbs[:-1]):
            if verb in _INSTALLERS and verbs[at + 1] == "install":
                kind = found.pip if _INSTALLERS[verb] == "pip" else found.conda
                kind.append(tuple(command[at + 2 :]))
                break
            if verb == "uv" and verbs[at + 1] == "add":
                found.pip.append(tuple(command[at + 2 :]))
                break
        command = []
