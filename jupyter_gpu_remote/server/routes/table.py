"""The table of what can be asked: by path and method, what answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Route:
    """How one request is answered.

    Attributes:
        answer: Does it.
        takes: The definition of the body, or of the URL's query where its name says so; empty for nothing.
        answers: The definition of what is sent back; empty for nothing.
        visits: Whether it talks to a machine, which may take its time.
        status: The status of the answer.
        private: Whether the right to look at machines is not enough.
    """

    answer: Callable[..., Any]
    takes: str
    answers: str
    visits: bool
    status: int
    private: bool


ROUTES: dict[str, dict[str, Route]] = {}
"""By path and method."""


def route(
    method: str,
    path: str,
    answers: str = "",
    takes: str = "",
    visits: bool = False,
    status: int = 200,
    private: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the answer to a request."""

    def register(answer: Callable[..., Any]) -> Callable[..., Any]:
        ROUTES.setdefault(path, {})[method] = Route(answer, takes, answers, visits, status, private)
        return answer

    return register
