"""What is known of the cells that a kernel was given; its journal has it, for a later agent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

_OUTCOMES = 100
"""Cells of a kernel whose end is remembered."""
_SEEN = 5000
_SEEN_LATER = 1000
"""How many ids of messages are kept to know them again, here and for a later agent."""


class Cells:
    """The cells of one kernel, by the id of their request."""

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        """Messages of clients, of any kind, that were taken."""
        self.running: dict[str, float] = {}
        """Those that have not ended, with the time when they were begun."""
        self.executions: deque[tuple[str, int]] = deque(maxlen=100)
        """The last ones, with the number of the journal record at which they were begun."""
        self.outcomes: dict[str, dict[str, Any]] = {}
        """How they ended: ``status`` of the reply or ``died``, name of the ``error``, ``at``."""

    def take(self, msg_id: str) -> None:
        """Note a message, to know it again."""
        self.seen[msg_id] = None
        if len(self.seen) > _SEEN:
            del self.seen[next(iter(self.seen))]

    def begin(self, msg_id: str, at: int) -> None:
        """Note that a cell was begun at the journal record of that number."""
        self.running[msg_id] = time.time()
        self.executions.append((msg_id, at))

    def end(self, msg_id: str, outcome: dict[str, Any]) -> None:
        """Note how a cell ended."""
        self.running.pop(msg_id, None)
        self.outcomes[msg_id] = outcome
        if len(self.outcomes) > _OUTCOMES:
            del self.outcomes[next(iter(self.outcomes))]

    def died(self, at: float) -> None:
        """Note that all that ran ended with its process."""
        for msg_id in list(self.running):
            self.end(msg_id, {"status": "died", "at": at})

    def recall(self, event: Mapping[str, Any]) -> None:
        """Take what an earlier agent journaled."""
        if "checkpoint" in event:
            past = event["checkpoint"]
            self.seen = dict.fromkeys(past["seen"])
            self.running = dict.fromkeys(past["running"], time.time())
            self.executions.extend((m, at) for m, at in past["executions"])
            self.outcomes.update(past.get("outcomes", {}))
        elif "ack" in event:
            self.take(event["ack"])
            if "execute" in event:
                self.begin(event["execute"], event["at"])
        elif "died" in event:
            self.died(event.get("at", 0.0))
        elif over := event.get("finished") or event.get("lost"):
            self.end(over, event.get("outcome", {"status": "lost", "at": 0.0}))

    def checkpoint(self) -> dict[str, Any]:
        """Return what a later agent has to know where the journal no longer has it."""
        return {
            "seen": list(self.seen)[-_SEEN_LATER:],
            "running": list(self.running),
            "executions": list(self.executions),
            "outcomes": self.outcomes,
        }
