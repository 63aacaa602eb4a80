"""What can be had, as the clouds said it a moment ago."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import options
from ..config import GpuRemote
from ..errors import GpuRemoteError
from ..fleet import Fleet
from ..model import GpuRequest, Offer
from ..providers.base import load_provider
from ..registry import Registry
from .problems import problem
from .views import offer_view

_YOUNG = 60.0
"""Seconds for which an answer is good enough for a table that people look at; a launch asks anew."""


@dataclass
class _Answer:
    said: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def old(self) -> bool:
        """Whether it must be asked for anew."""
        return bool(time.time() - self.said.get("at", 0.0) > _YOUNG)


class Offered:
    """Asks the clouds, and keeps their answers for a minute.

    Args:
        registry: For `Fleet`.
        settings: Returns the user's settings, with some on top.
    """

    def __init__(self, registry: Registry, settings: Callable[..., GpuRemote]) -> None:
        self._registry, self._settings = registry, settings
        self._answers: dict[GpuRequest, _Answer] = {}
        self._lock = threading.Lock()

    def look(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what there is for an `OfferQuery`.

        Raises:
            ConfigurationError: There is no such GPU or cloud.
        """
        # what is not asked for is anything, whatever the launch form starts with
        given = {**vars(GpuRequest()), **{k: v for k, v in asked.items() if k != "fresh"}}
        given.pop("count")
        config = self._settings(**given)
        request = options.request(config)
        if request.cloud:
            load_provider(request.cloud, config)
        with self._lock:
            for old in [r for r, a in self._answers.items() if a.old and not a.lock.locked()]:
                del self._answers[old]
            answer = self._answers.setdefault(request, _Answer())
        with answer.lock:  # the second who asks for the same finds what the first one was told
            if answer.old or asked.get("fresh"):
                answer.said = self._ask(config, request)
            return answer.said

    def _ask(self, config: GpuRemote, request: GpuRequest) -> dict[str, Any]:
        offers, failed, why = list[Offer](), dict[str, GpuRemoteError](), None
        try:
            offers, failed = Fleet(config, self._registry).look(request)
        except GpuRemoteError as e:
            why = problem(e)
        return {
            "at": time.time(),
            "offers": [offer_view(offer) for offer in offers],
            "failed": [{"provider": name, "problem": problem(e)} for name, e in failed.items()],
            "problem": why,
        }
