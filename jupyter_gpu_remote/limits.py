"""What a machine may cost before it ends by itself, and what all may cost in a day."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .config import GpuRemote
from .errors import BudgetError, ConfigurationError
from .model import Offer
from .registry import Registry
from .spend import midnight
from .tables import duration, money

_LEAST = 300.0
"""Seconds: a machine that ends sooner is of no use; it takes a minute or two to start."""


@dataclass(frozen=True)
class Limits:
    """How long a machine may exist, in seconds from when it was asked for; 0 for as long as it likes."""

    seconds: float

    def end(self, created_at: float) -> float:
        """Return when a machine ends; 0 for never."""
        return created_at + self.seconds if self.seconds else 0.0


def limits_for(offer: Offer, config: GpuRemote) -> Limits:
    """Return how long a machine may exist.

    Raises:
        ConfigurationError: The budget would be spent before it is of any use.
    """
    if not offer.price:
        return Limits(0.0)
    seconds = [config.max_hours * 3600] if config.max_hours else []
    if config.budget is not None:
        seconds.append(config.budget / offer.price * 3600)
        if seconds[-1] < _LEAST:
            raise ConfigurationError(
                f"A budget of {money(config.budget)} pays for {duration(seconds[-1])} of {offer.title}.",
                hint="Raise --budget, or leave it out; --max-hours limits the time.",
            )
    return Limits(min(seconds, default=0.0))


def check_budget(offer: Offer, config: GpuRemote, registry: Registry) -> None:
    """Make sure that today's budget is not spent yet.

    Raises:
        BudgetError: It is; nothing is to be launched.
    """
    limit = config.daily_budget
    if limit is None or not offer.price:
        return
    now = time.time()
    spent = sum(registry.spent(midnight(now)).values())
    left = (limit - spent) / offer.price * 3600
    if left >= _LEAST:
        return
    running = [m.name for m in registry.machines() if m.offer.price]
    raise BudgetError(
        f"Today's budget of {money(limit)} does not pay for another machine: {money(spent)} are spent.",
        billed=f"Running: {', '.join(running)}." if running else "",
        hint="`cost --by day` shows what was spent; c.GpuRemote.daily_budget sets the limit.",
    )
