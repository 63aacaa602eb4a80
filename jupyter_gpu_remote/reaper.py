"""Looks in the background for machines that nobody owns: every face does it when it starts."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

from .config import state_dir
from .errors import RegistryError
from .reaping import unfinished
from .registry import Registry

_EVERY = 600.0
"""Seconds between two looks, however many notebooks are opened."""
_LATELY = 7 * 86400.0
"""Seconds for which a machine that was rented is reason to look: its cloud may know of more than we do."""


def reap_in_background(registry: Registry) -> None:
    """Start a process that reaps, if machines were rented lately and none has looked a moment ago.

    When a launch or a deletion was left behind it is started in any case.
    """
    with suppress(OSError, RegistryError):  # it is nobody's task to fail for
        now, mark = time.time(), state_dir() / "reaped"
        left = any(unfinished(m) and registry.lease_owner(m.name) is None for m in registry.machines())
        if not left and mark.exists() and now - mark.stat().st_mtime < _EVERY:
            return
        # also what was only asked for: a launch that was refused everywhere leaves rules of access behind
        rented = (m for m in registry.machines(ended=True) if m.offer.price)
        if not (left or any(not m.state.final or m.ended_at > now - _LATELY for m in rented)):
            return
        mark.touch()
        # a process of its own: clouds' libraries take a second to import, and the user may leave meanwhile
        subprocess.Popen(
            [sys.executable, "-m", "jupyter_gpu_remote.cli", "reap"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
