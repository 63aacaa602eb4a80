"""A kernel on a machine, used as if it were here.

`RemoteKernel` numbers what it has seen of the kernel's journal, so after a cut it goes on where it was; the
agent drops what it is sent again and has already.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from . import fates
from .agent import wire
from .answers import waited_for
from .errors import GpuRemoteError, KernelError
from .executions import Executions
from .link import Link
from .messages import Early, Execution, Listener, Message, cell_request, compose, new_id
from .transport.base import Stream

__all__ = ["Early", "Execution", "Listener", "Message", "RemoteKernel"]

_REQUEST_LIMIT = 30.0
"""Seconds the agent may take for an answer."""

_log = logging.getLogger(__name__)


class RemoteKernel:
    """A kernel that lives with the agent.

    Args:
        kernel_id: Its name; the same name later means the same kernel with its variables.
        connect: Returns a new stream to the agent; its argument says whether to make sure first that the
            agent runs, which costs a round trip or more.
        start: Python, folder and environment, should there be no such kernel yet; None: it must exist.
        listener: Gets every message.
        patience: Seconds to go on reconnecting.
    """

    def __init__(
        self,
        kernel_id: str,
        connect: Callable[[bool], Stream],
        start: Mapping[str, Any] | None,
        listener: Listener,
        patience: float = 600,
    ) -> None:
        self.id = kernel_id
        self.listener = listener
        self.executions = Executions()
        self.facts: dict[str, Any] = {}
        self.deaths = 0
        """How often its process was replaced; what a new one is told has to be told again."""
        self.untold: GpuRemoteError | None = None
        """What happened to it when no cell was there to be told."""
        self.on_end: Callable[[Mapping[str, Any]], None] = lambda event: None
        """Told, in the kernel's own thread, that the machine will end itself (``ending``: in how many seconds
        and why, or None when it will not any more), or be taken back (``leaving``: in how many seconds)."""
        self.on_loss: Callable[[GpuRemoteError], None] = lambda error: None
        """Told, before the cells that run are, why there is no link any more."""
        self._start = start
        self._name = new_id()
        self._early: Early | None = None
        self._next: int | None = None
        self._answer: Mapping[str, Any] = {}
        self._interrupted: set[str] = set()
        self._link = Link(connect, self, patience)

    # -- connection ---------------------------------------------------------------------------------

    def open(self, since: int | None = None, early: Early | None = None) -> Mapping[str, Any]:
        """Attach to the kernel, starting it if there is none.

        Args:
            since: Record of its journal to begin with; None takes only what comes from now on.
            early: A cell to run at once, if the folder there is what it expects.

        Returns:
            What the agent knows about the kernel; ``began`` says whether that cell was started.

        Raises:
            KernelStartError: It cannot be started.
            TransportError: The machine cannot be reached.
        """
        self._next, self._early = since, early
        try:
            self._link.open()
        except LookupError as e:
            raise fates.refused(str(e), bool(self._start)) from None
        finally:
            self._early = None
        return self._answer

    @property
    def position(self) -> int:
        """The number of the journal record that comes next."""
        return self._next or 0

    @property
    def has_run(self) -> bool:
        """Whether it had run a cell when it was attached."""
        return bool(self._answer["executions"])

    @property
    def store(self) -> tuple[str, bytes]:
        """Where the data of variables lies over there, and the machine's key for it."""
        return str(self._answer["store"]["folder"]), base64.b64decode(self._answer["store"]["key"])

    @property
    def is_open(self) -> bool:
        """Whether the kernel is attached, or about to be again."""
        return self._link.is_open

    def close(self, why: GpuRemoteError | None = None) -> None:
        """Let go of the kernel, and end what waits for it with `why`; it goes on over there."""
        self._link.close(why or KernelError("The connection to the remote kernel was closed."))

    def hello(self, unacknowledged: list[str]) -> Mapping[str, Any]:
        """Return the arguments of the attach request."""
        birth = self.facts.get("birth")
        return {
            "kernel": self.id,
            "since": self._next,
            "name": self._name,
            # a kernel that was there and is gone is told, not replaced in silence
            "start": None if birth else self._start,
            "birth": birth,
            "unacknowledged": unacknowledged,
            "early": self._early and {"folder": self._early.folder, "message": self._early.message},
        }

    def welcome(self, answer: Mapping[str, Any]) -> None:
        """Take the agent's answer to it."""
        self._answer, self.facts = answer, answer["kernel"]
        self._next = max(self._next or 0, answer["next"])
        if self._early and answer["began"]:
            self._early.began = True
            self._track(self._early.execution)
        self.executions.attached({*answer["running"], *self._link.unacknowledged()}, answer["end"])
        self.executions.reached(self.position)
        if self._interrupted.intersection(answer["running"]):
            self.interrupt()
        if prospects := answer["prospects"]:
            self.on_end(prospects)

    def news(self, text: str) -> None:
        """Take news about the connection; empty when it is back."""
        self.listener.connection(text)

    def over(self, error: GpuRemoteError) -> None:
        """Take that there is no link any more."""
        self.untold = None if self.executions else error
        try:
            if self.executions:
                self.on_loss(error)
        except Exception:
            _log.exception("what became of a lost kernel could not be looked at")
        finally:
            self.executions.fail(error)

    # -- out ----------------------------------------------------------------------------------------

    def request(self, op: str, timeout: float = _REQUEST_LIMIT, **arguments: Any) -> Any:
        """Ask the agent for something and return its answer.

        Raises:
            KernelError: It refused.
            ConnectionLostError: The connection broke, or no answer came within `timeout` seconds.
        """
        return waited_for(self._link.ask(op, **arguments), op, timeout)

    def notify(self, op: str, **arguments: Any) -> None:
        """Tell the agent something without waiting for its answer."""
        self._link.ask(op, **arguments)

    def forward(
        self, channel: int, parts: Sequence[wire.Part], msg_id: str, buffers: Sequence[wire.Part] = ()
    ) -> None:
        """Send a message as it is; it arrives once, also through a cut."""
        self._link.send(wire.pack(channel, [*parts, *buffers]), msg_id)

    def send(
        self,
        channel: int,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        parent: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[wire.Part] = (),
        subshell: str | None = None,
        msg_id: str | None = None,
    ) -> str:
        """Make a message, send it and return its id."""
        msg_id = msg_id or new_id()
        parts = compose(self._name, msg_type, content, msg_id, parent, metadata, subshell)
        self.forward(channel, parts, msg_id, buffers)
        return msg_id

    def execute(
        self,
        code: str,
        begin: Callable[[Execution], None] = lambda _: None,
        buffers: Sequence[wire.Part] = (),
        **options: Any,
    ) -> Execution:
        """Start a cell; its outputs go to the listener, its end to the future of what is returned.

        Args:
            code: The cell.
            begin: Called before anything is sent, so that no output comes unexpected.
            buffers: Data that goes with it.
            options: More fields of the execute request.
        """
        execution = self.follow(new_id())
        begin(execution)
        content = cell_request(code, options)
        self.send(wire.SHELL, "execute_request", content, buffers=buffers, msg_id=execution.msg_id)
        return execution

    def early(self, code: str, folder: str | None, **options: Any) -> Early:
        """Return a cell for `open` to start.

        Args:
            code: The cell.
            folder: The id that its folder must have over there; None when that does not matter.
            options: More fields of the execute request.
        """
        execution = Execution(new_id())
        parts = compose(self._name, "execute_request", cell_request(code, options), execution.msg_id)
        return Early(execution, folder, [part.decode() for part in parts])

    def follow(self, msg_id: str) -> Execution:
        """Keep track of a cell that was started under `msg_id`, perhaps by another client."""
        execution = Execution(msg_id)
        self._track(execution)
        return execution

    def _track(self, execution: Execution) -> None:
        self.executions.track(execution)
        if self._link.error:
            execution.fail(self._link.error)

    def interrupt(self, cell: str = "") -> None:
        """Interrupt what the kernel runs; arrives also in the middle of a cell, and after a cut.

        Args:
            cell: The message id of the one cell that is meant; empty for whichever runs.
        """
        self._interrupted = set(self.executions)
        self._link.ask("interrupt", kernel=self.id, cell=cell).add_done_callback(self._interrupt_answered)

    def _interrupt_answered(self, answer: Future[Any]) -> None:
        if answer.exception() is None:
            self._interrupted = set()

    # -- in -----------------------------------------------------------------------------------------

    def take(self, record: wire.Record) -> None:
        """Take a record of the journal."""
        if self._next is not None and record.sequence < self._next:
            return
        missed = record.sequence - self._next if self._next is not None else 0
        self._next = record.sequence + 1
        if missed:
            self._missed(missed)
        if record.channel == wire.EVENT:
            self._take_event(json.loads(record.parts[0]))
        else:
            self._take_message(record)
        self.executions.reached(self.position)

    def _take_message(self, record: wire.Record) -> None:
        message = Message.of(record)
        try:
            self.listener.message(message)
        except Exception:
            _log.exception("a message of the remote kernel could not be shown")
        self.executions.take_message(message)

    def _take_event(self, event: dict[str, Any]) -> None:
        if "ack" in event:
            self._link.acknowledged(event["ack"])
        elif "ending" in event or "leaving" in event:
            self.on_end(event)
        elif "died" in event:
            self._died(event["died"], event["again"], event.get("started", True))
        else:
            self.executions.take_event(event)

    def _died(self, cause: str, again: bool, started: bool) -> None:
        self.deaths += 1
        error: GpuRemoteError = fates.died(cause, again)
        if not started:
            error = fates.never_started(cause, str(self.facts.get("python")))
        if not again:
            return self._link.close(error)
        self.untold = error if not self.executions and cause != fates.RESTARTED else None
        # what the agent had not taken by then goes to the fresh kernel
        self.executions.fail(error, fresh=self._link.unacknowledged())

    def _missed(self, count: int) -> None:
        """Ask again what runs, as what has ended may be among what was missed."""
        self.listener.connection(f"{count} messages are lost: they were too many to be kept over there")
        self.executions.missed()
        self._link.start_again()
