"""Machines are stopped and started again, and nothing is left running by a start that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jupyter_gpu_remote import rental, standby
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import BudgetError, ConflictError, NoCapacityError, ProviderError
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import GpuRequest, Machine, MachineState
from jupyter_gpu_remote.registry import Registry
from tests.fake_cloud import FakeProvider, install, prepare_in, silent

S = MachineState


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeProvider]]:
    class Cloud(FakeProvider):
        hooks: dict[str, Callable[..., Any]] = {}

    install(monkeypatch, Cloud)
    monkeypatch.setattr(rental, "SETTLE_LIMIT", 0.2)
    yield Cloud


@pytest.fixture
def fleet(registry: Registry, cloud: type[FakeProvider]) -> Fleet:
    return Fleet(GpuRemote(ingress="192.0.2.9"), registry)


@pytest.fixture
def stopped(fleet: Fleet, registry: Registry) -> Machine:
    name = fleet.launch(GpuRequest(gpu="T4"), "nb", silent, prepare_in(registry)).name
    fleet.stop(name, silent)
    return registry.get(name)


def presences(cloud: type[FakeProvider]) -> list[str]:
    return [machine["presence"] for machine in cloud.rented().values()]


def test_a_stopped_machine_is_kept(stopped: Machine, cloud: type[FakeProvider]) -> None:
    assert (stopped.state, stopped.address, presences(cloud)) == (S.STOPPED, None, ["stopped"])


def test_a_started_machine_is_ready_again(
    stopped: Machine, fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    fleet.start(stopped.name, silent, prepare_in(registry))
    started = registry.get(stopped.name)
    assert (started.state, started.provider_id) == (S.READY, stopped.provider_id)
    assert started.address and started.ends_at > stopped.ends_at and presences(cloud) == ["running"]


@pytest.mark.parametrize(
    "failure", [ProviderError("no SSH"), KeyboardInterrupt()], ids=["error", "interrupt"]
)
def test_a_start_that_fails_stops_the_machine_again(
    stopped: Machine, fleet: Fleet, registry: Registry, cloud: type[FakeProvider], failure: BaseException
) -> None:
    def fail(machine: Machine) -> None:
        raise failure

    with pytest.raises(type(failure)):
        fleet.start(stopped.name, silent, fail)
    assert (registry.get(stopped.name).state, presences(cloud)) == (S.STOPPED, ["stopped"])


def test_a_start_that_is_refused_leaves_the_machine_stopped(
    stopped: Machine, fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    def refuse(provider_id: str) -> None:
        raise NoCapacityError("none left")

    cloud.hooks["start"] = refuse
    with pytest.raises(NoCapacityError):
        fleet.start(stopped.name, silent, prepare_in(registry))
    assert registry.get(stopped.name).state is S.STOPPED


def test_a_machine_that_will_not_stop_is_told_and_still_counts_as_running(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fleet.launch(GpuRequest(gpu="T4"), "nb", silent, prepare_in(registry)).name
    monkeypatch.setattr(standby, "LIMIT", 0.2)
    monkeypatch.setattr(cloud, "stop", lambda self, provider_id: None)
    with pytest.raises(ProviderError) as e:
        fleet.stop(name, silent)
    assert "billed" in e.value.billed and not registry.get(name).state.final


def test_a_notebook_whose_machine_is_stopped_is_told_how_to_start_it(stopped: Machine, fleet: Fleet) -> None:
    with pytest.raises(ConflictError) as e:
        fleet.find(GpuRequest(), "nb")
    assert f"%remote start {stopped.name}" in e.value.hint


def test_a_stopped_machine_is_left_alone_by_reaping(stopped: Machine, fleet: Fleet) -> None:
    assert fleet.reap() == []


def test_a_machine_that_switched_itself_off_is_deleted(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    machine = fleet.launch(GpuRequest(gpu="T4"), "nb", silent, prepare_in(registry))
    cloud.put(machine.provider_id, **{**cloud.rented()[machine.provider_id], "presence": "stopped"})
    assert "switched itself off" in fleet.reap()[0]
    assert not cloud.rented() and registry.get(machine.name).state is S.GONE


def test_the_daily_budget_holds_for_starting_too(stopped: Machine, registry: Registry) -> None:
    with pytest.raises(BudgetError):
        Fleet(GpuRemote(daily_budget=0.0), registry).start(stopped.name, silent, prepare_in(registry))


def test_only_a_stopped_machine_can_be_started(fleet: Fleet, registry: Registry) -> None:
    machine = fleet.launch(GpuRequest(gpu="T4"), "nb", silent, prepare_in(registry))
    with pytest.raises(ConflictError, match="not stopped"):
        fleet.start(machine.name, silent, prepare_in(registry))


@pytest.mark.parametrize("state", [S.STOPPING, S.BOOTING])
def test_a_stop_or_a_start_whose_process_died_ends_with_a_stopped_machine(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], state: S
) -> None:
    machine = fleet.launch(GpuRequest(gpu="T4"), "nb", silent, prepare_in(registry))
    for step in (S.STOPPING,) if state is S.STOPPING else (S.STOPPING, S.STOPPED, S.BOOTING):
        registry.update(machine.name, state=step)
    assert "stopped, nobody was at work on it" in fleet.reap()[0]
    assert (registry.get(machine.name).state, presences(cloud)) == (S.STOPPED, ["stopped"])


def test_a_start_whose_process_lives_is_left_alone(
    fleet: Fleet, registry: Registry, stopped: Machine
) -> None:
    registry.update(stopped.name, state=S.BOOTING)
    with registry.lease(stopped.name, 60):
        assert fleet.reap() == []
