"""What a trial of a sweep tells the driver while it runs.

Pickled by value, as `trial` is.
"""

from __future__ import annotations

import operator
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

_FLUSH, _FIRST = 0.5, 0.05
"""Seconds between two messages of a trial, and until the first: shorter trials have their result alone."""
_TEXT = 1000
_WHOLE = 1 << 63
"""Whole numbers from here on are no whole numbers to Dask's messages."""
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


class Reports:
    """What a trial tells the driver, as it runs: a few messages a second, whatever it reports.

    Args:
        pulse: Sends them.
        machine: Where the trial runs.
        number: The trial's.
        stop: The rule that ends it.
    """

    def __init__(
        self, pulse: Pulse, machine: str, number: int, stop: tuple[str, str, float, int] | None
    ) -> None:
        self._pulse, self.machine, self._number, self._stop = pulse, machine, number, stop
        self.run = uuid.uuid4().hex
        self._waiting: list[dict[str, Any]] = []
        self._count = 0
        self.more: Callable[[], bytes] = bytes
        self.result = b""
        self.is_over = False
        self._lock = threading.Lock()
        self._is_known = False
        self._due = time.monotonic() + _FIRST

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

    def beat(self) -> None:
        """Send what waits, if it is time."""
        if time.monotonic() >= self._due:
            self._flush(begun=True)
            self._due = time.monotonic() + _FLUSH

    def end(self, well: bool) -> None:
        """Send what waits, and nothing more."""
        self._flush(begun=not well, over=True)

    def _flush(self, begun: bool, over: bool = False) -> None:
        """Send what waits, and with it, once, that the trial has begun; that alone where `begun` says so."""
        with self._lock:
            if self.is_over:
                return
            self.is_over = over
            waiting, self._waiting = self._waiting, []
            message = {"trial": self._number, "run": self.run, "reports": waiting, "text": self.more()}
            if not self._is_known and (begun or waiting or message["text"]):
                message["machine"], self._is_known = self.machine, True
            if over and self.result:
                message["result"] = self.result
            if waiting or message["text"] or "machine" in message or "result" in message:
                self._pulse.send(message)


class Pulse:
    """Sends what trials of a worker tell; what ends them together with others, as most may be short.

    Args:
        worker: The Dask worker.
        topic: Where messages go.
    """

    def __init__(self, worker: Any, topic: str) -> None:
        self._worker, self._topic = worker, topic
        self._watched: list[Reports] = []
        self._waiting: list[dict[str, Any]] = []
        self._beats = False
        self._lock = threading.Lock()

    def watch(self, reports: Reports) -> None:
        """Begin with a trial; it is left when it is over."""
        with self._lock:
            self._watched.append(reports)
            self._go_on()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; one that has a result can wait, as the worker has that, too."""
        with self._lock:
            self._waiting.append(message)
            if "result" in message:
                self._go_on()
            else:
                self._flush()

    def _go_on(self) -> None:
        if not self._beats:
            self._beats = True
            self._worker.loop.add_callback(self._worker.loop.call_later, _FIRST, self._beat)

    def _flush(self) -> None:
        if self._waiting:
            self._worker.log_event(self._topic, {"messages": self._waiting})
            self._waiting = []

    def _beat(self) -> None:
        for reports in list(self._watched):
            reports.beat()
        with self._lock:
            self._flush()
            self._watched = [reports for reports in self._watched if not reports.is_over]
            self._beats = bool(self._watched)
        if self._beats:
            self._worker.loop.call_later(_FIRST, self._beat)


def machine_of(worker: str) -> str:
    """Return the machine of a worker, whose name is ``MACHINE:NUMBER``, and its GPU."""
    name = worker.rpartition(":")[0] if "://" not in worker else ""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (name or socket.gethostname()) + (f" · GPU {gpu}" if gpu else "")


def _plain(value: Any) -> Any:
    """Return a figure as a plain number, and what is none as text."""
    if value is None or isinstance(value, (bool, str)) or type(value) is float:
        return value
    if type(value) is int and -_WHOLE <= value < _WHOLE:
        return value
    try:
        number = value.item() if hasattr(value, "item") else float(value)
        return number if isinstance(number, (bool, int, float, str)) else float(number)
    except Exception:  # whatever the user's object does
        return repr(value)[:_TEXT]
