"""Ends a machine that nobody uses, or whose time is up, with nobody's help: the laptop may be gone.

The policy is a file that the client writes: ``{"idle": seconds, "poweroff": argv, "ends_at": time}``. Without
a `poweroff` (somebody else's machine) nothing is ever ended; an `idle` or `ends_at` of 0 stands for never.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRESENT = 120.0
"""Seconds since a client was heard for which it counts as there; one that is there is heard every 10 s."""
AWAY = 300.0
"""Seconds that an idle machine waits for a client that is gone."""
STUCK = 3600.0
"""Seconds without any sign of work after which a cell that nobody watches counts as stuck."""
NEVER_CAME = 900.0
"""Seconds that a new machine waits for its first client."""
WARNING = 300.0
"""Seconds before the end at which clients are told."""


@dataclass(frozen=True)
class Policy:
    """What the client wants.

    Attributes:
        idle: Seconds without use that end the machine; 0 for never.
        poweroff: The command that ends it; empty when it is not ours to end.
        ends_at: When it ends in any case; 0 for never.
        notice: Whose metadata service tells that it will be taken back; empty for nobody's.
    """

    idle: float = 0.0
    poweroff: Sequence[str] = ()
    ends_at: float = 0.0
    notice: str = ""


@dataclass(frozen=True)
class Use:
    """What a machine is used for at a moment; times are Unix seconds, 0 for never.

    Attributes:
        busy: Whether a cell runs.
        active_at: When a cell last began or ended.
        worked_at: The last sign of work: an output, processor or GPU in use.
        client_at: When a client was last heard; an open connection alone is no sign of one.
        unseen: Seconds of work whose end no client has seen.
        gpu_known: Whether the use of the GPU can be told; unknown use is not idleness.
    """

    busy: bool = False
    active_at: float = 0.0
    worked_at: float = 0.0
    client_at: float = 0.0
    unseen: float = 0.0
    gpu_known: bool = False


@dataclass(frozen=True)
class End:
    """When a machine ends unless something changes, and why."""

    at: float
    why: str


def end_of(use: Use, policy: Policy, began: float, kept_until: float, now: float) -> End | None:
    """Return when a machine is to end, None for never.

    Args:
        use: What it is used for.
        policy: What the client wants.
        began: When the agent began.
        kept_until: Until when somebody asked to keep it.
        now: The time.
    """
    if not policy.poweroff:
        return None
    ends = (
        [End(policy.ends_at, "the time or the budget that it was given is used up")] if policy.ends_at else []
    )
    if policy.idle and (unused := _unused(use, policy.idle, began, now)):
        ends.append(End(max(unused.at, kept_until), unused.why))
    return min(ends, key=lambda end: end.at, default=None)


def _unused(use: Use, idle: float, began: float, now: float) -> End | None:
    present = now - use.client_at < PRESENT
    if use.busy:
        if present or not use.gpu_known:
            return None
        return End(
            max(use.worked_at, use.client_at) + STUCK, "its cell shows no sign of work and nobody watches"
        )
    if not use.client_at:
        return End(began + NEVER_CAME, "nobody came to use it")
    if present:
        return End(max(use.active_at, began) + idle, f"no cell has run for {round(idle / 60)} min")
    # what took hours to compute is kept for hours, for somebody to come back for it
    patience = max(min(idle, AWAY), use.unseen)
    return End(max(use.active_at, use.client_at) + patience, "nobody is connected and no cell runs")


class Guard:
    """Applies the policy to one machine.

    Args:
        root: The agent's folder, with ``policy.json``.
    """

    def __init__(self, root: Path) -> None:
        self._policy_file = root / "policy.json"
        self._extended_file = root / "extended"
        self._began = time.time()
        self._extended = 0.0
        with contextlib.suppress(OSError, ValueError):
            self._extended = float(self._extended_file.read_text())

    def end(self, use: Use) -> End | None:
        """Return when the machine is to end as things are, None for never."""
        return end_of(use, self.policy(), self._began, self._extended, time.time())

    def extend(self, seconds: float) -> None:
        """Keep the machine for so long from now, used or not; a later agent knows of it too."""
        self._extended = max(self._extended, time.time() + seconds)
        self._extended_file.write_text(str(self._extended))

    def power_off(self) -> None:
        """End the machine."""
        subprocess.Popen(self.policy().poweroff, start_new_session=True)

    def policy(self) -> Policy:
        """Return what the client wants; nothing, where that can't be read."""
        try:
            said: dict[str, Any] = json.loads(self._policy_file.read_text())
            return Policy(
                float(said["idle"]),
                tuple(said["poweroff"]),
                float(said.get("ends_at", 0.0)),
                str(said.get("notice", "")),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return Policy()
