"""A cell that is run once for each trial: this side of it.

The kernel over there does the work (`agent.sweepcell`); here options become its request, and its results are
kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent.results import as_row, frame, history
from ..agent.space import Axis, expand, is_drawn
from ..config import GpuRemote
from ..errors import ConfigurationError
from . import parse, record

if TYPE_CHECKING:
    from ..environment import Needs
    from ..exchange import Exchange, Outgoing

BOUND = ("sweep", "sweep_reports")
"""The variables that a sweep leaves behind."""
OPTIONS = ("sweep", "optimize", "stop", "max_trials", "trials", "retries", "timeout", "resume", "keep")
"""The settings that are about sweeps."""
PACKAGES = ("remote_client", "remote_client\nimport optuna")
"""Cells that need what the machine needs for a sweep, and for one that is optimized."""
_SHOWN = 5
DEFAULT_TRIALS = 50
"""Trials of --optimize."""


@dataclass
class Request:
    """A cell and what it is swept over.

    Attributes:
        source: The cell.
        axes: The space.
        name: The name of the sweep, also of its folder.
        limit: The most trials; 0 for all.
        timeout: Seconds that one may take; 0 for any time.
        retries: How often one that fails is run again.
        stop: The rule that ends one.
        goal: What is optimized.
        known: What is known of trials already.
        frame: Whether its results are for the kernel over there, which then makes tables of them.
        begun: Whether there is a record of it.
    """

    source: str
    axes: Sequence[Axis]
    name: str
    limit: int = 0
    timeout: float = 0.0
    retries: int = 0
    stop: parse.Rule | None = None
    goal: tuple[str, str] | None = None
    known: Sequence[Mapping[str, Any]] = field(default_factory=list)
    frame: bool = False
    begun: bool = False

    @property
    def code(self) -> str:
        """What the kernel over there runs."""
        call = f"run(get_ipython().user_ns, {self.source!r}, {self.sweep!r})"
        return f'__import__("_gpu_remote.agent.sweepcell", fromlist=["run"]).{call}'

    @property
    def sweep(self) -> dict[str, Any]:
        """What it is told beside the cell."""
        return {name: value for name, value in vars(self).items() if name not in ("source", "begun")}

    @property
    def reads(self) -> str:
        """A cell that reads what this one reads beside its parameters."""
        own = [axis["name"] for axis in self.axes if "name" in axis] + ["report"]
        lists = [axis["list"] for axis in self.axes if "list" in axis]
        bound = "" if self.source.lstrip().startswith("%%") else f"{' = '.join(own)} = None\n"
        return "\n".join([f"{bound}{self.source}", *lists])

    @property
    def packages(self) -> str:
        """A cell that needs the packages that the sweep needs."""
        return PACKAGES[bool(self.goal)]

    def pack(
        self,
        exchange: Exchange,
        put: Sequence[str],
        get: Sequence[str],
        auto: bool,
        needs: Callable[[Collection[str]], Needs | None],
    ) -> Outgoing:
        """Return what is to go with the cell; see `Exchange.pack`."""
        outgoing = exchange.pack(self.reads, put, [*get, *BOUND], auto, needs)
        outgoing.wish["binds"] = list(BOUND)  # not what the cell binds, which each trial does for itself
        return outgoing

    def begin(self, config: GpuRemote, folder: Path, say: Callable[[str], None]) -> None:
        """Begin the record of a sweep, or go on with the one of an earlier run where that is asked for.

        Args:
            config: The settings of the cell.
            folder: The notebook's.
            say: Tells the user of an earlier run.
        """
        if self.begun:
            return
        self.begun = True
        what = [self.source, list(self.axes), self.limit, self.goal]
        digest = hashlib.sha256(json.dumps(what, default=repr).encode()).hexdigest()[:16]
        before = record.latest(folder, digest)
        if before is not None and config.resume:
            self.name, self.known = before.path.parent.name, before.good
            say(f"{len(before.good)} trials are known from {before.path.parent}.")
        elif before is not None and len(before.good) < before.about.get("trials", 0):
            say(
                f"{len(before.good)} of {before.about['trials']} trials of this sweep ended well in an "
                "earlier run, and are run again. --resume runs the missing ones only."
            )
        elif config.resume:
            say("There is nothing to resume: this cell with these options has not run here.")
        while (folder / record.FOLDER / self.name).exists() and not self.known:
            self.name += "-1"
        record.begin(folder, self.name, {"digest": digest, "space": config.sweep, "trials": size(self)})

    def finish(self, namespace: MutableMapping[str, Any]) -> None:
        """Make tables of what has come; pandas may be here alone, or over there alone."""
        for name in BOUND:
            if isinstance(rows := namespace.get(name), list):
                namespace[name] = frame(rows)

    def bring(self, folder: Path, namespace: MutableMapping[str, Any]) -> None:
        """Bind what has come here, where the kernel over there can't give it any more."""
        found = record.read(folder / record.FOLDER / self.name / "results.jsonl").trials
        trials = [found[number] for number in sorted(found)]
        where = f"{record.FOLDER}/{self.name}"
        namespace[BOUND[0]] = frame([as_row(trial, where) for trial in trials])
        namespace[BOUND[1]] = frame(history(trials))


