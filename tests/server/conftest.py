"""Servers that tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .served import Client, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as JupyterHub would start it, which the tests of a module share."""
    one = Server(tmp_path_factory.mktemp("server"), "/user/x/").start()
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def client(server: Server) -> Client:
    """Somebody who may do everything."""
    return server.client()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the test's own, to be started."""
    one = Server(tmp_path_factory.mktemp("server"))
    try:
        yield one
    finally:
        one.close()
