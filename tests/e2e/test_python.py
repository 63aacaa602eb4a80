"""Functions on a machine, called from Python."""

from __future__ import annotations

import concurrent.futures
import doctest
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote import Remote
from jupyter_gpu_remote.errors import ConfigurationError, VariableError
from jupyter_gpu_remote.registry import Registry
from tests.notebooks import delete_all_machines

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A machine of this computer with two workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        folder = tmp_path_factory.mktemp("folder")
        with Remote(cloud="local", folder=folder, workers=2) as made:
            yield made


def test_the_page_about_it_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        failed, tried = doctest.testfile(str(DOCS / "python.md"), module_relative=False)
        assert (failed, tried > 5) == (0, True)
        assert Registry().machines() == []
    finally:
        delete_all_machines()


def test_values_of_a_map_come_in_order_and_two_at_a_time(remote: Remote) -> None:
    def meet(own: int) -> int:
        import time
        from pathlib import Path

        Path(f"met-{own}").touch()
        while not Path(f"met-{1 - own}").exists():
            time.sleep(0.01)
        return own

    assert remote.map(meet, [0, 1]) == [0, 1]
    assert remote.map(pow, [2, 3, 2], [3, 2, 3]) == [8, 9, 8]


def test_files_go_along_and_come_back(remote: Remote) -> None:
    folder = remote.run(os.getcwd)
    assert Path(folder).is_absolute()

    def copy(name: str) -> None:
        from pathlib import Path

        Path(f"{name}.copy").write_text(Path(name).read_text() * 2)

    (remote.folder / "here.txt").write_text("ab")
    remote.run(copy, "here.txt")
    assert (remote.folder / "here.txt.copy").read_text() == "abab"


def test_an_error_is_what_it_was_and_says_where_it_happened(remote: Remote) -> None:
    class OwnError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    def fails(kind: str) -> None:
        if kind == "own":
            raise OwnError(1, 2)
        int(kind)

    with pytest.raises(ValueError, match="'x'") as caught:
        remote.run(fails, "x")
    assert "in fails" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="OwnError: 1 and 2"):
        remote.run(fails, "own")


def test_what_cannot_travel_is_named(remote: Remote) -> None:
    with Path(os.devnull).open() as file, pytest.raises(VariableError):
        remote.run(len, file)


def test_futures_are_those_of_the_standard_library(remote: Remote) -> None:
    futures = [remote.submit(abs, -n) for n in range(4)]
    assert {future.result() for future in concurrent.futures.as_completed(futures)} == {0, 1, 2, 3}


def test_an_unknown_option_is_told_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="gpu"):
        Remote(gpuu="A100")


def test_a_sweep_tells_of_trials_as_they_end_and_goes_on_with_those_that_failed(
    remote: Remote, tmp_path: Path
) -> None:
    def try_it(x: int, go: str) -> int:
        if x == 2 and not Path(go).exists():
            raise ValueError("not yet")
        return x

    space = {"x": [1, 2], "go": [str(tmp_path / "go")]}
    told: list[tuple[int, str]] = []
    remote.sweep(try_it, space, progress=lambda trial: told.append((trial.number, trial.state)))
    assert sorted(told) == [(1, "done"), (2, "failed")]
    (tmp_path / "go").touch()
    told.clear()
    trials = remote.sweep(
        try_it, space, progress=lambda trial: told.append((trial.number, trial.state)), resume=True
    )
    assert ([trial.value for trial in trials], told) == ([1, 2], [(2, "done")])


def test_a_sweep_tells_what_became_of_each_trial(remote: Remote) -> None:
    def weigh(x: float, kind: str) -> float:
        print("weighing", x)
        return factor * x if kind == "a" else x / 0

    factor = 3
    trials = remote.sweep(weigh, [{"x": 1, "kind": "a"}, {"x": 2, "kind": "b"}], retries=1)
    assert [(t.number, t.state, t.value, t.retries) for t in trials] == [
        (1, "done", 3, 0),
        (2, "failed", None, 1),
    ]
    assert "ZeroDivisionError" in trials[1].error
    assert (remote.folder / trials[0].log).read_text() == "weighing 1\n"
    assert [t.params for t in remote.sweep(print, {"end": "a,b"})] == [{"end": "a"}, {"end": "b"}]


@pytest.mark.parametrize(
    "space", [{"x": "range(n)"}, {"x": "uniform(0,1)"}, {"x": []}, [], [1], {"state": [1]}]
)
def test_a_space_that_cannot_be_meant_is_refused_before_anything_runs(remote: Remote, space: Any) -> None:
    with pytest.raises(ConfigurationError):
        remote.sweep(print, space)
