"""Showing a cell that goes on, or ended, after its notebook was lost."""

from __future__ import annotations

import dataclasses
import queue
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..agent import wire
from ..kernel import Listener, Message, RemoteKernel
from ..magic import is_captured
from ..model import GpuRequest

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


def attach(cells: RemoteCells) -> str:
    """Show the cell that runs over there, or else the last one, from its first output to its end.

    Returns:
        Why there is nothing to show; empty when the cell was shown.

    Raises:
        Exception: What the cell raised.
        GpuRemoteError: The machine or its kernel is gone.
    """
    notebook = cells.notebook
    name = notebook.registry.binding(notebook.key)
    if name is None or notebook.registry.get(name).state.final:
        return "There is nothing to attach to: this notebook has no machine."
    cells.prepare(GpuRequest(on=name), notebook.config)
    assert notebook.live is not None
    facts = _facts(cells)
    started = dict(facts["executions"])
    if not started:
        return f"There is nothing to attach to: the kernel on {name} has run no cell."
    running = [msg_id for msg_id in facts["running"] if msg_id in started]
    msg_id = running[0] if running else list(started)[-1]
    one = _OneCell(cells.relay, msg_id, RemoteKernel.new_id(), facts["next"])
    kernel = one.kernel = _client(cells, one)
    execution = kernel.follow(msg_id)
    execution.msg_id = one.alias
    cells.relay.begin(execution, is_captured())
    try:
        kernel.open(since=started[msg_id])
        while kernel.position < one.end and kernel.is_open and not execution.future.done():
            time.sleep(_REPLAY_STEP)
        if one.question is not None:
            _ask_once(cells.relay.input_requests, one.question)
        cells.wait(execution)
    finally:
        kernel.close()
    return ""


def _client(cells: RemoteCells, listener: Listener) -> RemoteKernel:
    notebook = cells.notebook
    assert notebook.live is not None
    patience = notebook.config.reconnect_timeout
    return RemoteKernel(notebook.kernel_id, notebook.live.connect, None, listener, patience)


def _facts(cells: RemoteCells) -> dict[str, Any]:
    """Return what the agent knows of the kernel."""
    client = _client(cells, _OneCell(cells.relay, "", "", 0))  # hears nothing
    try:
        return client.open()
    finally:
        client.close()


def _ask_once(questions: queue.SimpleQueue[Message], question: Message) -> None:
    """Put a question among those that wait, unless it is there."""
    waiting = {question.header["msg_id"]: question}
    with suppress(queue.Empty):
        while True:
            other = questions.get_nowait()
            waiting[other.header["msg_id"]] = other
    for each in waiting.values():
        questions.put(each)
