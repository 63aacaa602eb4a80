"""The outputs of one job, for as long as somebody looks at them."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import Any

from ..agent import wire
from ..errors import GpuRemoteError
from ..messages import Message
from ..plain import plain_text
from ..verbs.job import Job
from .celloutputs import CellOutputs

_KEPT = 500_000
"""Characters of a job's output that are kept here, the last ones."""
_FIRST_LIMIT = 20.0
"""Seconds until the first outputs must have come."""


class Followed:
    """The outputs of one job: those so far and those to come, as long as somebody asks for them.

    Args:
        job: The job.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._parts: list[str] = []
        self._cell = CellOutputs()
        self._dropped = 0
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._caught_up = threading.Event()
        self._ended = False
        self._asked_at = time.monotonic()
        self.failure: GpuRemoteError | None = None

    @property
    def idle(self) -> float:
        """Seconds since somebody asked."""
        return time.monotonic() - self._asked_at

    def start(self) -> None:
        """Begin to follow."""
        threading.Thread(target=self._run, name=f"outputs of job {self._job.id}", daemon=True).start()

    def leave(self) -> None:
        """Follow no more."""
        self._left.set()

    def text(self, since: int) -> dict[str, Any]:
        """Return what came after `since`, or all where that is not kept any more."""
        self._asked_at = time.monotonic()
        self._caught_up.wait(_FIRST_LIMIT)
        with self._lock:
            ended, whole = self._ended, "".join(self._parts)
            cut = max(0, len(whole) - _KEPT)
            self._dropped += cut
            self._parts = [whole := whole[cut:]]
            first, last = self._dropped, self._dropped + len(whole)
        start = since if first <= since <= last else first
        return {"start": start, "next": last, "text": whole[start - first :], "ended": ended}

    def outputs(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the outputs as a notebook keeps them, and whether nothing will follow."""
        self._asked_at = time.monotonic()
        self._caught_up.wait(_FIRST_LIMIT)
        with self._lock:
            return self._cell.all(), self._ended

    def message(self, message: Message) -> None:
        """Take a message of the job."""
        if message.channel != wire.IOPUB:
            return
        text = plain_text(message.type, message.content)
        with self._lock:
            self._cell.message(message)
            if text:
                self._parts.append(text)

    def connection(self, text: str) -> None:
        """Nothing is said of a connection; it comes back by itself."""

    def _run(self) -> None:
        try:
            with self._job.replay(self) as (execution, _):
                self._caught_up.set()
                while not self._left.is_set() and not execution.future.done():
                    concurrent.futures.wait((execution.future,), 0.5)
                if execution.future.done():
                    self._job.note_end(execution)
                    self._ended = True
        except GpuRemoteError as e:
            self.failure = e
        finally:
            self._caught_up.set()
