"""Leave out of a wheel what no program reads: comments, texts and types of what no user calls.

The wheel is downloaded at the start of many a session, and most of it is Python. Every line stays on its
line, so tracebacks and links to the sources are right; the sdist and the repository have everything.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

DOCUMENTED = {"__init__.py", "config.py", "errors.py", "line.py", "magic.py", "remote.py"}
"""Modules whose docstrings `help` shows to users, and whose types their type checkers read."""

MAKERS = "catalog/rebuild"
"""What only those need who have a checkout; pyproject.toml leaves it out of wheels."""

SCHEMA = "server/schema.json"

Span = tuple[int, int, int, int]
"""Of a piece of source: its first line and column, its last line and column; columns in UTF-8 bytes."""


def slim(source: str, documented: bool = False) -> str:
    """Return a module without comments and, unless it is `documented`, docstrings and what is for types."""
    lines = source.encode().splitlines(keepends=True)
    spans = [(span, b"") for span in _comments(source)]
    if not documented:
        tree = ast.parse(source)
        spans += _docstrings(tree)
        spans += [(span, b"") for span in (*_types(source, tree), *_imports(tree))]
    for (first, start, last, end), instead in sorted(spans, reverse=True):
        after = lines[last][end:]
        lines[first : last + 1] = [lines[first][:start] + instead] + [b""] * (last - first)
        lines[last] += after
        for number in range(first, last + 1):
            lines[number] = lines[number].rstrip() + b"\n"
    return b"".join(lines).decode()


def _comments(source: str) -> Iterator[Span]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.start != (1, 0):  # there it is for the system
            line, column = token.start
            start = len(token.line[:column].encode())
            yield line - 1, start, line - 1, start + len(token.string.encode())


def _docstrings(tree: ast.Module) -> Iterator[tuple[Span, bytes]]:
    """Find strings that stand alone; where nothing else is in a body, something must take their place."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for one in body if isinstance(body, list) else ():
            match one:
                case ast.Expr(ast.Constant(str()), end_lineno=int(last), end_col_offset=int(end)):
                    needed = len(body) == 1 and not isinstance(node, ast.Module)
                    yield (one.lineno - 1, one.col_offset, last - 1, end), b"..." if needed else b""


def _types(source: str, tree: ast.Module) -> Iterator[Span]:
    """Find the types of arguments, results and variables, which nothing reads: all modules put them off."""
    lines = source.splitlines()
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    arrows = []
    for before, token in pairwise(tokens):
        if token.string == "->" and token.type == tokenize.OP:
            line, column = before.end
            arrows.append((line, len(lines[line - 1][:column].encode())))
    nodes = list(ast.walk(tree))
    # dataclasses read those of classes
    fields = {id(one) for node in nodes if isinstance(node, ast.ClassDef) for one in node.body}
    for node in nodes:
        match node:
            case ast.AnnAssign(
                target=ast.expr(end_lineno=int(first), end_col_offset=int(start)),
                annotation=ast.expr(end_lineno=int(last), end_col_offset=int(end)),
                value=ast.expr(),
            ) if id(node) not in fields:
                yield first - 1, start, last - 1, end
            case ast.arg(annotation=ast.expr(end_lineno=int(last), end_col_offset=int(end))):
                yield node.lineno - 1, node.col_offset + len(node.arg.encode()), last - 1, end
            case (
                ast.FunctionDef(returns=ast.expr() as told) | ast.AsyncFunctionDef(returns=ast.expr() as told)
            ):
                line, start = max(arrow for arrow in arrows if arrow < (told.lineno, told.col_offset))
                if told.end_lineno == line:  # or a line would end before its colon
                    yield line - 1, start, line - 1, told.end_col_offset or 0


def _imports(tree: ast.Module) -> Iterator[Span]:
    """Find what is imported for types alone."""
    for node in tree.body:
        match node:
            case ast.If(
                test=ast.Name("TYPE_CHECKING"), orelse=[], end_lineno=int(last), end_col_offset=int(end)
            ) if all(isinstance(one, ast.Import | ast.ImportFrom) for one in node.body):
                yield node.lineno - 1, node.col_offset, last - 1, end


def slim_package(package: Path, to: Path) -> Iterator[tuple[Path, Path]]:
    """Write the modules of a package, and its schema, without what no program reads.

    Args:
        package: Its folder.
        to: Where to write them.

    Yields:
        A written file, and its place within the package.
    """
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package)
        if place.is_relative_to(MAKERS):
            continue
        made = to / place
        made.parent.mkdir(parents=True, exist_ok=True)
        wanted = place.as_posix() in DOCUMENTED
        made.write_text(slim(file.read_text(encoding="utf-8"), wanted), encoding="utf-8")
        yield made, place
    schema = to / SCHEMA
    told = json.loads((package / SCHEMA).read_text(encoding="utf-8"))
    schema.write_text(json.dumps(_bare(told), separators=(",", ":")), encoding="utf-8")
    yield schema, Path(SCHEMA)


def _bare(value: Any) -> Any:
    """Return a JSON schema without its descriptions."""
    if isinstance(value, dict):
        kept = {name: _bare(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if name != "description" or not isinstance(one, str)}
    return [_bare(one) for one in value] if isinstance(value, list) else value
