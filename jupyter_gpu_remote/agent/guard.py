"""Ends a machine that nobody uses, with nobody's help: the laptop may be gone.

The policy is a file that the client writes: ``{"idle": seconds, "poweroff": argv}``. Without a `poweroff`
(somebody else's machine) or with an `idle` of 0 nothing is ever ended.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from pathlib import Path


class Guard:
    """Decides when a machine has been idle for too long.

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

    def idle_left(self, active_at: float, busy: bool) -> float | None:
        """Return the seconds until the machine is ended unless it is used, None when it never is.

        Args:
            active_at: When a kernel was last used, in Unix seconds; 0 for never.
            busy: Whether a cell runs; a busy machine is never idle.
        """
        idle, poweroff = self._policy()
        if not (idle and poweroff):
            return None
        if busy:
            return idle
        return max(active_at + idle, self._began + idle, self._extended) - time.time()

    def extend(self, seconds: float) -> None:
        """Keep the machine for so long from now, used or not; a later agent knows of it too."""
        self._extended = max(self._extended, time.time() + seconds)
        self._extended_file.write_text(str(self._extended))

    def power_off(self) -> None:
        """End the machine."""
        subprocess.Popen(self._policy()[1], start_new_session=True)

    def _policy(self) -> tuple[float, list[str]]:
        try:
            policy = json.loads(self._policy_file.read_text())
            return float(policy["idle"]), list(policy["poweroff"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0, []
