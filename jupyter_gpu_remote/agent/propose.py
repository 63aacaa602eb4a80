"""Parameters that Optuna chooses, knowing how earlier trials went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .results import GOOD, Trial
from .space import Axis


class Proposals:
    """What is to be tried next.

    Args:
        axes: The space.
        goal: ``min`` or ``max``, and the metric.
        most: How many trials there are to be.
        known: Trials that have ended already.

    Raises:
        ImportError: There is no Optuna here.
    """

    def __init__(
        self, axes: Sequence[Axis], goal: tuple[str, str], most: int, known: Sequence[Trial]
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._complete, self._failed = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL
        direction, self._metric = f"{goal[0]}imize", goal[1]
        # the same answers to the same results
        sampler = optuna.samplers.TPESampler(seed=0)
        self._study = optuna.create_study(direction=direction, sampler=sampler)
        self._space = {axis["name"]: _distribution(axis) for axis in axes}
        self._choices = {axis["name"]: list(axis["values"]) for axis in axes if "values" in axis}
        self._left = most - len(known)
        self._asked: dict[int, Any] = {}
        for trial in known:
            if (value := self.score(trial)) is not None:
                chosen = {name: self._chosen(name, trial.params[name]) for name in self._space}
                told = optuna.trial.create_trial(params=chosen, distributions=self._space, value=value)
                self._study.add_trial(told)

    def next(self, number: int) -> dict[str, Any] | None:
        """Return the parameters of the trial of that number; None when there are enough."""
        if self._left <= 0:
            return None
        self._left -= 1
        self._asked[number] = asked = self._study.ask(self._space)
        return {
            name: self._choices[name][value] if name in self._choices else value
            for name, value in asked.params.items()
        }

    def told(self, trial: Trial) -> None:
        """Take note of how a trial went."""
        if (asked := self._asked.pop(trial.number, None)) is None:
            return
        value = self.score(trial)
        state = self._failed if value is None else self._complete
        self._study.tell(asked, value, state=state)

    def score(self, trial: Trial) -> float | None:
        """Return what is to be optimized: the metric as it was reported last, or else the value."""
        if trial.state not in GOOD:
            return None
        score = trial.metrics.get(self._metric, trial.value)
        if isinstance(score, dict):
            score = score.get(self._metric)
        if isinstance(score, bool) or not isinstance(score, (int, float)) or score != score:
            return None
        return float(score)

    def _chosen(self, name: str, value: Any) -> Any:
        return self._choices[name].index(value) if name in self._choices else value


def _distribution(axis: Axis) -> Any:
    """Return what Optuna draws from; of values, their places, which may be anything."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "values" in axis:
        return CategoricalDistribution(range(len(axis["values"])))
    low, high = axis["of"]
    if axis["draw"] == "randint":
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=axis["draw"] == "log")
