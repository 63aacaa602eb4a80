"""Looks in the background for machines that nobody owns: every face does it when it starts."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

from .config import state_dir
from .errors import RegistryError
from .registry import Registry

_EVERY = 600.0
"""Seconds between two looks, however many notebooks are opened."""
_LATELY = 7 * 86400.0
"""Seconds for which a machine that was rented is reason to look: its cloud may know of more than we do."""


def reap_in_background(registry: Registry) -> None:
    """Start a process that reaps, if machines were rented lately and none has looked a moment ago."""
    with suppress(OSError, RegistryError):  # it is nobody's task to fail for
        now, mark = time.time(), state_dir() / "reaped"
        if mark.exists() and now - mark.stat().st_mtime < _EVERY:
            return
        if not (any(m.offer.price for m in registry.machines()) or registry.charges(now - _LATELY)):
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
