"""Jobs as they are written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_gpu_remote.errors import JobError
from jupyter_gpu_remote.jobtable import JobState
from jupyter_gpu_remote.model import MachineState
from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.verbs.outcome import refresh_one
from tests.unit.test_registry import machine


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry in which one machine is known."""
    registry = Registry(tmp_path / "registry.sqlite")
    registry.add(machine("calm-otter"))
    return registry


def add(registry: Registry, on: str = "calm-otter") -> int:
    return registry.jobs.add("/a/book.ipynb", on, "job-1", "train()", "/a").id


def test_numbers_of_jobs_count_up_and_are_never_used_again(registry: Registry) -> None:
    first, second = add(registry), add(registry)
    registry.jobs.forget(second)
    assert (first, add(registry)) == (1, 3)


def test_what_became_of_a_job_is_said_once(registry: Registry) -> None:
    number = add(registry)
    registry.jobs.end(number, JobState.CANCELLED)
    registry.jobs.end(number, JobState.FAILED, "KeyboardInterrupt")
    assert registry.jobs.get(number).state is JobState.CANCELLED


def test_a_job_whose_machine_is_unknown_or_has_ended_is_lost(registry: Registry) -> None:
    on_it, nowhere = add(registry), add(registry, "nobody")
    registry.update("calm-otter", state=MachineState.FAILED)
    assert [row.state for row in registry.jobs.all()] == [JobState.LOST] * 2
    assert registry.jobs.running() == []
    assert registry.jobs.get(on_it).note == registry.jobs.get(nowhere).note == "its machine has ended"


def test_a_job_that_had_ended_is_not_lost_with_its_machine(registry: Registry) -> None:
    number = add(registry)
    registry.jobs.end(number, JobState.DONE)
    registry.update("calm-otter", state=MachineState.FAILED)
    assert registry.jobs.get(number).state is JobState.DONE


def test_a_number_that_no_job_has_is_an_error(registry: Registry) -> None:
    with pytest.raises(JobError, match="no job 7"):
        registry.jobs.get(7)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ({"status": "running"}, "running"),
        ({"status": "ok", "error": "", "at": 5.0}, "done"),
        ({"status": "error", "error": "ValueError", "at": 5.0}, "failed"),
        ({"status": "error", "error": "KeyboardInterrupt", "at": 5.0}, "cancelled"),
        ({"status": "died", "at": 5.0}, "failed"),
        ({"status": "lost"}, "lost"),
        ({"status": "refused"}, "lost"),
    ],
)
def test_what_a_machine_says_becomes_a_state(
    registry: Registry, outcome: dict[str, object], state: str
) -> None:
    number = add(registry)
    refresh_one(registry, registry.jobs.get(number), outcome)
    assert registry.jobs.get(number).state.value == state
