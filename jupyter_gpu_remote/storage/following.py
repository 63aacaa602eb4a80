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
        lives: Whether a cell's text may change later, while other things are shown.
    """

    def __init__(self, lives: bool) -> None:
        self._lives = lives
        self._over = threading.Event()

    def cell_ended(self, mounts: Mounts | None, say: Callable[[str], None]) -> None:
        """Tell below this cell from now on, and no more below the one before.

        Args:
            mounts: The machine's mounts, if there are any.
            say: Shows a text in place of the one before.
        """
        self._over.set()
        if mounts is None:
            return
        states: list[State] = []
        with suppress(GpuRemoteError):  # the next cell tells what is wrong
            states = mounts.pending()
        if states:
            say(on_its_way(states))
        if states and self._lives:
            self._over = threading.Event()
            told = mounts, states, say, self._over
            threading.Thread(target=_follow, args=told, name="uploads", daemon=True).start()


def _follow(mounts: Mounts, first: list[State], say: Callable[[str], None], over: threading.Event) -> None:
    with suppress(GpuRemoteError):  # the next cell tells what is wrong
        while not over.wait(_EVERY):
            states = mounts.pending()
            if over.is_set():
                return
            say(on_its_way(states) or _arrived(first))
            if not states:
                return


def _arrived(states: list[State]) -> str:
    return " · ".join(f"all files are in {state['url']}" for state in states)
