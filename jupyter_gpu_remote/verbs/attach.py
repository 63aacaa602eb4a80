"""Showing a cell that goes on, or ended, after its notebook was lost."""

from __future__ import annotations

import dataclasses
import queue
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..agent import wire
from ..kernel import Execution, Listener, Message, RemoteKernel
from ..messages import new_id
from ..model import GpuRequest
from ..storage.kept import KeptOutputs, place_of
from ..storage.urls import Bucket
from ..transport.base import Stream

if TYPE_CHECKING:
    from ..cells import RemoteCells

_REPLAY_STEP = 0.02


@dataclass
class _OneCell:
    """Let one cell through to `listener`, under another id.

    The notebook's own connection gets the same messages; were they under the same id, what comes from now
    on would appear twice.
    """

    listener: Listener
    msg_id: str
    alias: str
    end: int
    kernel: RemoteKernel | None = None
    question: Message | None = None

    def message(self, message: Message) -> None:
        """Pass a message on if it belongs to the cell."""
        if message.parent_id != self.msg_id or self.kernel is None:
            return
        if message.channel == wire.STDIN:
            # what is asked from now on comes by the notebook's own connection
            self.question = message if self.kernel.position <= self.end else None
            return
        self.question = None  # the cell went on, so it has its answer
        parts = list(message.parts)
        if message.type.startswith("comm_"):
            # an Output widget names the request whose outputs it takes
            parts[3] = bytes(parts[3]).replace(self.msg_id.encode(), self.alias.encode())
        parent = {**message.parent, "msg_id": self.alias}
        self.listener.message(dataclasses.replace(message, parts=parts, parent=parent))

    def connection(self, text: str) -> None:
        """Nothing is said: the notebook's own connection says the same."""


class Replay:
    """The cell that a kernel runs, or else its last one, from its first output on.

    Args:
        kernel_id: The kernel.
        connect: Returns a stream to its agent, as for `RemoteKernel`.
        patience: Seconds to go on reconnecting.
        listener: Gets the cell's messages.
        cell: Its message id; empty for the one that runs, or else the last one.

    Raises:
        KernelStartError: There is no such kernel.
        TransportError: The machine cannot be reached.
    """

    def __init__(
        self,
        kernel_id: str,
        connect: Callable[[bool], Stream],
        patience: float,
        listener: Listener,
        cell: str = "",
    ) -> None:
        def client(listener: Listener) -> RemoteKernel:
            return RemoteKernel(kernel_id, connect, None, listener, patience)

        asking = client(_OneCell(listener, "", "", 0))  # which hears nothing
        try:
            facts = asking.open()
        finally:
            asking.close()
        started = dict(facts["executions"])
        running = [msg_id for msg_id in facts["running"] if msg_id in started]
        # of those that wait in a queue, the first is the one that runs
        self._msg_id = cell or next(iter(running or reversed(started)), "")
        self._since = started.get(self._msg_id, 0)
        self._one = _OneCell(listener, self._msg_id, new_id(), facts["next"])
        self.kernel = self._one.kernel = client(self._one)

    @property
    def empty(self) -> bool:
        """Whether the kernel has run no cell."""
        return not self._msg_id

    def start(self, begin: Callable[[Execution], None] = lambda _: None) -> Execution:
        """Bring everything that was there before, and return the cell to wait for what comes.

        Args:
            begin: Called before the first message.
        """
        execution = self.kernel.follow(self._msg_id)
        execution.msg_id = self._one.alias
        begin(execution)
        self.kernel.open(since=self._since)
        end = self._one.end
        while self.kernel.position < end and self.kernel.is_open and not execution.future.done():
            time.sleep(_REPLAY_STEP)
        return execution

    @property
    def question(self) -> Message | None:
        """What the cell had asked before, and waits for."""
        return self._one.question


def attach(cells: RemoteCells) -> str:
    """Show the cell that runs over there, or else the last one, in the cell that runs here.

    Returns:
        Why there is nothing to show; empty when the cell was shown.

    Raises:
        Exception: What the cell raised.
        GpuRemoteError: The machine or its kernel is gone.
    """
    notebook = cells.notebook
    name = notebook.registry.binding(notebook.key)
    if name is None or notebook.registry.get(name).state.final:
        if name and (place := place_of(notebook.registry, name, notebook.folder)):
            return _attach_to_kept(cells, place)
        return "There is nothing to attach to: this notebook has no machine."
    if notebook.kernel is None or not notebook.kernel.is_open:
        cells.prepare(GpuRequest(on=name), notebook.config)
    assert notebook.live is not None
    replay = Replay(notebook.kernel_id, notebook.live.connect, notebook.config.reconnect_timeout, cells.relay)
    if replay.empty:
        return f"There is nothing to attach to: the kernel on {name} has run no cell."
    try:
        execution = replay.start(cells.relay.begin)
        if replay.question is not None:
            _ask_once(cells.relay.input_requests, replay.question)
        cells.wait(execution)
    finally:
        replay.kernel.close()
    return ""


def _attach_to_kept(cells: RemoteCells, place: Bucket) -> str:
    """Show the last cell of a machine that is gone, as a bucket has it."""
    kept = KeptOutputs(place, cells.notebook.kernel_id)
    execution, _ = kept.show_cell(cells.relay, cells.relay.begin)
    cells.relay.end(execution)
    return f"It comes from {place}, as it was at {kept.until}. `%remote cp {place} .` fetches the files."


def _ask_once(questions: queue.SimpleQueue[Message], question: Message) -> None:
    """Put a question among those that wait, unless it is there."""
    waiting = {question.header["msg_id"]: question}
    with suppress(queue.Empty):
        while True:
            other = questions.get_nowait()
            waiting[other.header["msg_id"]] = other
    for each in waiting.values():
        questions.put(each)
