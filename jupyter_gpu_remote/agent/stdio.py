"""A kernel's output streams, which cost nothing when there is nothing to send."""

from __future__ import annotations

import select
from typing import Any

from ipykernel.iostream import OutStream


class Stream(OutStream):  # type: ignore[misc]
    """ipykernel's stream: it is flushed eight times a cell, and each time waits for another thread."""

    def flush(self) -> None:
        """Have all that was written sent, if there is anything."""
        if self._may_hold_something():
            super().flush()

    def _may_hold_something(self) -> bool:
        try:
            # what C code or a child wrote is in a pipe before it is in a buffer
            return bool(self._buffers or self.echo or (self._should_watch and _readable(self._fid)))
        except (AttributeError, OSError):  # another ipykernel, or closed
            return True


def _readable(descriptor: Any) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
