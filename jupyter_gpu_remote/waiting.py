"""Waiting for a cell that runs over there: what it asks is asked here, and Ctrl-C is passed on to it."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

from .errors import ConnectionLostError
from .kernel import Execution, RemoteKernel
from .relay import Relay

_GIVE_UP_PRESSES = 3
_GIVE_UP_WITHIN = 5.0
"""Interrupts in so many seconds that show the user wants to leave, whatever the cell does."""
_ENDS_WITHIN = 0.3
"""Seconds between Jupyter's interrupt of a kernel that it ends and its request to end."""
_QUESTIONS = 0.02
"""Seconds between looking whether the cell asks something, where nothing wakes us."""
_PATIENCE = 1.0
"""Seconds that a wait may take before it is told of."""


@contextmanager
def on_interrupt(act: Callable[..., Any]) -> Iterator[None]:
    """Let Ctrl-C (the interrupt button) call `act` within the block, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, act)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Waiting:
    """What one local kernel does until a cell over there is over.

    Args:
        relay: Takes the cell's questions to the user.
        kernel: Returns the kernel that the notebook has by then.
        ending: Set when the local kernel is being ended.
        report: Shows a phase and more about it; an empty one takes it away.
    """

    def __init__(
        self,
        relay: Relay,
        kernel: Callable[[], RemoteKernel | None],
        ending: threading.Event,
        report: Callable[[str, str], object],
    ) -> None:
        self._relay = relay
        self._kernel = kernel
        self._ending = ending
        self._report = report
        self._presses: list[float] = []
        self._on_press: Callable[[], Any] = _raise

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take each Ctrl-C within the block: it goes to the cell that is waited for, if there is one."""
        self._presses.clear()
        with on_interrupt(lambda *_: self._on_press()):
            yield

    async def until_over(self, execution: Execution) -> None:
        """Wait while the local kernel's loop goes on."""
        loop = asyncio.get_running_loop()
        self._relay.wake = lambda: loop.call_soon_threadsafe(self._answer_input)
        self._on_press = functools.partial(loop.call_soon_threadsafe, self._interrupt, execution)
        over = asyncio.Event()
        execution.future.add_done_callback(lambda _: loop.call_soon_threadsafe(over.set))
        try:
            await over.wait()
        finally:
            self._on_press = _raise

    def block(self, execution: Execution) -> None:
        """Wait and do nothing else."""
        self._on_press = functools.partial(self._interrupt, execution)
        try:
            while not execution.future.done():
                futures.wait((execution.future,), _QUESTIONS)
                self._answer_input()
        finally:
            self._on_press = _raise

    def in_line(self, execution: Execution) -> None:
        """Wait for what is no cell; one that runs over there comes first, and Ctrl-C leaves it alone."""
        if futures.wait((execution.future,), _PATIENCE).done:
            return
        self._report("waiting for the cell that runs over there", "`%remote attach` shows it")
        try:
            while not execution.future.done():
                futures.wait((execution.future,), _QUESTIONS)
        finally:
            self._report("", "")

    def _answer_input(self) -> None:
        """Ask the user what the remote cell asks; Ctrl-C at the question interrupts the cell."""
        on_press, self._on_press = self._on_press, _raise
        try:
            self._relay.answer_input()
        except KeyboardInterrupt:
            on_press()
        finally:
            self._on_press = on_press

    def _interrupt(self, execution: Execution) -> None:
        """Pass Ctrl-C on; pressed again and again, leave the cell to itself."""
        now = time.monotonic()
        self._presses = [t for t in self._presses if now - t < _GIVE_UP_WITHIN] + [now]
        threading.Thread(target=self._interrupt_there, args=(execution,), daemon=True).start()
        if len(self._presses) >= _GIVE_UP_PRESSES:
            execution.fail(
                ConnectionLostError(
                    "The cell does not react to the interrupt; it was left running.",
                    billed="The machine still runs.",
                    hint="`%remote attach` shows it again, `%remote restart` ends it with its kernel.",
                )
            )

    def _interrupt_there(self, execution: Execution) -> None:
        """Interrupt a cell over there, unless the local kernel is being ended, which begins likewise."""
        ending, kernel = self._ending.wait(_ENDS_WITHIN), self._kernel()
        if not ending and kernel:
            # one that is over here may run on over there; the next one is not what the user meant
            kernel.interrupt(execution.msg_id if execution.future.done() else "")


def _raise() -> None:
    raise KeyboardInterrupt
