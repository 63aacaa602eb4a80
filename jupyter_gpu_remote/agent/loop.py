"""What calls the agent's functions when something can be read or written."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

import zmq

# plain numbers: each operation on a flag of an enum costs a microsecond
READ, WRITE = int(zmq.POLLIN), int(zmq.POLLOUT)

Handler = Callable[[int], None]
"""Called with the events, `READ` and `WRITE`."""


class Loop:
    """Descriptors and ZMQ sockets, with who is called for each."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Handler] = {}

    def listen(self, source: Any, handler: Handler, events: int = READ) -> None:
        """Have `handler` called from now on."""
        self._handlers[source] = handler
        self.change(source, events)

    def change(self, source: Any, events: int) -> None:
        """Look for other events on a source; for none at all when they are 0."""
        self._poller.register(source, events)

    def ignore(self, source: Any) -> None:
        """Forget a source."""
        del self._handlers[source]
        self._poller.register(source, 0)

    def turn(self, seconds: float) -> None:
        """Wait for events, not longer than `seconds`, and have them handled."""
        for source, events in self._poller.poll(int(seconds * 1000)):
            if handler := self._handlers.get(source):
                safely(functools.partial(handler, events))


def safely(act: Callable[[], None]) -> None:
    """Act, and survive what nobody has thought of: kernels and other clients depend on us."""
    try:
        act()
    except Exception:
        traceback.print_exc()
