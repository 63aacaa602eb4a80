"""Sees what happens to machines, whoever does it, and tells."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import GpuRemoteError
from ..registry import Event, Registry
from .kernelspecs import refresh
from .views import UNTOLD

_EVERY = 0.4
"""Seconds between two looks at the registry, each of which costs a fraction of a millisecond."""
_MOST = 200
"""Events that are told at a time; those who missed some fetch everything anyway."""
_TIDY_EVERY = 10.0

_log = logging.getLogger(__name__)


class Watcher:
    """A thread that follows the events of the registry, until it is closed.

    Args:
        registry: The registry.
        tell: Called with a `MachineNotice` for each event, when kernelspecs are up to date.
        looks: Called after each look at the events, to look at what is no event.
        tidy: Called now and then.
    """

    def __init__(
        self,
        registry: Registry,
        tell: Callable[[dict[str, Any]], None],
        looks: Callable[[], None],
        tidy: Callable[[], None],
    ) -> None:
        self._registry, self._tell, self._looks, self._tidy = registry, tell, looks, tidy
        self._end = threading.Event()
        self._last: int | None = None
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> None:
        """Begin to watch; events from now on are told."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._end.set()

    def _run(self) -> None:
        tidied = time.monotonic()
        while not self._end.is_set():
            try:
                self._look()
                self._looks()
                self._trouble = ""
            except (GpuRemoteError, OSError) as e:  # a disk that is full, for a while
                if str(e) != self._trouble:
                    self._trouble = str(e)
                    _log.warning("machines cannot be watched: %s", e)
            if time.monotonic() - tidied > _TIDY_EVERY:
                tidied = time.monotonic()
                with contextlib.suppress(GpuRemoteError, OSError):
                    self._tidy()
            self._end.wait(_EVERY)

    def _look(self) -> None:
        newest = self._registry.events(limit=1)
        last = newest[-1].id if newest else 0
        if last == self._last:
            return
        events: list[Event] = []
        if self._last is not None and last > self._last:  # else the first look, or another file in its place
            events = [e for e in self._registry.events(self._last) if e.kind != UNTOLD]
        self._last = last
        try:
            refresh(self._registry)
        finally:
            for event in events[-_MOST:]:
                self._tell(_notice(event))


def _notice(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "kind": event.kind,
        "machine": event.machine,
        "state": event.data.get("to", ""),
        "text": event.text,
    }
