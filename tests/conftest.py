"""What every test may use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest


def need(condition: object, reason: str) -> None:
    """Skip with `reason` unless `condition`; on CI a missing thing is a failure."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"needed on CI: {reason}")
    pytest.skip(reason)


def wait_for(condition: Callable[[], object], what: str, limit: float = 30) -> None:
    """Wait until `condition` holds; fail, saying `what` was awaited, after `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {limit} s for {what}")
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a state folder of its own."""
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
