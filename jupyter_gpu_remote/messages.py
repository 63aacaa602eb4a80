"""What a kernel on a machine is sent, and what it sends, as the faces see it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

from .agent import wire
from .errors import ConnectionLostError, GpuRemoteError


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

    @classmethod
    def of(cls, record: wire.Record) -> Message:
        """Return the message that a record of a journal holds."""
        parts, buffers = record.parts[:4], record.parts[4:]
        return cls(record.channel, parts, buffers, json.loads(parts[0]), json.loads(parts[1]))

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
    found_dead: GpuRemoteError | None = None
    reply: dict[str, Any] | None = None
    idle: bool = False

    def settle(self) -> None:
        """End the future once reply and idle are both here: outputs come before the latter."""
        if self.reply is not None and self.idle and not self.future.done():
            self.future.set_result(self.reply)

    def warnings(self) -> list[str]:
        """Return what the user is to know about how it ran."""
        warnings = []
        if self.found_dead:
            warnings.append(f"{self.found_dead.message} This cell ran in a fresh one.")
        if self.disk_full:
            warnings.append(
                "The disk of the machine is full: outputs are kept in its memory. Free some: `!df -h`."
            )
        if self.unheard:
            warnings.append(
                "The agent on the machine was killed while this cell ran; some output may be missing."
            )
        return warnings

    @property
    def goes_on(self) -> bool:
        """Whether it may be running over there, out of reach."""
        return self.future.done() and isinstance(self.future.exception(), ConnectionLostError)

    def fail(self, error: GpuRemoteError) -> None:
        """End the future with an error."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass
class Early:
    """A cell that is started by the request that attaches to its kernel, which saves a round trip.

    Attributes:
        execution: It.
        folder: The id that its folder must have over there; None when that does not matter.
        message: The parts of its request.
        began: Whether it was started.
    """

    execution: Execution
    folder: str | None
    message: list[str]
    began: bool = False


class Listener(Protocol):
    """Who wants to see what the kernel sends. Called in the kernel's own thread; must not block."""

    def message(self, message: Message) -> None:
        """Take a message."""

    def connection(self, text: str) -> None:
        """Take news about the connection; empty when it is back."""


def new_id() -> str:
    """Return an id for a message of ours."""
    return uuid.uuid4().hex


def cell_request(code: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the request to run a cell; `options` are more fields of it."""
    asked = {"silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True}
    return {**asked, "stop_on_error": True, "code": code, **options}


def compose(
    client: str,
    msg_type: str,
    content: Mapping[str, Any],
    msg_id: str,
    parent: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    subshell: str | None = None,
) -> list[bytes]:
    """Return the parts of a message from `client`, without signature and buffers."""
    header: dict[str, Any] = {
        "msg_id": msg_id,
        "msg_type": msg_type,
        "username": "remote",
        "session": client,
        "date": datetime.now(timezone.utc).isoformat(),
        "version": "5.4",
    }
    if subshell:
        header["subshell_id"] = subshell
    return [json.dumps(part).encode() for part in (header, parent or {}, metadata or {}, content)]
