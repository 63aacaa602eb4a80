"""When the machine ends: what the guard decides and what the cloud announces, told and carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .guard import WARNING, Guard, Use
from .kernels import Kernel
from .load import Load
from .mounts import Mounts
from .notice import Notice

_GUARD_EVERY = 5.0
_DRAIN = 120.0
"""Seconds that a machine whose time is up may take to bring what was written to its buckets."""


class Prospects:
    """What is to be known of the machine's end.

    Args:
        root: Folder of everything the agent keeps.
        kernels: Those that there are.
        load: What the machine's GPUs and processors do.
        mounts: What has to reach its buckets before the end.
        wake: Has `look` called soon; called from any thread.
    """

    def __init__(
        self,
        root: Path,
        kernels: Mapping[str, Kernel],
        load: Load,
        mounts: Mounts,
        wake: Callable[[], None],
    ) -> None:
        self.client_at = 0.0
        """When a client was heard last, in Unix seconds."""
        self._guard = Guard(root)
        self._kernels = kernels
        self._load = load
        self._mounts = mounts
        self._wake = wake
        self._guarded_at = 0.0
        self._warned = False
        self._notice: Notice | None = None
        self._leaving = False

    def ends(self) -> tuple[float | None, str | None]:
        """Return in how many seconds the machine ends itself as things are, and why; None: it does not."""
        kernels = self._kernels.values()
        active = max((k.active_at for k in kernels), default=0.0)
        worked = max((k.worked_at for k in kernels), default=0.0)
        end = self._guard.end(
            Use(
                busy=any(k.cells.running for k in kernels),
                active_at=active,
                worked_at=max(active, worked, self._load.worked_at),
                client_at=self.client_at,
                unseen=max((k.unseen for k in kernels), default=0.0),
                gpu_known=self._load.gpus is not None,
            )
        )
        return (end.at - time.time(), end.why) if end else (None, None)

    def extend(self, seconds: float) -> None:
        """Keep the machine for that long from now, used or not."""
        self._guard.extend(seconds)

    def known(self) -> dict[str, Any]:
        """Return what whoever comes now is to know."""
        if self._leaving and self._notice:
            return {"leaving": max(0.0, self._notice.at - time.time())}
        return {"ending": self._ending()} if self._warned else {}

    def look(self) -> None:
        """Tell what has changed; end the machine when its time is up."""
        self._pass_notice_on()
        if time.monotonic() - self._guarded_at > _GUARD_EVERY:
            self._guarded_at = time.monotonic()
            self._end_if_due()

    def _end_if_due(self) -> None:
        left, _ = self.ends()
        is_near = left is not None and left <= WARNING
        if self._warned != is_near:
            self._warned = is_near
            self._tell(ending=self._ending())
            if not is_near:
                self._mounts.stay()
        if left is not None and left <= 0 and self._mounts.drained(_DRAIN):
            self._guard.power_off()

    def _pass_notice_on(self) -> None:
        if self._notice is None and (cloud := self._guard.policy().notice):
            self._notice = Notice(cloud, self._wake)
        if self._notice and self._notice.at and not self._leaving:
            self._leaving = True
            left = max(0.0, self._notice.at - time.time())
            self._tell(leaving=left)
            self._mounts.drained(left)

    def _ending(self) -> dict[str, Any] | None:
        left, why = self.ends()
        return {"in": max(0.0, left), "why": why} if left is not None and self._warned else None

    def _tell(self, **event: Any) -> None:
        """Journal it with every kernel."""
        for kernel in self._kernels.values():
            kernel.event(**event)
