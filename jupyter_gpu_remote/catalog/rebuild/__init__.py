"""Makes the catalog anew from the clouds' own answers; nothing in the product imports this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import MachineType, Price

Prices = Mapping[str, Mapping[str, Price]]
"""By machine type and region."""


@dataclass(frozen=True)
class Catalog:
    """What one cloud answered.

    Attributes:
        types: Its machine types.
        prices: Where each is to be had, and for how much.
        failed: Regions that did not answer, and why.
        unknown: What it has that this script does not know how to price.
    """

    types: list[MachineType]
    prices: Prices
    failed: Mapping[str, str]
    unknown: frozenset[str] = frozenset()
