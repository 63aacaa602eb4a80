"""A kernel on a machine, used as if it were here.

`RemoteKernel` numbers what it has seen of the kernel's journal, so after a cut it goes on where it was; the
agent drops what it is sent again and has already.
"""

from __future__ import annotations

import base64
import concurrent.futures
import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timezone
from typing import Any

from . import fates
from .agent import wire
from .errors import ConnectionLostError, GpuRemoteError, KernelError
from .link import Link
from .messages import Early, Execution, Listener, Message
from .transport.base import Stream

__all__ = ["Early", "Execution", "Listener", "Message", "RemoteKernel"]

_REQUEST_LIMIT = 30.0
"""Seconds the agent may take for an answer."""

_CELL = {
    "silent": False,
    "store_history": True,
    "user_expressions": {},
    "allow_stdin": True,
    "stop_on_error": True,
}

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
        self.executions: dict[str, Execution] = {}
        self.facts: dict[str, Any] = {}
        self.deaths = 0
        """How often its process was replaced; what a new one is told has to be told again."""
        self.untold: GpuRemoteError | None = None
        """What happened to it when no cell was there to be told."""
        self.on_end: Callable[[Mapping[str, Any]], None] = lambda event: None
        """Told, in the kernel's own thread, that the machine will end itself (``ending``: in how many seconds
        and why, or None when it will not any more), or be taken back (``leaving``: in how many seconds)."""
        self._start = start
        self._name = uuid.uuid4().hex
        self._early: Early | None = None
        self._next: int | None = None
        self._answer: Mapping[str, Any] = {}
        self._doubtful: tuple[int, set[str]] = (0, set())
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
        # what neither runs nor ends in what is still to come has ended in what is no longer kept
        over = self.executions.keys() - answer["running"] - self._link.unacknowledged()
        self._doubtful = (answer["end"], over)
        self._give_up_doubtful()
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
        for execution in list(self.executions.values()):
            execution.fail(error)

    # -- out ----------------------------------------------------------------------------------------

    def request(self, op: str, timeout: float = _REQUEST_LIMIT, **arguments: Any) -> Any:
        """Ask the agent for something and return its answer.

        Raises:
            KernelError: It refused.
            ConnectionLostError: The connection broke, or no answer came within `timeout` seconds.
        """
        answer = self._link.ask(op, **arguments)
        try:
            return answer.result(timeout)
        except concurrent.futures.TimeoutError:
            raise ConnectionLostError(f"The agent did not answer {op!r} within {timeout:.0f} s.") from None
        except LookupError as e:
            raise KernelError(f"The agent refused {op!r}: {e}.") from None
        finally:
            answer.cancel()

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
        msg_id = msg_id or uuid.uuid4().hex
        parts = self._compose(msg_type, content, msg_id, parent, metadata, subshell)
        self.forward(channel, parts, msg_id, buffers)
        return msg_id

    def _compose(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        msg_id: str,
        parent: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        subshell: str | None = None,
    ) -> list[bytes]:
        header: dict[str, Any] = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "username": "remote",
            "session": self._name,
            "date": datetime.now(timezone.utc).isoformat(),
            "version": "5.4",
        }
        if subshell:
            header["subshell_id"] = subshell
        return [json.dumps(part).encode() for part in (header, parent or {}, metadata or {}, content)]

    @staticmethod
    def new_id() -> str:
        """Return an id for a message of ours."""
        return uuid.uuid4().hex

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
        execution = self.follow(self.new_id())
        begin(execution)
        content = {**_CELL, "code": code, **options}
        self.send(wire.SHELL, "execute_request", content, buffers=buffers, msg_id=execution.msg_id)
        return execution

    def early(self, code: str, folder: str | None, **options: Any) -> Early:
        """Return a cell for `open` to start.

        Args:
            code: The cell.
            folder: The id that its folder must have over there; None when that does not matter.
            options: More fields of the execute request.
        """
        execution = Execution(self.new_id())
        parts = self._compose("execute_request", {**_CELL, "code": code, **options}, execution.msg_id)
        return Early(execution, folder, [part.decode() for part in parts])

    def follow(self, msg_id: str) -> Execution:
        """Keep track of a cell that was started under `msg_id`, perhaps by another client."""
        execution = Execution(msg_id)
        self._track(execution)
        return execution

    def _track(self, execution: Execution) -> None:
        self.executions[execution.msg_id] = execution
        execution.future.add_done_callback(lambda _: self.executions.pop(execution.msg_id, None))
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
        self._give_up_doubtful()

    def _take_message(self, record: wire.Record) -> None:
        parts, buffers = record.parts[:4], record.parts[4:]
        message = Message(record.channel, parts, buffers, json.loads(parts[0]), json.loads(parts[1]))
        try:
            self.listener.message(message)
        except Exception:
            _log.exception("a message of the remote kernel could not be shown")
        execution = self.executions.get(message.parent_id)
        if execution is None:
            return
        if message.type == "execute_reply":
            execution.reply = message.content
            execution.settle()
        elif message.type == "status" and message.content["execution_state"] == "idle":
            execution.idle = True
            execution.settle()

    def _take_event(self, event: dict[str, Any]) -> None:
        if "ack" in event:
            self._link.acknowledged(event["ack"])
        elif execution := self.executions.get(event.get("finished", "")):
            execution.files_changed = event["files"]
            execution.disk_full = event["disk_full"]
        elif execution := self.executions.get(event.get("lost", "")):
            execution.fail(fates.lost())
        elif "unheard" in event:
            for msg_id in event["unheard"]:
                if msg_id in self.executions:
                    self.executions[msg_id].unheard = True
        elif "ending" in event or "leaving" in event:
            self.on_end(event)
        elif "died" in event:
            self._died(event["died"], event["again"], event.get("started", True))

    def _died(self, cause: str, again: bool, started: bool) -> None:
        self.deaths += 1
        error: GpuRemoteError = fates.died(cause, again)
        if not started:
            error = fates.never_started(cause, str(self.facts.get("python")))
        if not again:
            return self._link.close(error)
        self.untold = error if not self.executions and cause != fates.RESTARTED else None
        # what the agent had not taken by then goes to the fresh kernel
        on_their_way = self._link.unacknowledged()
        for execution in list(self.executions.values()):
            if execution.msg_id in on_their_way:
                execution.found_dead = error
            else:
                execution.fail(error)

    def _missed(self, count: int) -> None:
        """Ask again what runs, as what has ended may be among what was missed."""
        self.listener.connection(f"{count} messages are lost: they were too many to be kept over there")
        for execution in self.executions.values():
            execution.idle = True  # it may have been missed
        self._link.start_again()

    def _give_up_doubtful(self) -> None:
        end, doubtful = self._doubtful
        if doubtful and self._next is not None and self._next >= end:
            self._doubtful = (0, set())
            for execution in [self.executions[m] for m in doubtful & self.executions.keys()]:
                if execution.reply is None:
                    execution.fail(fates.forgotten())
