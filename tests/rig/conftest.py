"""The hosts that tests of emulated clouds may use."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import need
from .guests import Guest
from .hosts import NetnsHosts, missing


@pytest.fixture(scope="session")
def hosts() -> Iterator[NetnsHosts]:
    """Hosts in namespaces; what a test boots, it deletes."""
    lacking = missing()
    need(not lacking, f"hosts in namespaces need {lacking}")
    hosts = NetnsHosts()
    yield hosts
    hosts.close()


@pytest.fixture
def boot(hosts: NetnsHosts, tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    """Boot a host: ``boot(cloud, **cloud_config)``, see `Guest`."""
    names = (f"i-{n}" for n in itertools.count())
    guests: list[Guest] = []

    def boot(cloud: str = "aws", **config: list[Any]) -> Guest:
        guests.append(Guest(hosts, tmp_path, next(names), cloud, config))
        return guests[-1]

    yield boot
    for guest in guests:
        hosts.delete(guest.id)
