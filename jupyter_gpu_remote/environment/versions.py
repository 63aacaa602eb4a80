"""What is installed here and over there, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from packaging.utils import canonicalize_name

from .installed import Here


class Row(NamedTuple):
    """One package on both sides; a version is empty where it is missing."""

    name: str
    local: str
    remote: str

    @property
    def remark(self) -> str:
        """What is to be said about it; empty when both sides have the same."""
        if not self.local or not self.remote:
            return "only here" if self.local else "only there"
        if self.local.partition("+")[0] == self.remote.partition("+")[0]:
            return "" if self.local == self.remote else "other build"
        return "differs"


def versions_here() -> dict[str, str]:
    """Return the version of each package of this Python, by its name."""
    return {package.name: package.version for package in Here().packages.values()}


def compare(local: Mapping[str, str], remote: Mapping[str, str], names: Iterable[str] = ()) -> list[Row]:
    """Return packages with their versions on both sides, those that differ first.

    Args:
        local: Versions by name, of this side.
        remote: Those of the machine.
        names: The packages to tell of; by default all that are on the machine.
    """
    here = {canonicalize_name(name): version for name, version in local.items()}
    there = {canonicalize_name(name): version for name, version in remote.items()}
    wanted = {canonicalize_name(name) for name in names} or set(there)
    rows = [
        Row(name, here.get(name, ""), there.get(name, "")) for name in wanted if name in here or name in there
    ]
    return sorted(rows, key=lambda row: (not row.remark, row.name))
