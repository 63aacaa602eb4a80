"""The cells that a remote kernel was given and that have not ended, as far as is known here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from . import fates
from .errors import GpuRemoteError
from .messages import Execution, Message


class Executions:
    """What is still to end, by the id of its request."""

    def __init__(self) -> None:
        self._running: dict[str, Execution] = {}
        self._doubtful: tuple[int, set[str]] = (0, set())

    def __bool__(self) -> bool:
        return bool(self._running)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._running))

    def track(self, execution: Execution) -> None:
        """Follow this one until it ends."""
        self._running[execution.msg_id] = execution
        execution.future.add_done_callback(lambda _: self._running.pop(execution.msg_id, None))

    def take_message(self, message: Message) -> None:
        """Take what may end one of them."""
        execution = self._running.get(message.parent_id)
        if execution is None:
            return
        if message.type == "execute_reply":
            execution.reply = message.content
            execution.settle()
        elif message.type == "status" and message.content["execution_state"] == "idle":
            execution.idle = True
            execution.settle()

    def take_event(self, event: Mapping[str, Any]) -> None:
        """Take what the agent says of one of them."""
        if execution := self._running.get(event.get("finished", "")):
            execution.files_changed = event["files"]
            execution.disk_full = event["disk_full"]
        elif execution := self._running.get(event.get("lost", "")):
            execution.fail(fates.lost())
        for msg_id in event.get("unheard", ()):
            if execution := self._running.get(msg_id):
                execution.unheard = True

    def attached(self, running: Collection[str], end: int) -> None:
        """Note, as the kernel is attached, that those which it does not know end by a record, or are over.

        Args:
            running: What runs over there, or was not taken there yet.
            end: The number of the last journal record by now.
        """
        self._doubtful = (end, set(self._running).difference(running))

    def reached(self, record: int) -> None:
        """Note that the journal was read so far: what neither runs nor ended in it is forgotten."""
        end, doubtful = self._doubtful
        if doubtful and record >= end:
            self._doubtful = (0, set())
            for execution in [self._running[m] for m in doubtful & self._running.keys()]:
                if execution.reply is None:
                    execution.fail(fates.forgotten())

    def missed(self) -> None:
        """Note that messages are lost: that a cell is idle may be among them."""
        for execution in self._running.values():
            execution.idle = True

    def fail(self, error: GpuRemoteError, fresh: Collection[str] = ()) -> None:
        """End all with an error.

        Args:
            error: It.
            fresh: Those that go to a fresh kernel instead.
        """
        for execution in list(self._running.values()):
            if execution.msg_id in fresh:
                execution.found_dead = error
            else:
                execution.fail(error)
