"""Values that are pickled arrive as they were, or are named."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import pytest

from ..conftest import need
from ..far_end import FarEnd, Notebook
from ..pickler_cases import FRAMES, NUMPY, PYTHON, TORCH, Case


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarEnd]:
    end = FarEnd(tmp_path_factory.mktemp("machine"))
    yield end
    end.end()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "__main__", notebook.main)
    return notebook


@pytest.fixture
def there(process: FarEnd, here: Notebook) -> FarEnd:
    process.begin(here)
    return process


@pytest.mark.parametrize("case", PYTHON + NUMPY + FRAMES + TORCH, ids=lambda case: case.title)
def test_variables_are_the_same_there_and_back_again(here: Notebook, there: FarEnd, case: Case) -> None:
    for package in case.needs.split():
        need(importlib.util.find_spec(package), f"{package}, to send what is its")
    names = case.names.split()
    here.run(case.source)
    there.send(*names)
    assert there(f"bool({case.true})")
    there.fetch(*names)
    assert eval(case.true, here.variables)
    there.send(*names)
    assert there(f"bool({case.true})")