def new_name() -> str:
    """Return a name for a sweep that begins now."""
    return time.strftime("%Y-%m-%d-%H%M%S")


def wanted(config: GpuRemote) -> bool:
    """Return whether the options of a cell ask for a sweep.

    Raises:
        ConfigurationError: They ask for what only a sweep has, or for an impossible one.
    """
    if config.sweep:
        return True
    for name in OPTIONS[1:]:
        if getattr(config, name):
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"{option} needs a --sweep.", hint="For example: --sweep lr=0.1,0.01")
    return False


def request(config: GpuRemote, cell: str) -> Request:
    """Return what a cell with such options asks for.

    Raises:
        ConfigurationError: An option can't be read, or they don't fit each other.
    """
    if config.launch:
        raise ConfigurationError(
            "--sweep runs a cell many times, and --launch runs it on all machines at once.",
            hint="Leave out one of them.",
        )
    axes, goal = parse.space(config.sweep), parse.goal(config.optimize)
    limit = config.max_trials
    if goal:
        limit = config.trials or limit or DEFAULT_TRIALS
        if not all("name" in axis for axis in axes):
            raise ConfigurationError(
                "--optimize can't choose from a list of dicts.", hint="Name its parameters."
            )
    elif config.trials:
        raise ConfigurationError(
            "--trials needs an --optimize.", hint="--max-trials takes some of all trials."
        )
    if is_drawn(axes) and not limit:
        raise ConfigurationError(
            "Values that are drawn have no end.", hint="Say how many trials there are to be: --max-trials 20"
        )
    limits = config.timeout * 60, config.retries
    return Request(cell, axes, new_name(), limit, *limits, parse.rule(config.stop), goal)


def size(request: Request, lists: Mapping[str, Any] | None = None) -> int:
    """Return the number of trials; 0 where only the machine knows."""
    if request.goal:
        return request.limit
    try:
        return len(expand(request.axes, request.limit, lists))
    except ValueError:
        return 0


def told(request: Request, namespace: Mapping[str, Any]) -> str:
    """Return what a sweep would run.

    Raises:
        ConfigurationError: The trials can't be made.
    """
    if request.goal:
        return f"{request.limit} trials, chosen to {request.goal[0]}imize {request.goal[1]}."
    if elsewhere := [axis["list"] for axis in request.axes if axis.get("list", "") not in ("", *namespace)]:
        return f"The machine has {', '.join(elsewhere)}; how many trials there are is known there."
    try:
        trials = expand(request.axes, request.limit, namespace)
    except ValueError as e:
        raise ConfigurationError(f"These trials can't be made: {e}.", hint="Check --sweep.") from None
    lines = [f"{number}  {trial}" for number, trial in enumerate(trials[:_SHOWN], 1)]
    more = [f"… and {len(trials) - _SHOWN} more"] if len(trials) > _SHOWN else []
    return "\n".join([f"{len(trials)} trial{'s' if len(trials) > 1 else ''}:", *lines, *more])
