"""A kernel on a machine, used as if it were here.

`RemoteKernel` speaks to the agent over one stream. It numbers what it has seen, so after a cut it goes on
where it was; it sends again what was not acknowledged, and the agent drops what it has already.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

from .agent import wire
from .errors import (
    ConnectionLostError,
    GpuRemoteError,
    KernelDiedError,
    KernelError,
    KernelStartError,
    ProviderError,
    TransportError,
)
from .transport.base import Stream

_REQUEST_LIMIT = 30.0
"""Seconds the agent may take for an answer."""
_PING = 10.0
"""Seconds of silence after which the agent is asked whether it lives; after three times that, it is cut."""
_RETRIES = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to reconnect; the last goes on."""


@dataclass
class Message:
    """A Jupyter message as it came: header, parent header, metadata and content as JSON, and buffers.

    What may be large is parsed on demand alone.
    """

    channel: int
    parts: list[bytes]
    buffers: list[bytes]
    header: dict[str, Any]
    parent: dict[str, Any]

    @property
    def type(self) -> str:
        """Its message type."""
        return str(self.header["msg_type"])

    @property
    def parent_id(self) -> str:
        """The id of the request it belongs to, empty when it belongs to none."""
        return str(self.parent.get("msg_id", ""))

    @property
    def content(self) -> dict[str, Any]:
        """Its content, parsed anew each time."""
        content: dict[str, Any] = json.loads(self.parts[3])
        return content

    @property
    def metadata(self) -> dict[str, Any]:
        """Its metadata, parsed anew each time."""
        metadata: dict[str, Any] = json.loads(self.parts[2])
        return metadata


@dataclass
class Execution:
    """A cell over there; `future` ends with the content of its reply, or with an error of ours."""

    msg_id: str
    future: Future[dict[str, Any]] = field(default_factory=Future)
    files_changed: bool = False
    disk_full: bool = False
    unheard: bool = False
    reply: dict[str, Any] | None = None
    idle: bool = False

    def settle(self) -> None:
        """End the future once reply and idle are both here: outputs come before the latter."""
        if self.reply is not None and self.idle and not self.future.done():
            self.future.set_result(self.reply)

    def fail(self, error: GpuRemoteError) -> None:
        """End the future with an error."""
        if not self.future.done():
            self.future.set_exception(error)


