"""What a link hands on: answers to who asked for them, all else to its peer."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Collection, Mapping
from concurrent import futures
from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol

from .agent import wire
from .errors import ConnectionLostError, GpuRemoteError, KernelError


class Peer(Protocol):
    """Who speaks through a link."""

    def hello(self, unacknowledged: list[str]) -> Mapping[str, Any]:
        """Return the arguments of the attach request."""

    def welcome(self, answer: Mapping[str, Any]) -> None:
        """Take the agent's answer to it."""

    def take(self, record: wire.Record) -> None:
        """Take a record of the journal."""

    def news(self, text: str) -> None:
        """Take news about the connection; empty when it is back."""

    def over(self, error: GpuRemoteError) -> None:
        """Take that there is no link any more."""


def waited_for(answer: Future[Any], op: str, timeout: float) -> Any:
    """Return the answer to the request `op`.

    Raises:
        KernelError: The agent refused.
        ConnectionLostError: The connection broke, or no answer came within `timeout` seconds.
    """
    try:
        return answer.result(timeout)
    except futures.TimeoutError:
        raise ConnectionLostError(f"The agent did not answer {op!r} within {timeout:.0f} s.") from None
    except LookupError as e:
        raise KernelError(f"The agent refused {op!r}: {e}.") from None
    finally:
        answer.cancel()


class Answers:
    """The answers that are awaited, each under the number of its request."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._awaited: dict[int, Future[Any]] = {}

    def await_one(self, op: str, **arguments: Any) -> tuple[int, bytes, Future[Any]]:
        """Return the number, the record and the future answer of a new request."""
        number, answer = next(self._numbers), Future[Any]()
        self._awaited[number] = answer
        answer.add_done_callback(lambda _: self._awaited.pop(number, None))
        return number, wire.pack_json(wire.AGENT, {"op": op, "id": number, **arguments}), answer

    def take(self, record: wire.Record) -> None:
        """Hand an answer to who waits for it; a refusal is a `LookupError`."""
        answer = json.loads(record.parts[0])
        if awaited := self._awaited.get(answer.get("id")):
            with contextlib.suppress(InvalidStateError):  # nobody waits any longer
                if "error" in answer:
                    awaited.set_exception(LookupError(answer["error"]))
                else:
                    awaited.set_result(answer["result"])

    def fail(self, error: Exception, but: Collection[int | None] = ()) -> None:
        """Have all fail with `error`, except those whose numbers are in `but`."""
        for number, awaited in list(self._awaited.items()):
            if number not in but:
                with contextlib.suppress(InvalidStateError):
                    awaited.set_exception(error)
