"""Threads for what blocks, so many at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """Does things in up to `most` threads, one after another in each.

    Unlike those of `ThreadPoolExecutor` they end with the process, whatever they wait for.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._todo: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._busy = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have it done; the answer tells the outcome."""
        future: Future[T] = Future()
        with self._lock:
            self._busy += 1
            if self._busy > self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        self._todo.put((future, work))
        return future

    def _run(self) -> None:
        while True:
            future, work = self._todo.get()
            if future.set_running_or_notify_cancel():
                try:
                    outcome = work()
                except BaseException as e:
                    self._done()
                    future.set_exception(e)
                else:
                    self._done()
                    future.set_result(outcome)
            else:
                self._done()
            del future, work  # while it waits, it keeps nothing alive

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1
