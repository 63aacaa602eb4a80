"""What is on its way to buckets after a cell, told until it is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from ..errors import GpuRemoteError
from .mounts import Mounts, State
from .told import on_its_way

_EVERY = 1.0
"""Seconds between two looks."""


class Following:
    """Follows what one cell after the other has written.

    Args:
        mounts: The machine's mounts.
        say: Shows a text in place of the one before.
        lives: Whether the text may change later, while other things are shown.
    """

    def __init__(self, mounts: Mounts, say: Callable[[str], None], lives: bool) -> None:
        self._mounts = mounts
        self._say = say
        self._over = threading.Event()
        states: list[State] = []
        with suppress(GpuRemoteError):  # the next cell tells what is wrong
            states = mounts.pending()
        if states:
            say(on_its_way(states))
        if states and lives:
            threading.Thread(target=self._follow, args=(states,), name="uploads", daemon=True).start()

    def stop(self) -> None:
        """Tell no more: the next cell tells the rest."""
        self._over.set()

    def _follow(self, states: list[State]) -> None:
        with suppress(GpuRemoteError):  # the next cell tells what is wrong
            first = states
            while not self._over.wait(_EVERY):
                states = self._mounts.pending()
                if self._over.is_set():
                    return
                self._say(on_its_way(states) or _arrived(first))
                if not states:
                    return


def _arrived(states: list[State]) -> str:
    return " · ".join(f"all files are in {state['url']}" for state in states)
