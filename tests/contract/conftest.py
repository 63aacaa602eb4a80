"""Machines with buckets."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.emulators.s3 import S3Server

from .rigs.storage import Machine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "buckets")
    yield server
    server.close()


@pytest.fixture
def credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.be_known(monkeypatch)


@pytest.fixture
def new_machine(tmp_path: Path, credentials: None) -> Iterator[Callable[..., Machine]]:
    need(Path("/dev/fuse").exists() and shutil.which("fusermount3"), "FUSE (package fuse3)")
    made: list[Machine] = []

    def new(**settings: Any) -> Machine:
        folder = tmp_path / f"m{len(made)}"
        folder.mkdir()
        made.append(Machine(folder, **settings))
        return made[-1]

    yield new
    for machine in made:
        machine.end()


@pytest.fixture
def machine(new_machine: Callable[..., Machine]) -> Machine:
    return new_machine()


@pytest.fixture
def bucket(server: S3Server, request: pytest.FixtureRequest) -> Path:
    """A bucket of the test's own."""
    return server.bucket(f"b{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}")