class Listener(Protocol):
    """Who wants to see what the kernel sends. Called in the kernel's own thread; must not block."""

    def message(self, message: Message) -> None:
        """Take a message."""

    def connection(self, text: str) -> None:
        """Take news about the connection; empty when it is back."""


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
        self._connect = connect
        self._start = start
        self._patience = patience
        self._name = uuid.uuid4().hex
        self._next: int | None = None
        self._stream: Stream | None = None
        self._lock = threading.Lock()
        self._unacknowledged: dict[str, bytes] = {}
        self._requests: dict[int, Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._heard_at = 0.0

    # -- connection ---------------------------------------------------------------------------------

    def open(self, since: int | None = None) -> dict[str, Any]:
        """Attach to the kernel, starting it if there is none.

        Args:
            since: Record of its journal to begin with; None takes only what comes from now on.

        Returns:
            What the agent knows about the kernel.

        Raises:
            KernelStartError: It cannot be started.
            TransportError: The machine cannot be reached.
        """
        self._next = since
        try:
            answer = self._attach(self._connect(False))
        except TransportError:
            answer = self._attach(self._connect(True))
        self._thread = threading.Thread(target=self._run, name=f"remote kernel {self.id}", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch_silence, name="remote kernel watch", daemon=True).start()
        return answer

    @property
    def position(self) -> int:
        """The number of the journal record that comes next."""
        return self._next or 0

    @property
    def is_open(self) -> bool:
        """Whether the kernel is attached, or about to be again."""
        return self._thread is not None and self._thread.is_alive() and not self._closed.is_set()

    def close(self) -> None:
        """Let go of the kernel; it goes on over there."""
        self._closed.set()
        with self._lock:
            if self._stream:
                self._stream.close()
        error = KernelError("The connection to the remote kernel was closed.")
        self._fail_all(error)

    def _attach(self, stream: Stream) -> dict[str, Any]:
        """Say who we are, where to begin, and what may not have arrived; wait for the answer."""
        arguments = {"kernel": self.id, "since": self._next, "name": self._name, "start": self._start}
        answer: Future[Any] = Future()
        number = next(self._numbers)
        self._requests = {number: answer}
        self._decoder = wire.Decoder()
        stream.sendall(wire.pack_json(wire.AGENT, {"op": "attach", "id": number, **arguments}))
        try:
            while not answer.done():
                self._feed(stream)
            result: dict[str, Any] = answer.result()
        except (OSError, LookupError) as e:
            stream.close()
            if isinstance(e, LookupError):
                what = "could not be started" if self._start else "is gone"
                raise KernelStartError(
                    f"The remote kernel {what}: {e}.",
                    billed="The machine still runs.",
                    hint="Run the cell again to start a new one.",
                ) from None
            raise ConnectionLostError(
                "The agent on the machine closed the connection.", hint="Run the cell again."
            ) from e
        self.facts = result["kernel"]
        self._next = result["next"] if self._next is None else max(self._next, result["next"])
        with self._lock:
            self._stream = stream
            for record in self._unacknowledged.values():
                stream.sendall(record)
        return result

    def _feed(self, stream: Stream) -> None:
        data = stream.recv(1 << 20)
        if not data:
            raise ConnectionResetError("end of stream")
        self._heard_at = time.monotonic()
        for record in self._decoder.feed(data):
            self._take(record)

    def _run(self) -> None:
        while not self._closed.is_set():
            stream = self._stream
            assert stream is not None
            try:
                while True:
                    self._feed(stream)
            except OSError:
                stream.close()
            for answer in list(self._requests.values()):
                if not answer.done():
                    answer.set_exception(ConnectionLostError("The connection to the machine broke."))
            if not self._closed.is_set() and not self._reconnect():
                return

    def _reconnect(self) -> bool:
        lost = time.monotonic()
        for attempt in itertools.count():
            if self._closed.wait(_RETRIES[min(attempt, len(_RETRIES) - 1)]):
                return False
            gone = time.monotonic() - lost
            try:
                self._start = None if self._next else self._start
                self._attach(self._connect(attempt > 0))
            except (KernelError, ProviderError) as e:
                return self._give_up(e)
            except (GpuRemoteError, OSError) as e:
                if gone > self._patience:
                    return self._give_up(
                        ConnectionLostError(
                            f"The machine did not answer for {gone:.0f} s: {getattr(e, 'message', e)}",
                            billed="The machine may still run and be billed.",
                            hint="`%remote attach` shows what the cell did once the machine is back; "
                            "`%remote down` deletes the machine.",
                        )
                    )
                self.listener.connection(f"connection lost, reconnecting for {gone:.0f} s")
            else:
                self.listener.connection("")
                return True
        raise AssertionError("unreachable")

    def _give_up(self, error: GpuRemoteError) -> bool:
        self._closed.set()
        self.listener.connection("")
        self._fail_all(error)
        return False

    def _fail_all(self, error: GpuRemoteError) -> None:
        for execution in list(self.executions.values()):
            execution.fail(error)
        for answer in list(self._requests.values()):
            if not answer.done():
                answer.set_exception(error)

    def _watch_silence(self) -> None:
        """Cut a connection that is up and says nothing: a frozen machine, or a link that swallows."""
        while not self._closed.wait(_PING / 2):
            silence = time.monotonic() - self._heard_at
            stream = self._stream
            if silence > 3 * _PING and stream:
                self.listener.connection(f"no answer from the machine for {silence:.0f} s")
                stream.close()
            elif silence > _PING:
                self._send(wire.pack_json(wire.AGENT, {"op": "ping", "id": 0}))

    # -- out ----------------------------------------------------------------------------------------

    def _send(self, record: bytes) -> None:
        """Send, or leave it to the reconnect."""
        with self._lock:
            if self._stream:
                try:
                    self._stream.sendall(record)
                except OSError:
                    self._stream.close()  # the reader notices

    def request(self, op: str, timeout: float = _REQUEST_LIMIT, **arguments: Any) -> Any:
        """Ask the agent for something and return its answer.

        Raises:
            KernelError: It refused.
            ConnectionLostError: The connection broke, or no answer came within `timeout` seconds.
        """
        number, answer = next(self._numbers), Future[Any]()
        self._requests[number] = answer
        self._send(wire.pack_json(wire.AGENT, {"op": op, "id": number, **arguments}))
        try:
            return answer.result(timeout)
        except TimeoutError:
            raise ConnectionLostError(f"The agent did not answer {op!r} within {timeout:.0f} s.") from None
        except LookupError as e:
            raise KernelError(f"The agent refused {op!r}: {e}.") from None
        finally:
            self._requests.pop(number, None)

    def notify(self, op: str, **arguments: Any) -> None:
        """Tell the agent something without waiting for its answer."""
        self._send(wire.pack_json(wire.AGENT, {"op": op, "id": 0, **arguments}))

    def forward(
        self, channel: int, parts: Sequence[wire.Part], msg_id: str, buffers: Sequence[wire.Part] = ()
    ) -> None:
        """Send a message as it is; it arrives once, also through a cut."""
        record = wire.pack(channel, [*parts, *buffers])
        self._unacknowledged[msg_id] = record
        self._send(record)

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
        parts = [json.dumps(part).encode() for part in (header, parent or {}, metadata or {}, content)]
        self.forward(channel, parts, msg_id, buffers)
        return msg_id

    @staticmethod
    def new_id() -> str:
        """Return an id for a message of ours."""
        return uuid.uuid4().hex

    def execute(
        self, code: str, begin: Callable[[Execution], None] = lambda _: None, **options: Any
    ) -> Execution:
        """Start a cell; its outputs go to the listener, its end to the future of what is returned.

        Args:
            code: The cell.
            begin: Called before anything is sent, so that no output comes unexpected.
            options: More fields of the execute request.
        """
        execution = self.follow(self.new_id())
        begin(execution)
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
            **options,
        }
        self.send(wire.SHELL, "execute_request", content, msg_id=execution.msg_id)
        return execution

    def follow(self, msg_id: str) -> Execution:
        """Keep track of a cell that was started under `msg_id`, perhaps by another client."""
        execution = self.executions[msg_id] = Execution(msg_id)
        execution.future.add_done_callback(lambda _: self.executions.pop(msg_id, None))
        return execution

    def interrupt(self) -> None:
        """Interrupt what the kernel runs; arrives also in the middle of a cell."""
        self.notify("interrupt", kernel=self.id)

    # -- in -----------------------------------------------------------------------------------------

    def _take(self, record: wire.Record) -> None:
        if record.channel == wire.AGENT:
            return self._take_answer(json.loads(record.parts[0]))
        if self._next is not None and record.sequence < self._next:
            return
        self._next = record.sequence + 1
        if record.channel == wire.EVENT:
            return self._take_event(json.loads(record.parts[0]))
        parts, buffers = record.parts[:4], record.parts[4:]
        message = Message(record.channel, parts, buffers, json.loads(parts[0]), json.loads(parts[1]))
        self.listener.message(message)
        execution = self.executions.get(message.parent_id)
        if execution is None:
            return
        if message.type == "execute_reply":
            execution.reply = message.content
            execution.settle()
        elif message.type == "status" and message.content["execution_state"] == "idle":
            execution.idle = True
            execution.settle()

    def _take_answer(self, answer: dict[str, Any]) -> None:
        waiting = self._requests.get(answer["id"])
        try:
            if waiting is None:
                return
            if "error" in answer:
                waiting.set_exception(LookupError(answer["error"]))
            else:
                waiting.set_result(answer["result"])
        except InvalidStateError:
            pass  # it came too late

    def _take_event(self, event: dict[str, Any]) -> None:
        if "ack" in event:
            self._unacknowledged.pop(event["ack"], None)
        elif execution := self.executions.get(event.get("finished", "")):
            execution.files_changed = event["files"]
            execution.disk_full = event["disk_full"]
        elif execution := self.executions.get(event.get("lost", "")):
            execution.fail(
                KernelError(
                    "The agent on the machine was killed while this cell ran. The cell has ended; "
                    "what it printed meanwhile is lost, its variables are kept.",
                    hint="Look at the variables in the next `%%remote` cell, or run this one again.",
                )
            )
        elif "unheard" in event:
            for msg_id in event["unheard"]:
                if msg_id in self.executions:
                    self.executions[msg_id].unheard = True
        elif "died" in event:
            again = event["again"]
            self._unacknowledged.clear()
            error = KernelDiedError(
                f"The remote kernel died: {event['died']}. Its variables are lost.",
                billed="The machine still runs.",
                hint="A fresh kernel is running there: run the cells again."
                if again
                else "Run the cell again to start a fresh kernel.",
            )
            for execution in list(self.executions.values()):
                execution.fail(error)
            if not again:
                self._closed.set()
