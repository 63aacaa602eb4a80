"""What every test may use."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_RUNTIME = pytest.StashKey[str]()


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


def pytest_configure(config: pytest.Config) -> None:
    """Keep shared SSH connections apart from the user's own, and from those of tests that run beside."""
    # what a shell starts in the background is deaf to it, and so would all be that tests start and interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_RUNTIME] = os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="gr-", dir="/tmp")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what `pytest_configure` made."""
    shutil.rmtree(config.stash[_RUNTIME], ignore_errors=True)


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a state folder of its own."""
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Give a file system of its own at `folder`."""
    need(os.geteuid() == 0, "root, to mount a file system")
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False)
    need(done.returncode == 0, "the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
