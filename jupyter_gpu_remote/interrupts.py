"""Interrupts and the end of a kernel process, as signals to its main thread."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_LOOK = 1.0
"""Seconds between looking whether the process that started this one lives."""


class Interrupts:
    """What Ctrl-C, the interrupt button and a request to end do to the main thread.

    Args:
        otherwise: Called with an interrupt that has nothing to end here.
    """

    def __init__(self, otherwise: Callable[[], object]) -> None:
        self.ending = False
        self._otherwise = otherwise
        self._raises = self._raises_to_end = False

    def install(self) -> None:
        """Take the signals from now on; call in the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    @contextlib.contextmanager
    def raised(self, only_to_end: bool = False) -> Iterator[None]:
        """Let an interrupt raise `KeyboardInterrupt` in this block, once: the undoing is left in peace.

        Args:
            only_to_end: Only where the process is to end.
        """
        try:
            self._raises, self._raises_to_end = not only_to_end, True
            yield
        finally:
            self._raises = self._raises_to_end = False

    def _take(self, number: int, frame: Any) -> None:
        self.ending = self.ending or number == signal.SIGTERM
        if self._raises or (self.ending and self._raises_to_end):
            self._raises = self._raises_to_end = False
            raise KeyboardInterrupt
        self._otherwise()

    def interrupt(self) -> None:
        """Interrupt the main thread, from any thread."""
        if sys.platform == "win32":
            _thread.interrupt_main()
        else:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def end_with_parent(self) -> None:
        """End the process when the one that started it is gone, if that is what Jupyter wants."""
        if "JPY_PARENT_PID" in os.environ:
            threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()

    def _watch_parent(self) -> None:
        parent = os.getppid()
        # with 1 as its parent a process was orphaned before we looked, unless Jupyter itself is 1
        while os.getppid() == parent and (parent != 1 or os.environ["JPY_PARENT_PID"] == "1"):
            time.sleep(_LOOK)
        self.end()

    def end(self) -> None:
        """Interrupt the main thread in whatever it does: the process is to end."""
        self.ending = True
        self.interrupt()
