"""Repeat, interleave, and take the median."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Figures = dict[str, float]
"""What a part found out, by key."""

Timed = Callable[[], float]
"""Does something once and returns how many seconds it took."""


def interleaved(sides: Mapping[str, Timed], rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Return the median seconds of each side, taken in turns so that noise hits all alike.

    Args:
        sides: What to time, by name.
        rounds: How often each is timed.
        warm_up: Rounds before those, not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(warm_up + rounds):
        for name, side in sides.items():
            seconds = side()
            if i >= warm_up:
                taken[name].append(seconds)
    return {name: statistics.median(values) for name, values in taken.items()}


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ms(medians: Mapping[str, float], prefix: str) -> Figures:
    """Return seconds as figures in milliseconds, named ``prefix_side_ms``."""
    return {f"{prefix}_{side}_ms": seconds * 1e3 for side, seconds in medians.items()}
