"""A notebook that the tests of a module share: a launch for each would take most of their time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.notebooks import Notebook, notebook


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook whose machine is up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        with notebook(tmp_path_factory.mktemp("notebook")) as opened:
            ran = opened.remote("import os, sys, time")
            assert not ran.error
            yield opened
