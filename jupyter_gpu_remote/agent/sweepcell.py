"""A sweep as a cell of the kernel: the variables that its trials get, its table, what it leaves behind."""

from __future__ import annotations

import ast
import json
import traceback
import types
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..variables.names import needed
from .results import DONE, GOOD, Trial, as_row, frame, history
from .space import expand
from .sweep import Sweep
from .sweeptable import bundle, count, span
from .trial import CELL, Program

if TYPE_CHECKING:
    from distributed import Client

FOLDER = "sweeps"
MESSAGE = "gpu_remote_sweep"
"""The type of the messages by which results leave this machine as they come."""


class SweepFailed(Exception):
    """The sweep could not begin, or none of its trials ended well; shown without a traceback of ours."""

    def _render_traceback_(self) -> list[str]:
        return [f"SweepFailed: {self}"]


def run(namespace: MutableMapping[str, Any], source: str, sweep: Mapping[str, Any]) -> None:
    """Run a cell as a sweep; the table of results is bound to ``sweep``, the reports to ``sweep_reports``.

    Args:
        namespace: The kernel's variables.
        source: The cell.
        sweep: What `sweeps.Request` says.

    Raises:
        SweepFailed: It could not begin, or no trial ended well.
    """
    from IPython.core.inputtransformer2 import TransformerManager
    from IPython.display import display

    from .cluster import remote_client

    lists = {axis["list"]: namespace[axis["list"]] for axis in sweep["axes"] if axis.get("list") in namespace}
    trials = plan(sweep, lists)
    source = TransformerManager().transform_cell(source)
    try:
        ast.parse(source, CELL)
    except SyntaxError as error:
        raise SweepFailed("".join(traceback.format_exception_only(error))) from None
    shown = uuid.uuid4().hex
    params = {name for trial in trials for name in trial.params} | {a.get("name") for a in sweep["axes"]}
    names = needed(source, {name: value for name, value in namespace.items() if name not in params})
    values = packed(namespace, {name: namespace[name] for name in names})

    def show(data: Mapping[str, str], update: bool = True) -> None:
        display(dict(data), raw=True, display_id=shown, update=update)

    show({"text/plain": "the cluster starts"}, update=False)
    swept = Swept(remote_client(), sweep, trials, source, values, show, _emit)
    try:
        swept.run()
    finally:
        rows = [trial.plain() | {"value": trial.value} for trial in trials if trial.ended]
        folder = f"{FOLDER}/{sweep['name']}"
        table = frame if sweep["frame"] else list
        namespace["sweep"] = table([as_row(row, folder) for row in rows])
        namespace["sweep_reports"] = table(history(rows))
    if trials and not any(trial.state in GOOD for trial in trials):
        raise SweepFailed(f"No trial ended well. Trial {trials[0].number}:\n{trials[0].error}")


def call(
    function: Callable[..., Any], sweep: Mapping[str, Any], lists: Mapping[str, Any]
) -> tuple[bool, Any, str]:
    """Call a function for each trial; return them as a call of `Remote` returns values.

    Raises:
        SweepFailed: It could not begin.
    """
    from .cluster import remote_client

    trials = plan(sweep, lists)
    values = packed({}, {}, function)
    Swept(remote_client(), sweep, trials, "", values, lambda table: None, _emit).run()
    return (
        True,
        [trial.plain() | {"params": dict(trial.params), "value": trial.value} for trial in trials],
        "",
    )


def plan(sweep: Mapping[str, Any], lists: Mapping[str, Any]) -> list[Trial]:
    """Return the trials of a sweep, with what is known of them already.

    Raises:
        SweepFailed: There is no such space.
    """
    if sweep["goal"]:
        trials = [Trial(row["trial"], row["params"]) for row in sweep["known"]]
        for trial, row in zip(trials, sweep["known"], strict=True):
            trial.restore(row)
        return trials
    try:
        found = expand(sweep["axes"], sweep["limit"], lists)
    except ValueError as error:
        raise SweepFailed(f"These trials can't be made: {error}.") from None
    trials = [Trial(number, params) for number, params in enumerate(found, 1)]
    for row in sweep["known"]:
        if row["trial"] <= len(trials):
            trials[row["trial"] - 1].restore(row)
    return trials


def packed(namespace: MutableMapping[str, Any], values: Mapping[str, Any], function: Any = None) -> bytes:
    """Pickle what a trial gets.

    Raises:
        SweepFailed: Something of it can't be pickled.
    """
    import cloudpickle

    # has the globals of the notebook's functions, so that those of a trial are the trial's variables
    anchor = types.FunctionType((lambda: None).__code__, namespace)  # type: ignore[arg-type]
    try:
        return bytes(cloudpickle.dumps((anchor, dict(values), function)))
    except Exception:
        for name, value in values.items():
            try:
                cloudpickle.dumps(value)
            except Exception as error:
                raise SweepFailed(
                    f"{name} can't go to the workers: {type(error).__name__}: {error}"
                ) from None
        raise


class Swept:
    """A sweep that is shown while it runs.

    Args:
        client: Of the cluster.
        sweep: What `sweeps.Request` says.
        trials: All trials.
        source: The cell, as plain Python.
        values: Pickled, what a trial gets.
        show: Shows the table.
        emit: Sends results on their way.
    """

    def __init__(
        self,
        client: Client,
        sweep: Mapping[str, Any],
        trials: list[Trial],
        source: str,
        values: bytes,
        show: Callable[[Mapping[str, str]], None],
        emit: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._name, self._show, self._emit = sweep["name"], show, emit
        self.trials, self._folder = trials, f"{FOLDER}/{sweep['name']}"
        here = Path.cwd()
        program = Program(source, values, self._name + uuid.uuid4().hex[:6], str(here), sweep["stop"])
        proposals = None
        if sweep["goal"]:
            from .propose import Proposals

            proposals = Proposals(sweep["axes"], sweep["goal"], sweep["limit"], trials)
        limits = sweep["timeout"], sweep["retries"]
        told = self._changed, self._ended
        self._sweep = Sweep(client, program, trials, here / self._folder, *limits, proposals, *told)

    def run(self) -> None:
        """Run it to its end, and say the last word."""
        try:
            self._sweep.run()
        except KeyboardInterrupt:
            self._last("interrupted · ")
            raise
        self._last()

    def _last(self, how: str = "") -> None:
        counts = count(self.trials)
        states = [f"{number} {state}" for state, number in counts.items()]
        kept = sum(trial.kept for trial in self.trials)
        states += [f"{kept} of them from before"] if kept else []
        line = f"{how}{len(self.trials)} trials: {', '.join(states)} · {span(self._sweep.elapsed)}"
        if counts[DONE]:
            line += " · `sweep` has the results"
        self._show(bundle(self.trials, self._folder, 0, line))

    def _changed(self) -> None:
        self._show(bundle(self.trials, self._folder, self._sweep.elapsed))

    def _ended(self, trials: Sequence[Trial]) -> None:
        self._emit({"sweep": self._name, "trials": [trial.plain() for trial in trials]})


def _emit(content: Mapping[str, Any]) -> None:
    """Send a message of our own beside the cell's outputs; the journal keeps it like these."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is not None:
        # as texts: JSON of messages has no nan
        sent = {**content, "trials": [json.dumps(trial) for trial in content["trials"]]}
        kernel.session.send(kernel.iopub_socket, MESSAGE, sent, parent=kernel.get_parent("shell"))
