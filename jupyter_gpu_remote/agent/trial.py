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
import operator
import os
import socket
import threading
import time
import traceback
import types
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from .trialplace import Output, Place

CELL = "<trial>"
"""The file that a cell is compiled under."""
_FLUSH, _FIRST = 0.5, 0.05
"""Seconds between two messages of a trial, and until the first: shorter trials have their result alone."""
_MOST_VALUE = 4 << 20
"""Bytes of a value, pickled; of a larger one its text is kept."""
_TEXT = 1000
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Stopped(BaseException):
    """The trial is not worth going on; no `Exception`, which the user's code may catch."""


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

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_code": None}

    def __call__(self, number: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """Run a trial.

        Raises:
            RuntimeError: It failed; its text is the traceback.
        """
        from distributed import get_worker

        reports = Reports(get_worker(), self.topic, number, self.stop)
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
        return {"state": state, "seconds": took, **told, **_portable(value)}

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


class Reports:
    """What a trial tells the driver, as it runs: a few messages a second, whatever it reports.

    Args:
        worker: The Dask worker.
        topic: Where messages go.
        number: The trial's.
        stop: The rule that ends it.
    """

    def __init__(
        self, worker: Any, topic: str, number: int, stop: tuple[str, str, float, int] | None
    ) -> None:
        self._worker, self._topic, self._stop = worker, topic, stop
        self.run = uuid.uuid4().hex
        self._number = number
        self._waiting: list[dict[str, Any]] = []
        self._count = 0
        self.more: Callable[[], bytes] = bytes
        self._over = False
        self._lock = threading.Lock()
        self.machine = _machine(str(worker.name))
        self._is_known = False
        worker.loop.add_callback(worker.loop.call_later, _FIRST, self._again)

    def report(self, step: float | None = None, **metrics: Any) -> None:
        """Tell how far the trial is; see the documentation of sweeps."""
        self._count += 1
        told = {name: _plain(value) for name, value in metrics.items()}
        step = self._count if step is None else _plain(step)
        self._waiting.append({"step": step, **told})
        if self._stop is not None:
            name, comparison, limit, after = self._stop
            value = told.get(name)
            due = isinstance(step, (int, float)) and step >= after
            # what is no number any more is not worth going on with either
            due = due and isinstance(value, (int, float))
            if due and (COMPARE[comparison](value, limit) or value != value):
                raise Stopped

    def _again(self) -> None:
        if not self._over:
            self._flush(begun=True)
            self._worker.loop.call_later(_FLUSH, self._again)

    def end(self, well: bool) -> None:
        """Send what waits, and nothing more."""
        self._flush(begun=not well, over=True)

    def _flush(self, begun: bool, over: bool = False) -> None:
        """Send what waits, and with it, once, that the trial has begun; that alone where `begun` says so."""
        with self._lock:
            if self._over:
                return
            self._over = over
            waiting, self._waiting = self._waiting, []
            message = {"trial": self._number, "run": self.run, "reports": waiting, "text": self.more()}
            if not self._is_known and (begun or waiting or message["text"]):
                message["machine"], self._is_known = self.machine, True
            if waiting or message["text"] or "machine" in message:
                self._worker.log_event(self._topic, message)


def _takes_report(function: Callable[..., Any]) -> bool:
    try:
        return "report" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins don't say what they take
        return False


def _machine(worker: str) -> str:
    """Return the machine of a worker, whose name is ``MACHINE:NUMBER``, and its GPU."""
    name = worker.rpartition(":")[0] if "://" not in worker else ""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (name or socket.gethostname()) + (f" · GPU {gpu}" if gpu else "")


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


def _plain(value: Any) -> Any:
    """Return a figure as a plain number, and what is none as text."""
    if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return value
    try:
        number = value.item() if hasattr(value, "item") else float(value)
        return number if isinstance(number, (bool, int, float, str)) else float(number)
    except Exception:  # whatever the user's object does
        return repr(value)[:_TEXT]


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
