"""What must happen to make two folders the same, from what they hold and what they held: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..agent.manifest import Entry

Pair = tuple[Entry | None, Entry | None]
"""A path as it was here and as it was there when both were last the same."""


@dataclass
class Plan:
    """Paths by what must happen to them.

    Attributes:
        out: Changed here alone.
        back: Changed there alone.
        both: Changed on both sides, each in its own way.
        same: Changed on both sides to the same, or not on record.
        kept: Deleted on one side and changed on the other: the change wins; part of `out` or `back`.
    """

    out: list[str] = field(default_factory=list)
    back: list[str] = field(default_factory=list)
    both: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def compare(
    here: Mapping[str, Entry],
    there: Mapping[str, Entry],
    base: Mapping[str, Pair],
    unknown: Collection[str],
) -> Plan:
    """Return what must happen.

    Args:
        here: What the local folder holds.
        there: What the remote one holds.
        base: Both sides at the last sync.
        unknown: Paths of which one side cannot tell; they and what is below them stay as they are.
    """
    plan = Plan()
    for path in here.keys() | there.keys() | base.keys():
        local, remote = here.get(path), there.get(path)
        local_was, remote_was = base.get(path, (None, None))
        if local == local_was and remote == remote_was:
            continue
        if unknown and _is_below(path, unknown):
            continue
        if local == remote:
            plan.same.append(path)
        elif remote == remote_was:
            plan.out.append(path)
        elif local == local_was:
            plan.back.append(path)
        elif remote is None:
            plan.out.append(path)
            plan.kept.append(path)
        elif local is None:
            plan.back.append(path)
            plan.kept.append(path)
        else:
            plan.both.append(path)
    return plan


def _is_below(path: str, unknown: Collection[str]) -> bool:
    while path:
        if path in unknown:
            return True
        path = path.rpartition("/")[0]
    return False


def among(paths: Iterable[str], roots: Collection[str]) -> list[str]:
    """Return those of `paths` that are, or lie in, one of `roots`."""
    return [p for p in paths if any(p == root or p.startswith(root + "/") for root in roots)]
