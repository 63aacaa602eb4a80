"""The machines that somebody looks at: a connection to each, and what each said last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..config import GpuRemote
from ..errors import GpuRemoteError, TransportError
from ..model import Machine
from ..registry import Registry
from ..verbs.visit import Visit
from .problems import problem
from .workers import Workers

_EVERY = 4.0
"""Seconds between two questions to a machine, while somebody looks."""
_PAUSE = 20.0
"""Seconds until a machine that did not answer is asked again."""
_LINGER = 60.0
"""Seconds after which the connection to a machine at which nobody looks is closed."""
_ANSWER_LIMIT = 5.0
MOST = 8
"""Machines that are talked to at a time."""


@dataclass
class _Known:
    """One machine; `lock` is held while it is talked to."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    visit: Visit | None = None
    status: dict[str, Any] = field(default_factory=dict)
    asked_at: float = -1e9
    wanted_at: float = 0.0
    due: bool = True


class Visits:
    """Talks to machines on behalf of clients.

    Args:
        registry: What knows the machines.
        settings: Returns the user's settings.
    """

    def __init__(self, registry: Registry, settings: Callable[[], GpuRemote]) -> None:
        self._registry, self._settings = registry, settings
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._workers = Workers("visits", MOST)

    def last(self, machine: Machine) -> dict[str, Any]:
        """Return what a machine said last, at once; it is asked again meanwhile if that is a while ago."""
        known = self._of(machine.name)
        failed = known.status.get("problem") is not None
        with self._lock:
            if known.due and time.monotonic() - known.asked_at > (_PAUSE if failed else _EVERY):
                known.due = False
                self._workers.submit(lambda: self._ask_in_turn(machine, known))
        return known.status or _silent(machine.name)

    def ask(self, machine: Machine) -> dict[str, Any]:
        """Ask a machine how it is doing and return the answer, also when that is why it has none."""
        return self._ask(machine, self._of(machine.name))

    def talk(self, machine: Machine, about: Callable[[Visit], Any]) -> Any:
        """Return what comes of a talk over the connection to a machine.

        Raises:
            GpuRemoteError: It does not answer, or refuses.
        """
        known = self._of(machine.name)
        with known.lock:
            try:
                if known.visit is None:
                    known.visit = Visit(machine, self._settings(), self._registry)
                return about(known.visit)
            except TransportError:
                _leave(known)
                raise

    def prune(self) -> None:
        """Close the connections that nobody has asked for lately."""
        with self._lock:
            old = [n for n, k in self._known.items() if time.monotonic() - k.wanted_at > _LINGER]
        self._forget(old)

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._forget(list(self._known))

    def _forget(self, names: list[str]) -> None:
        for name in names:
            known = self._known[name]
            if known.lock.acquire(blocking=False):  # else somebody wants it after all
                with self._lock:
                    self._known.pop(name, None)
                _leave(known)
                known.lock.release()

    def _of(self, name: str) -> _Known:
        with self._lock:
            known = self._known.setdefault(name, _Known())
            known.wanted_at = time.monotonic()
            return known

    def _ask_in_turn(self, machine: Machine, known: _Known) -> None:
        try:
            self._ask(machine, known)
        finally:
            known.due = True

    def _ask(self, machine: Machine, known: _Known) -> dict[str, Any]:
        try:
            said = self.talk(machine, lambda visit: visit.request("status", _ANSWER_LIMIT))
            known.status = _status(machine.name, said)
        except GpuRemoteError as e:
            known.status = {**(known.status or _silent(machine.name)), "problem": problem(e)}
        known.asked_at = time.monotonic()
        return known.status


def _leave(known: _Known) -> None:
    if known.visit is not None:
        known.visit.close()
        known.visit = None


def _silent(name: str) -> dict[str, Any]:
    return {
        "machine": name,
        "at": None,
        "ends_in": None,
        "ends_why": None,
        "cpu": None,
        "gpus": None,
        "kernels": [],
        "problem": None,
    }


def _status(name: str, said: dict[str, Any]) -> dict[str, Any]:
    # an agent of another release may say more, or less
    load = said.get("load") or {}
    return {
        **_silent(name),
        "at": time.time(),
        "ends_in": said.get("ends_in"),
        "ends_why": said.get("ends_why"),
        "cpu": load.get("cpu"),
        "gpus": load.get("gpus"),
        "kernels": [
            {
                "id": kernel["id"],
                "folder": kernel["cwd"],
                "running": kernel["running"],
                "active_at": kernel["active"],
            }
            for kernel in said.get("kernels", ())
            if kernel["alive"]
        ],
    }
