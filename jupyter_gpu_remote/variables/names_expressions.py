"""What expressions look up and bind, in the order in which they are evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

from .names_magics import Text
from .names_scope import GLOBAL, Later, Scope
from .names_text import name_in_namespace, parse, text_of

_NOT_EVALUATED = frozenset({"ctx", "op", "ops"})


class Expressions(Scope):
    """A scope that can be told to evaluate expressions."""

    def walk(self, body: Iterable[ast.stmt]) -> None:
        """Walk statements."""
        raise NotImplementedError

    # -- expressions ----------------------------------------------------------------------------------

    def evaluate(self, *roots: ast.AST | None) -> None:
        """Walk expressions in the order in which they are evaluated."""
        # a stack of our own: a long sum is a deep tree
        stack: list[Any] = [root for root in reversed(roots) if root]
        while stack:
            node = stack.pop()
            kind = type(node)
            if kind is ast.Name:
                if type(node.ctx) is ast.Load:
                    self.look_up(node.id)
                else:
                    self.bind(node.id)
            elif kind is ast.Constant:
                pass
            elif kind is ast.NamedExpr:
                stack += (node.target, node.value)
            elif kind is ast.Call:
                if text := text_of(node):
                    stack.append(text)
                _push_children(stack, node)
            elif kind is ast.Subscript and (name := name_in_namespace(node)):
                self._namespace_item(name, node)
            elif kind is ast.Dict:
                stack += [x for pair in zip(node.keys, node.values, strict=True) for x in pair if x][::-1]
            elif kind is Text:
                self._perform(node)
            elif special := _SPECIAL.get(kind):
                special(self, node)
            else:
                _push_children(stack, node)

    def _namespace_item(self, name: str, node: ast.Subscript | ast.Compare) -> None:
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if self.kind == "cell" or name.startswith(GLOBAL):  # what locals() is given in a function is lost
                self.bind(name)
        else:
            self.look_up(name)

    def _compare(self, node: ast.Compare) -> None:
        if name := name_in_namespace(node):
            self._namespace_item(name, node)
            return
        self.evaluate(node.left, node.comparators[0])
        self._perhaps(node.comparators[1:])

    def _perhaps(self, nodes: Iterable[ast.AST]) -> None:
        start = self._mark()
        for node in nodes:
            self.evaluate(node)
        self._undo(start)

    def _bool_op(self, node: ast.BoolOp) -> None:
        self.evaluate(node.values[0])
        self._perhaps(node.values[1:])

    def _if_exp(self, node: ast.IfExp) -> None:
        self.evaluate(node.test)
        start = self._mark()
        paths = []
        for branch in (node.body, node.orelse):
            self.evaluate(branch)
            paths.append(self._leave(start))
        self._join(paths)

    def _lambda(self, node: ast.Lambda) -> None:
        self.absorb(self._function(node).reads)  # whoever gets it may call it

    def _comprehend(self, node: Any) -> None:
        self.absorb(self._comprehension(node).reads)

    def _comprehension(self, node: Any) -> Later:
        self.evaluate(node.generators[0].iter)
        inner = type(self)("comprehension", self)
        for i, generator in enumerate(node.generators):
            if i:
                inner.evaluate(generator.iter)
            for part in ast.walk(generator.target):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    inner.stores.add(part.id)
                    inner._own(part.id)
                elif isinstance(part, ast.Name):
                    inner.look_up(part.id)
            inner.evaluate(*generator.ifs)
        inner.evaluate(*((node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)))
        return Later(inner.finish())

    def _function(self, node: Any) -> Later:
        """Evaluate what is evaluated where a function stands, and return what its body looks up."""
        hidden = [param.name for param in getattr(node, "type_params", ())]
        args = node.args
        params = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
        self.evaluate(*args.defaults, *args.kw_defaults)
        for annotation in (*(param.annotation for param in params), getattr(node, "returns", None)):
            self._annotation(annotation, hidden)
        inner = type(self)("function", self, (*hidden, *(param.arg for param in params)))
        if isinstance(node, ast.Lambda):
            inner.evaluate(node.body)
        else:
            inner._type_params(node)
            inner.walk(node.body)
        return Later(inner.finish())

    def _annotation(self, annotation: ast.expr | None, hidden: Iterable[str] = ()) -> None:
        if annotation and not self.plain_annotations:
            for node in ast.walk(annotation):
                if isinstance(node, ast.Name) and node.id not in hidden:
                    self.glance(node.id)

    def _type_params(self, node: Any) -> None:
        for param in getattr(node, "type_params", ()):
            self.evaluate(getattr(param, "bound", None), getattr(param, "default_value", None))

    def _perform(self, text: Text) -> None:
        for expression in text.reads:
            if tree := parse(expression):
                self.evaluate(*tree.body)
        if text.runs and (tree := parse(text.runs)):
            if self.kind == "cell" and not text.apart:
                self.walk(tree.body)
            else:
                inner = type(self)("function", self)
                inner.walk(tree.body)
                self.absorb(inner.finish())
        for name in text.binds:
            self.bind(GLOBAL + name)


def _push_children(stack: list[Any], node: ast.AST) -> None:
    for field in reversed(node._fields):
        if field not in _NOT_EVALUATED:
            value = getattr(node, field, None)
            if isinstance(value, list):
                stack += [x for x in reversed(value) if isinstance(x, ast.AST)]
            elif isinstance(value, ast.AST):
                stack.append(value)


_SPECIAL: dict[type, Callable[[Any, Any], None]] = {
    ast.Compare: Expressions._compare,
    ast.BoolOp: Expressions._bool_op,
    ast.IfExp: Expressions._if_exp,
    ast.Lambda: Expressions._lambda,
    ast.ListComp: Expressions._comprehend,
    ast.SetComp: Expressions._comprehend,
    ast.DictComp: Expressions._comprehend,
    ast.GeneratorExp: Expressions._comprehend,
}
