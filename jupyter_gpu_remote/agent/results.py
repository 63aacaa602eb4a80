"""What is known of the trials of a sweep, and the tables that are made of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .space import COLUMNS

WAITING, RUNNING, DONE, STOPPED = "waiting", "running", "done", "stopped"
FAILED, TIMED_OUT, CANCELLED = "failed", "timed out", "cancelled"
GOOD = (DONE, STOPPED)
"""States that a sweep which is resumed does not run again."""
STATES = (RUNNING, DONE, STOPPED, FAILED, TIMED_OUT, CANCELLED, WAITING)


@dataclass
class Trial:
    """One trial.

    Attributes:
        number: Its number, from 1.
        params: Its parameters.
        state: One of `STATES`.
        machine: Where it runs, or ran last.
        worker: The address of the Dask worker.
        run: Tells the latest attempt from earlier ones.
        began: When that began, by the clock of this process.
        seconds: How long it took.
        attempts: How often it was begun.
        suspected: How often Dask has blamed it for the death of workers on which it may only have waited.
        reports: What the latest attempt reported.
        value: Its last expression.
        error: The traceback, or what else ended it.
        has_log: Whether it has put anything out.
        kept: Whether an earlier run of the sweep has it.
    """

    number: int
    params: Mapping[str, Any]
    state: str = WAITING
    machine: str = ""
    worker: str = ""
    run: str = ""
    began: float = 0.0
    seconds: float | None = None
    attempts: int = 0
    suspected: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)
    value: Any = None
    error: str = ""
    has_log: bool = False
    kept: bool = False

    @property
    def ended(self) -> bool:
        """Whether it does not run any more, nor will."""
        return self.state not in (WAITING, RUNNING)

    @property
    def elapsed(self) -> float | None:
        """Seconds that it took, or has taken so far."""
        return time.monotonic() - self.began if self.state == RUNNING else self.seconds

    @property
    def metrics(self) -> dict[str, Any]:
        """What it reported last, of each metric."""
        return {name: value for report in self.reports for name, value in report.items() if name != "step"}

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can take it; what is no plain data as text."""
        return dict(
            json.loads(
                json.dumps(
                    {
                        "trial": self.number,
                        "params": self.params,
                        "state": self.state,
                        "value": self.value,
                        "seconds": self.seconds,
                        "machine": self.machine,
                        "retries": max(0, self.attempts - 1),
                        "error": self.error,
                        "has_log": self.has_log,
                        "reports": self.reports,
                    },
                    default=_text,
                )
            )
        )

    def restore(self, row: Mapping[str, Any]) -> bool:
        """Take what an earlier run has kept, if that is of these parameters and ended well."""
        fits = row["state"] in GOOD and row["params"] == self.plain()["params"]
        if fits:
            self.state, self.value, self.seconds = row["state"], row["value"], row["seconds"]
            self.machine, self.reports, self.has_log = row["machine"], row["reports"], row["has_log"]
            self.attempts, self.kept = row["retries"] + 1, True
        return fits


def _text(value: Any) -> str:
    try:
        return repr(value)[:1000]
    except Exception:  # whatever the user's object does
        return f"<{type(value).__name__}>"


def as_row(trial: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return the row of a trial in the table of results.

    Args:
        trial: What `Trial.plain` gives, perhaps with the value as it is.
        folder: The folder of the sweep.
    """
    params = trial["params"]
    last = {name: value for report in trial["reports"] for name, value in report.items() if name != "step"}
    # a metric does not hide a parameter
    metrics = {f"last_{n}" if n in params or n in COLUMNS else n: value for n, value in last.items()}
    log = f"{folder}/{log_of(trial['trial'])}" if trial["has_log"] else ""
    facts = {name: trial[name] for name in ("seconds", "machine", "retries", "error")}
    return {
        "trial": trial["trial"],
        **params,
        "state": trial["state"],
        "value": trial["value"],
        **metrics,
        **facts,
        "log": log,
    }


def log_of(number: int) -> str:
    """Return the name of the file of a trial's output."""
    return f"trial-{number:03d}.txt"


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as a pandas DataFrame; as they are, in a list, where there is no pandas."""
    try:
        import pandas
    except ImportError:
        return [dict(row) for row in rows]
    return pandas.DataFrame(list(rows))


def history(trials: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each report."""
    return [{"trial": trial["trial"], **report} for trial in trials for report in trial["reports"]]
