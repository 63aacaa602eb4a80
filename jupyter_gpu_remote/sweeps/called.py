"""A function that is called once for each trial, as `Remote.sweep` does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..agent.results import as_row
from ..agent.space import Axis, expand
from ..errors import ConfigurationError
from . import DEFAULT_TRIALS, Request, new_name, parse, record


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: Its number, from 1.
        params: Its parameters.
        state: ``done``, ``stopped``, ``failed``, ``timed out`` or ``cancelled``.
        value: What the function returned; as text where that can't travel.
        metrics: What it reported last.
        reports: All that it reported.
        seconds: How long it took.
        machine: Where.
        retries: How often it was begun again.
        error: The traceback of what it raised, or what else ended it; empty when it ended well.
        log: The file of its output, in the folder; empty when it has put nothing out.
    """

    number: int
    params: dict[str, Any]
    state: str
    value: Any
    metrics: dict[str, Any]
    reports: list[dict[str, Any]]
    seconds: float | None
    machine: str
    retries: int
    error: str
    log: str


Space = Mapping[str, Iterable[Any] | str] | Sequence[Mapping[str, Any]]
"""Values by name, of which each combination is a trial, a text being read as after ``--sweep NAME=``; or a
list of dicts, each a trial."""


def of_function(
    space: Space, limit: int, timeout: float, retries: int, stop: str, optimize: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the kernel over there is asked for, and the lists of dicts that it names.

    Raises:
        ConfigurationError: The space, or what a trial is stopped by, can't be read.
    """
    lists: dict[str, Any] = {}
    axes: list[Axis] = []
    if isinstance(space, Mapping):
        for name, values in space.items():
            if isinstance(values, str):
                axes += parse.space([f"{name}={values}"])
            else:
                axes.append({"name": name, "values": list(values)})
    else:
        axes, lists = [{"list": "space"}], {"space": list(space)}
    goal = parse.goal(optimize)
    limit = limit or (DEFAULT_TRIALS if goal else 0)
    made = Request("", axes, new_name(), limit, timeout, retries, parse.rule(stop), goal)
    if not goal:
        try:
            expand(axes, limit, lists)
        except ValueError as e:
            raise ConfigurationError(f"These trials can't be made: {e}.", hint="Check the space.") from None
    return made.sweep, lists


def trial_of(row: Mapping[str, Any], name: str) -> Trial:
    """Return a trial, given what the kernel over there says of it."""
    shown = as_row(row, f"{record.FOLDER}/{name}")
    known = {
        key: row[key] for key in ("params", "state", "value", "reports", "seconds", "machine", "retries")
    }
    last = {key: value for report in row["reports"] for key, value in report.items() if key != "step"}
    return Trial(number=row["trial"], metrics=last, error=row["error"], log=shown["log"], **known)


def begin(
    function: Callable[..., Any], sweep: dict[str, Any], lists: Any, folder: Path, resume: bool
) -> None:
    """Begin the record of a sweep, or go on with that of an earlier call.

    Args:
        function: Its name tells it from others.
        sweep: What `of_function` gave; gets to know the trials that are known.
        lists: Likewise.
        folder: Where the record is.
        resume: Whether to go on.
    """
    called = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
    what = [called, sweep["axes"], lists, sweep["limit"], sweep["goal"]]
    digest = hashlib.sha256(json.dumps(what, default=repr).encode()).hexdigest()[:16]
    before = record.latest(folder, digest) if resume else None
    if before is not None:
        sweep["name"], sweep["known"] = before.path.parent.name, before.good
    while (folder / record.FOLDER / sweep["name"]).exists() and before is None:
        sweep["name"] += "-1"
    record.begin(folder, sweep["name"], {"digest": digest, "space": called, "trials": sweep["limit"]})


def take(content: Mapping[str, Any], folder: Path, progress: Callable[[Trial], object] | None) -> None:
    """Write down trials that have ended, and tell of them."""
    record.take(folder, content)
    if progress is not None:
        for row in map(json.loads, content["trials"]):
            progress(trial_of(row, content["sweep"]))
