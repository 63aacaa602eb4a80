"""One trial of a sweep, on a Dask worker.

The driver pickles what is here by value, so a worker needs nothing of ours; it may import the standard
library, and what every worker has.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import linecache
import pickle
import time
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

from .trialplace import Output, Place
from .trialreports import Pulse, Reports, Stopped, machine_of

CELL = "<trial>"
"""The file that a cell is compiled under."""
_MOST_VALUE = 4 << 20
"""Bytes of a value, pickled; of a larger one its text is kept."""
_MOST_TOLD = 16 << 10
"""Bytes of a result that comes with a message; Dask keeps a thousand of these."""
_TEXT = 1000


class Program:
    """What all trials of a sweep run.

    Args:
        source: The cell, as plain Python; empty when a function is called.
        values: Pickled: a function whose globals the trial gets, the variables that it reads, the function
            that is called.
        topic: Where messages go.
        folder: The notebook's folder.
        stop: Metric, comparison, number and step of the rule that ends a trial.
    """

    def __init__(
        self, source: str, values: bytes, topic: str, folder: str, stop: tuple[str, str, float, int] | None
    ) -> None:
        self.source, self.values, self.topic, self.folder, self.stop = source, values, topic, folder, stop
        self._code: list[types.CodeType] | None = None
        self._pulse: Pulse | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_code": None, "_pulse": None}

    def __call__(self, number: int, params: Mapping[str, Any]) -> bytes:
        """Run a trial; return what came of it, pickled. What is small comes with its last message, too.

        Raises:
            RuntimeError: It failed; its text is the traceback.
        """
        from distributed import get_worker

        worker = get_worker()
        if self._pulse is None:
            self._pulse = Pulse(worker, self.topic)
        reports = Reports(self._pulse, machine_of(str(worker.name)), number, self.stop)
        self._pulse.watch(reports)
        began = time.monotonic()
        with Place(self.folder) as place, Output(reports) as output:
            try:
                value, state = self._run(params, reports.report, place), "done"
            except Stopped:
                value, state = None, "stopped"
            except SystemExit as end:
                if end.code not in (None, 0):
                    raise RuntimeError(f"SystemExit: {end.code}") from None
                value, state = None, "done"
            except BaseException as error:
                text = _told(error)
                output.write(text)
                raise RuntimeError(text) from None
            took = time.monotonic() - began
            told = {"run": reports.run, "machine": reports.machine}
            result = pickle.dumps({"state": state, "seconds": took, **told, **_portable(value)})
            reports.result = result if len(result) <= _MOST_TOLD else b""
        return result

    def _run(self, params: Mapping[str, Any], report: Callable[..., None], place: Place) -> Any:
        import cloudpickle

        anchor, values, function = cloudpickle.loads(self.values)
        if function is not None:
            return function(**params, **({"report": report} if _takes_report(function) else {}))
        # what the functions that came along look up, too
        namespace = anchor.__globals__
        own = {"__name__": "__main__", "__builtins__": builtins, "report": report}
        namespace.update(own, **values)
        namespace.update(params)
        if "get_ipython" in self.source:
            namespace["get_ipython"] = _shell(namespace)
        place.main(namespace)
        value = None
        for code in self._compiled():
            value = eval(code, namespace)
            if code.co_flags & inspect.CO_COROUTINE:
                value = asyncio.run(value)
        return value

    def _compiled(self) -> list[types.CodeType]:
        """Return the cell as code, its last expression apart."""
        linecache.cache[CELL] = (len(self.source), None, self.source.splitlines(keepends=True), CELL)
        if self._code is None:
            tree = ast.parse(self.source, CELL)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            parts: list[tuple[ast.Module | ast.Expression, str]] = [(tree, "exec")]
            if isinstance(last, ast.Expr):
                parts.append((ast.Expression(last.value), "eval"))
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            self._code = [compile(part, CELL, mode, flags, dont_inherit=True) for part, mode in parts]
        return self._code


def _takes_report(function: Callable[..., Any]) -> bool:
    try:
        return "report" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins don't say what they take
        return False


def _shell(namespace: dict[str, Any]) -> Callable[[], Any]:
    """Return a `get_ipython` for magics and shell lines of the cell."""
    made: list[Any] = []

    def get_ipython() -> Any:
        if not made:
            from IPython.core.interactiveshell import InteractiveShell

            made.append(InteractiveShell(user_ns=namespace))
        return made[0]

    return get_ipython


def _told(error: BaseException) -> str:
    """Return a traceback that begins with the user's own code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != CELL and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_filename != CELL:
        trace = error.__traceback__
        for _ in range(2):  # this module's
            trace = trace.tb_next if trace is not None and trace.tb_next is not None else trace
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # whatever the error's own __str__ raises
        return f"{type(error).__name__}\n"


def _portable(value: Any) -> dict[str, Any]:
    """Return a value for the results, or its text where it can't travel or is large."""
    if value is None or type(value) in (bool, int, float):
        return {"value": value}
    import cloudpickle

    try:
        if len(pickled := cloudpickle.dumps(value)) <= _MOST_VALUE:
            return {"pickled": pickled}
    except Exception:  # whatever its classes raise
        pass
    try:
        return {"value": repr(value)[:_TEXT]}
    except Exception:
        return {"value": f"<{type(value).__name__}>"}
