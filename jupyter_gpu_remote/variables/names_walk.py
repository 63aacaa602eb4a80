"""What statements look up and bind, in the order in which they run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

from .names_expressions import Expressions
from .names_scope import Later, Path
from .names_text import name_in_namespace

_SWALLOWERS = "suppress raises assertRaises assertRaisesRegex ExitStack AsyncExitStack"
"""Context managers after which a block may have ended early; others are taken to let errors through."""
_KEEPERS = (
    "property setter getter deleter staticmethod classmethod abstractmethod override overload dataclass "
    "wraps total_ordering cache lru_cache cached_property contextmanager asynccontextmanager singledispatch "
    "singledispatchmethod register no_grad inference_mode"
)
"""Decorators that are known not to call what they decorate."""


class Walk(Expressions):
    """A scope whose code is walked."""

    # -- statements -----------------------------------------------------------------------------------

    def walk(self, body: Iterable[ast.stmt]) -> None:
        """Walk statements."""
        for node in body:
            _STATEMENTS.get(type(node).__name__, Walk.evaluate)(self, node)

    def _assign(self, node: ast.Assign) -> None:
        target, later = node.targets[0], None
        if len(node.targets) == 1 and isinstance(target, ast.Name):
            if isinstance(node.value, ast.Lambda):
                later = self._function(node.value)
            elif isinstance(node.value, ast.GeneratorExp):
                later = self._comprehension(node.value)
            if later:
                self.bind(target.id, later)
                return
        self.evaluate(node.value, *node.targets)

    def _ann_assign(self, node: ast.AnnAssign) -> None:
        self.evaluate(node.value)
        if node.value or not isinstance(node.target, ast.Name):
            self.evaluate(node.target)
        elif self.kind == "function":
            self.stores.add(self._key(node.target.id))
        if self.kind != "function":
            self._annotation(node.annotation)

    def _aug_assign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.look_up(node.target.id)
            self.evaluate(node.value, node.target)
            return
        if name := name_in_namespace(node.target):
            self.look_up(name)
        self.evaluate(node.target, node.value)

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            for part in ast.walk(target) if isinstance(target, (ast.Tuple, ast.List)) else (target,):
                if isinstance(part, ast.Name):
                    self.look_up(part.id)
                elif name := name_in_namespace(part):
                    self.look_up(name)
            self.evaluate(target)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            self.plain_annotations |= any(alias.name == "annotations" for alias in node.names)
        for alias in node.names:
            if alias.name != "*":  # whatever that brings, reads after it count as reads
                self.bind(alias.asname or alias.name.partition(".")[0])

    def _global(self, node: ast.Global) -> None:
        self._globals.update(node.names)

    def _nonlocal(self, node: ast.Nonlocal) -> None:
        self._nonlocals.update(node.names)

    def _end(self, node: ast.Return | ast.Raise) -> None:
        self.evaluate(*ast.iter_child_nodes(node))
        self._dead = True

    def _break(self, node: ast.Break) -> None:
        if self._loops:
            start, paths = self._loops[-1]
            paths.append(self._gained(start))
        self._dead = True

    def _continue(self, node: ast.Continue) -> None:
        self._dead = True

    def _assert(self, node: ast.Assert) -> None:
        self.evaluate(node.test)
        self._perhaps([node.msg] if node.msg else [])

    def _if(self, node: ast.If) -> None:
        start = self._mark()
        paths: list[Path] = []
        while True:
            self.evaluate(node.test)
            after_test, known = self._mark(), _known(node.test)
            self._dead |= known is False
            self.walk(node.body)
            paths.append(self._gained(start[0]))
            self._undo(after_test)
            self._dead |= known is True
            if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                node = node.orelse[0]  # elif: not deeper, as there may be many
                continue
            self.walk(node.orelse)
            paths.append(self._leave(start))
            self._join(paths)
            return

    def _while(self, node: ast.While) -> None:
        start = self._mark()
        paths: list[Path] = []
        self._loops.append((start[0], paths))
        self.evaluate(node.test)
        after_test, known = self._mark(), _known(node.test)
        self._dead |= known is False
        self.walk(node.body)
        self._undo(after_test)
        self._loops.pop()
        self._dead |= known is True
        self.walk(node.orelse)
        paths.append(self._leave(start))
        self._join(paths)

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self.evaluate(node.iter)
        start = self._mark()
        paths: list[Path] = []
        self._loops.append((start[0], paths))
        self.evaluate(node.target)
        self.walk(node.body)
        self._undo(start)
        self._loops.pop()
        self.walk(node.orelse)
        paths.append(self._leave(start))
        self._join(paths)

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.evaluate(item.context_expr, item.optional_vars)
        inside = self._mark()
        self.walk(node.body)
        if any(_name_of_callee(item.context_expr) in _SWALLOWERS.split() for item in node.items):
            self._undo(inside)

    def _try(self, node: Any) -> None:
        start = self._mark()
        self.walk(node.body)
        self.walk(node.orelse)
        paths = [self._leave(start)]
        for handler in node.handlers:
            self.evaluate(handler.type)
            if handler.name:
                self.bind(handler.name)
            self.walk(handler.body)
            paths.append(self._leave(start))
        # an error may come at any time, so it may begin with nothing of that
        self.walk(node.finalbody)
        final = self._leave(start)
        self._join(paths)
        self._join([final])

    def _match(self, node: ast.Match) -> None:
        self.evaluate(node.subject)
        start = self._mark()
        paths: list[Path] = []
        for case in node.cases:
            self._pattern(case.pattern)
            self.evaluate(case.guard)
            self.walk(case.body)
            paths.append(self._leave(start))
        if not any(case.guard is None and _matches_all(case.pattern) for case in node.cases):
            paths.append(set())
        self._join(paths)

    def _pattern(self, pattern: ast.pattern) -> None:
        names = []
        for part in ast.walk(pattern):
            if isinstance(part, ast.MatchValue):
                self.evaluate(part.value)
            elif isinstance(part, ast.MatchClass):
                self.evaluate(part.cls)
            elif isinstance(part, ast.MatchMapping):
                self.evaluate(*part.keys)
                names.append(part.rest)
            elif isinstance(part, (ast.MatchAs, ast.MatchStar)):
                names.append(part.name)
        for name in names:  # bound when all of it has matched
            if name:
                self.bind(name)

    # -- functions and classes ------------------------------------------------------------------------

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.evaluate(*node.decorator_list)
        self._hold(node, self._function(node))

    def _hold(self, node: Any, later: Later) -> None:
        self.bind(node.name, later)
        if any(_name_of_callee(decorator) not in _KEEPERS.split() for decorator in node.decorator_list):
            self.look_up(node.name)  # a decorator may call it

    def _class(self, node: Any) -> None:
        self.evaluate(*node.decorator_list)
        hidden = [param.name for param in getattr(node, "type_params", ())]
        head = type(self)("function", self, hidden) if hidden else self
        later = Later(set())
        for base in node.bases:
            held = self._held.get(self._key(base.id)) if isinstance(base, ast.Name) else None
            if held and not any(x.at_once for x in held):
                self.glance(base.id)
                later.reads.add(base.id)  # its methods are called when ours may be
            else:
                later.at_once |= bool(held)
                head.evaluate(base)
        for keyword in node.keywords:
            head.evaluate(keyword.value)
        if head is not self:
            head._type_params(node)
            self.absorb(head.finish())
        inner = type(self)("class", self, ())
        inner.walk(node.body)
        later.at_once |= "__init_subclass__" in inner.stores
        self.absorb(name for name in inner.finish() if name not in hidden)
        later.reads |= {n for held in inner._held.values() for x in held for n in x.reads if n not in hidden}
        self._hold(node, later)

    def _type_alias(self, node: Any) -> None:
        inner = type(self)("function", self, [param.name for param in node.type_params])
        inner._type_params(node)
        inner.evaluate(node.value)
        self.bind(node.name.id, Later(inner.finish()))


def _name_of_callee(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _known(test: ast.expr) -> bool | None:
    """Return what a condition always is, if that is plain."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    parts = [test.left, *test.ops, *test.comparators] if isinstance(test, ast.Compare) else []
    match parts:
        case [ast.Name(id="__name__"), ast.Eq(), ast.Constant(value="__main__")]:
            return True  # a notebook's cell is never imported
    return None


def _matches_all(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(map(_matches_all, pattern.patterns))
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _matches_all(pattern.pattern))


# by name, as not every Python has all of them
_STATEMENTS: dict[str, Callable[[Any, Any], None]] = {
    "AnnAssign": Walk._ann_assign,
    "Assert": Walk._assert,
    "Assign": Walk._assign,
    "AsyncFor": Walk._for,
    "AsyncFunctionDef": Walk._define,
    "AsyncWith": Walk._with,
    "AugAssign": Walk._aug_assign,
    "Break": Walk._break,
    "ClassDef": Walk._class,
    "Continue": Walk._continue,
    "Delete": Walk._delete,
    "For": Walk._for,
    "FunctionDef": Walk._define,
    "Global": Walk._global,
    "If": Walk._if,
    "Import": Walk._import,
    "ImportFrom": Walk._import,
    "Match": Walk._match,
    "Nonlocal": Walk._nonlocal,
    "Raise": Walk._end,
    "Return": Walk._end,
    "Try": Walk._try,
    "TryStar": Walk._try,
    "TypeAlias": Walk._type_alias,
    "While": Walk._while,
    "With": Walk._with,
}
