"""What IPython's magics and shell lines read, run and bind."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Text:
    """What a string does when it is run.

    Attributes:
        reads: Expressions that it evaluates first.
        runs: Code that it runs then.
        apart: Whether what that code binds is gone afterwards.
        binds: Names that it binds at last.
    """

    reads: tuple[str, ...] = ()
    runs: str = ""
    apart: bool = False
    binds: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Magic:
    """A magic that runs its line, or its cell, as Python.

    Attributes:
        options: Its short options; a colon after those that take a value.
        evaluated: Which of their values are expressions.
        apart: Whether what it binds is gone afterwards.
    """

    options: str = ""
    evaluated: str = ""
    apart: bool = False


_MAGICS = {
    "time": _Magic(),
    "timeit": _Magic("n:r:tcp:qov", apart=True),
    "prun": _Magic("l:rs:T:D:q"),
    "memit": _Magic("r:t:i:co"),
    "lprun": _Magic("rszf:m:D:T:u:", evaluated="f"),
    "mprun": _Magic("rT:f:c", evaluated="f"),
    "capture": _Magic(),
}
_OTHER_LANGUAGES = (
    "ai bash cmd cython file html HTML javascript js julia latex markdown mermaid perl px pypy python "
    "python2 python3 R ruby script sh sql svg SVG writefile"
)
"""Cell magics whose body may look like Python, but does not run with the notebook's variables."""
_SYSTEM = frozenset({"!", "sx", "system"})
_INSPECTORS = frozenset({"pinfo", "pinfo2", "pdoc", "pdef", "psource", "pfile", "page", "xdel"})
_EXPRESSION = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
_NAME = re.compile(r"[^\W\d]\w*")


def _shell_line(line: str, *_: str) -> Text:
    return Text(reads=_expanded(line))


def _expanded(line: str) -> tuple[str, ...]:
    """Return the expressions that IPython puts the values of into a line: ``{this}`` and ``$that``."""
    if "{" not in line and "$" not in line:
        return ()
    from IPython.utils.text import DollarFormatter

    found = []
    try:
        for _, field, spec, _ in DollarFormatter().parse(line):
            if field is not None:
                found.append(f"{field}:{spec}" if spec else field)
                ast.parse(found[-1].strip(), mode="eval")
    except (ValueError, SyntaxError):
        return ()  # IPython then leaves all of the line as it is
    return tuple(x.strip() for x in found)


def _line_magic(name: str, line: str, *_: str) -> Text:
    if name in _MAGICS:
        return _running(name, line, None)
    if name in _INSPECTORS:
        word = _EXPRESSION.match(line.strip())
        reads = (word[0],) if word and "*" not in line else ()
        return Text(reads=reads, binds=reads if name == "xdel" else ())
    if name in ("store", "R"):
        return _store(line) if name == "store" else _moving(line, "i", "o")
    if name == "sc":
        target = re.match(r"(?:-\w+\s+)*(\w+)\s*=", line)
        return Text(reads=_expanded(line), binds=(target[1],) if target else ())
    if name in _SYSTEM:
        return _shell_line(line)
    return Text(reads=_expanded(line))


def _cell_magic(name: str, line: str, body: str) -> Text:
    if name in _MAGICS:
        return _running(name, line, body)
    if name in _SYSTEM:
        return Text(reads=_expanded(line) + _expanded(body))
    if name == "R":
        return _moving(line, "i", "o")
    if name == "remote":
        moved = _moving(line, "in", "out")
        return Text(moved.reads, body, False, moved.binds)
    if name in _OTHER_LANGUAGES.split():
        outputs = (_option(line, stream) for stream in ("out", "err", "proc"))
        return Text(reads=_expanded(line), binds=tuple(chain.from_iterable(outputs)))
    return Text(reads=_expanded(line), runs=body)


def _running(name: str, line: str, body: str | None) -> Text:
    magic = _MAGICS[name]
    reads, rest = [], line.strip()
    while option := re.match(r"--[\w-]+\s*|-(\w)", rest):
        letter = option[1] or ""
        if letter not in magic.options:
            break  # a minus
        rest = rest[option.end() :]
        if f"{letter}:" in magic.options:
            value, _, rest = rest.lstrip().partition(" ")
            reads += [value] if letter in magic.evaluated else []
        elif letter:
            rest = rest.lstrip("".join(set(magic.options) - {":"}))  # -qo
        rest = rest.lstrip()
    if name == "capture":
        return Text(runs=body or "", binds=tuple(_NAME.findall(rest)[:1]))
    return Text(tuple(reads), f"{rest}\n{body}" if body and rest else body or rest, magic.apart)


def _store(line: str) -> Text:
    words = line.split(">")[0].split()
    names = tuple(word for word in words if word.isidentifier())
    if "-r" in words:
        return Text(binds=names)
    return Text() if "-d" in words else Text(reads=names)


def _moving(line: str, into: str, out: str) -> Text:
    return Text(reads=_option(line, into), binds=_option(line, out))


def _option(line: str, name: str) -> tuple[str, ...]:
    """Return the names that an option lists, all the times that it is given."""
    try:
        words = iter(shlex.split(line))
    except ValueError:
        return ()
    dashed = f"-{name}" if len(name) == 1 else f"--{name}"
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if option == dashed:
            found += (value if equals else next(words, "")).split(",")
    return tuple(x.strip() for x in found if x.strip().isidentifier())


def _whole_magic(text: str, *_: str) -> Text:
    name, *line = text.lstrip("%").split(" ", 1)
    return _line_magic(name, *line or [""])


CALLS: dict[str, Callable[[str, str, str], Text]] = {
    "run_line_magic": _line_magic,
    "run_cell_magic": _cell_magic,
    "magic": _whole_magic,
    "system": _shell_line,
    "getoutput": _shell_line,
    "ev": lambda text, *_: Text(reads=(text,)),
    "ex": lambda text, *_: Text(runs=text),
    "run_cell": lambda text, *_: Text(runs=text),
}
"""By the method of the shell that a magic is turned into a call of."""
