"""A kernel for whoever comes next, started beforehand, so that nobody waits for an interpreter."""

from __future__ import annotations

import math
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from .kernels import Kernel

DELAY = 2.0
QUIET_DELAY = 0.3
"""Seconds: the first cell gets the processor before the next kernel does; less when no cell runs."""
_TOO_LATE = ("PYTHON", "LD_")
"""Beginnings of environment variables that only count when an interpreter starts."""


class Spare:
    """The one spare kernel.

    Args:
        folder: Where it is kept; what an earlier agent left there is removed.
        sockets: Folder for unix sockets.
    """

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.kernel: Kernel | None = None
        self._folder = folder
        self._sockets = sockets
        self._python, self._due, self._quiet_due = sys.executable, 0.0, 0.0
        for left in folder.glob("*/"):
            kernel = Kernel(left.name, left, sockets)
            kernel.process.find()
            kernel.process.remove()

    def due_in(self, busy: bool) -> float:
        """Return the seconds until one is to be made, while a kernel is `busy` or none is."""
        return max(0.0, (self._due if busy else self._quiet_due) - time.monotonic())

    def want(self, python: str) -> None:
        """Have one of this interpreter soon."""
        now = time.monotonic()
        self._python, self._due, self._quiet_due = python, now + DELAY, now + QUIET_DELAY

    def make(self) -> None:
        """Make one, unless there is."""
        self._due = self._quiet_due = math.inf
        if self._fits(self._python):
            return
        self.end()
        name = f"spare-{uuid.uuid4().hex[:8]}"
        kernel = Kernel(name, self._folder / name, self._sockets)
        try:
            kernel.start(self._python, str(Path.home()), {})
            self.kernel = kernel
        except OSError:
            kernel.process.remove()  # whoever needs a kernel gets this error, with a client to tell

    def take(self, python: str, env: Mapping[str, str]) -> Kernel | None:
        """Return the spare kernel if it can be the one that is wanted; it is no longer spare."""
        if not self._fits(python) or any(name.startswith(_TOO_LATE) for name in env):
            return None
        kernel, self.kernel = self.kernel, None
        return kernel

    def _fits(self, python: str) -> bool:
        kernel = self.kernel
        return kernel is not None and kernel.facts["python"] == python and kernel.process.alive()

    def end(self) -> None:
        """End it, if there is one."""
        if self.kernel:
            self.kernel.disconnect()
            self.kernel.process.remove()
            self.kernel = None
