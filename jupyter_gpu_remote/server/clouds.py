"""Which clouds can be used, and what to do about those that cannot."""

from __future__ import annotations

import functools
import shutil
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from ..config import GpuRemote
from ..errors import ConfigurationError, GpuRemoteError, ProviderAuthError, ProviderError
from ..providers.base import load_provider, provider_names
from .problems import problem
from .workers import Workers

_YOUNG = 60.0
"""Seconds for which an answer is good enough."""
_LIMIT = 30.0
"""Seconds that a cloud may take to answer."""
_AT_HAND = {"local", "ssh"}
"""Providers that nobody logs in to."""
_TITLES = {"aws": "AWS", "gcp": "Google Cloud"}
_LOGINS = {"aws": "aws configure", "gcp": "gcloud auth application-default login"}
_MISSING = {
    "aws": "The program aws is not installed here: pip install awscli",
    "gcp": "The program gcloud is not installed here: see https://cloud.google.com/sdk/docs/install",
}


class Clouds:
    """Asks each cloud whether it knows us, and keeps the answers for a minute.

    Args:
        settings: Returns the user's settings.
    """

    def __init__(self, settings: Callable[[], GpuRemote]) -> None:
        self._settings = settings
        self._workers = Workers("clouds", 4)
        self._lock = threading.Lock()
        self._at, self._said = 0.0, list[dict[str, Any]]()

    def look(self, fresh: bool) -> dict[str, Any]:
        """Return how each cloud stands."""
        with self._lock:  # the second who asks finds what the first one was told
            if fresh or time.time() - self._at > _YOUNG:
                self._said = self._ask()
                self._at = time.time()
            return {"at": self._at, "clouds": self._said}

    def _ask(self) -> list[dict[str, Any]]:
        config = self._settings()
        names = [name for name in provider_names() if name not in _AT_HAND]
        asked = {name: self._workers.submit(functools.partial(_look, name, config)) for name in names}
        end = time.monotonic() + _LIMIT
        said = []
        for name, answer in asked.items():
            try:
                said.append(answer.result(max(0.0, end - time.monotonic())))
            except futures.TimeoutError:  # one must not keep the others
                late = ProviderError(
                    f"{name} did not answer within {_LIMIT:.0f} s.", hint="Check the network."
                )
                said.append(_view(name, "unreachable", problem(late)))
        return said


def _look(name: str, config: GpuRemote) -> dict[str, Any]:
    try:
        load_provider(name, config).machines()
    except (ProviderAuthError, ConfigurationError) as e:
        return _view(name, "missing", problem(e))
    except GpuRemoteError as e:
        return _view(name, "unreachable", problem(e))
    except Exception as e:  # one provider's fault must not hide the others
        return _view(name, "unreachable", problem(e))
    return _view(name, "usable", None)


def _view(name: str, state: str, why: dict[str, Any] | None) -> dict[str, Any]:
    login = _LOGINS.get(name, "")
    there = not login or shutil.which(login.partition(" ")[0])
    return {
        "provider": name,
        "title": _TITLES.get(name, name),
        "state": state,
        "problem": why,
        "login": login,
        "login_missing": "" if there else _MISSING[name],
    }
