"""Requests to the agent that wait for their answers."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Collection
from concurrent.futures import Future, InvalidStateError
from typing import Any

from .agent import wire


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
