"""What stands behind an emulated cloud: real hosts (`tests.rig`), or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Boot:
    """What a machine is booted with.

    Attributes:
        id: Its id at the cloud.
        cloud: ``aws`` or ``gcp``, whose metadata service it sees.
        user_data: What the metadata service hands out, as cloud-init reads it.
        attributes: Further metadata, by the path that the cloud's metadata service has it under.
        ended: Called when the machine powers itself off.
    """

    id: str
    cloud: str
    user_data: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    ended: Callable[[], None] = lambda: None


class Hosts:
    """Hosts that don't exist: they have addresses at which nobody answers."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def boot(self, boot: Boot) -> str:
        """Start a host; return its IPv4 address at once, before it answers."""
        return f"192.0.2.{next(self._numbers) % 250 + 1}"

    def off(self, id: str) -> None:
        """Switch it off; its disk stays."""

    def on(self, id: str) -> None:
        """Switch it on again."""

    def delete(self, id: str) -> None:
        """Take it and its disk away; no error when there is none."""

    def notice(self, id: str) -> None:
        """Have its metadata service say that it will be taken back."""
