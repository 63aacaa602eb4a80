"""Machines that work beside another one: launched together, deleted together, never left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from jupyter_gpu_remote import group
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError, NoCapacityError
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import Machine, MachineState
from jupyter_gpu_remote.options import parse
from jupyter_gpu_remote.registry import Registry
from tests.fake_cloud import FakeProvider

from .test_fleet import assert_nothing_left, cloud, fleet, launch, prepare_in, registry, silent

__all__ = ["cloud", "fleet", "registry"]

CONFIG = GpuRemote(launch_timeout=20.0, ingress="192.0.2.9")


@pytest.fixture(autouse=True)
def no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines of the fake cloud have no SSH: they are ready at once."""

    def prepare(fleet: Fleet, config: GpuRemote, registry: Registry, told: Any, machine: Machine) -> None:
        prepare_in(registry)(machine)

    monkeypatch.setattr(group, "_prepare", prepare)


@pytest.fixture
def head(fleet: Fleet, registry: Registry) -> Machine:
    return launch(fleet, registry)


def refuse_after(count: int) -> Callable[..., None]:
    """Return a hook by which a cloud has so many machines and no more."""
    left = iter(range(count))

    def hook(*args: Any) -> None:
        if next(left, None) is None:
            raise NoCapacityError("There are no more.", rules_out=None)

    return hook


def test_workers_are_like_their_head_and_beside_it(
    head: Machine, registry: Registry, cloud: type[FakeProvider]
) -> None:
    said = group.resize(head, 3, CONFIG, registry, silent)
    workers = group.workers_of(registry, head.name)
    assert len(cloud.rented()) == 3 and {w.offer for w in workers} == {head.offer}
    assert said.startswith(f"3 machines · {head.name}, with ") and "/h in all" in said


def test_what_could_not_be_had_is_told_and_the_others_stay(
    head: Machine, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.hooks["create"] = refuse_after(1)
    said = group.resize(head, 3, CONFIG, registry, silent)
    assert "2 machines" in said and "1 could not be had: There are no more." in said
    assert len(cloud.rented()) == 2


def test_where_none_could_be_had_the_head_goes_on_and_that_is_said(
    head: Machine, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.hooks["create"] = refuse_after(0)
    with pytest.raises(NoCapacityError) as caught:
        group.resize(head, 3, CONFIG, registry, silent)
    assert f"{head.name} still runs" in caught.value.billed
    assert registry.get(head.name).state is MachineState.READY and len(cloud.rented()) == 1


def test_an_interrupt_deletes_what_it_had_begun_and_leaves_the_head(
    head: Machine, registry: Registry, cloud: type[FakeProvider]
) -> None:
    interrupted = threading.Event()
    cloud.hooks["describe"] = lambda *args: interrupted.wait(20)

    def interrupt(phase: str, text: str) -> None:
        if phase == "machines" and len(cloud.rented()) > 1:
            interrupted.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group.grow(head, 4, CONFIG, registry, interrupt)
    assert list(cloud.rented()) == [head.provider_id]
    assert registry.machines() == [registry.get(head.name)]


def test_workers_whose_head_was_lost_wait_a_while_for_another(
    fleet: Fleet, head: Machine, registry: Registry
) -> None:
    workers = {machine.name for machine in group.grow(head, 3, CONFIG, registry, silent)[0]}
    fleet.preempted(head.name, "taken back")
    fleet.reap()
    assert {machine.name for machine in registry.machines()} == workers
    registry.update(head.name, ended_at=time.time() - 3600)
    fleet.reap()
    assert not registry.machines()


def test_workers_whose_head_has_ended_are_reaped(
    fleet: Fleet, head: Machine, registry: Registry, cloud: type[FakeProvider]
) -> None:
    group.resize(head, 3, CONFIG, registry, silent)
    fleet.delete(head.name, silent)
    said = fleet.reap()
    assert len(said) == 2 and all(f"{head.name}, which it worked beside, has ended" in line for line in said)
    assert_nothing_left(registry, cloud)


def test_the_first_of_several_ssh_destinations_is_the_head() -> None:
    request, config = parse("--cloud ssh --on one,user@two,three", GpuRemote())
    assert request.on == "one" and group.wanted(config) == 3


def test_more_machines_than_destinations_is_an_error(registry: Registry, head: Machine) -> None:
    mine = Machine("own", "ssh", head.offer)
    with pytest.raises(ConfigurationError, match="1 more machines are asked for, and 0 are named"):
        group.grow(mine, 2, GpuRemote(), registry, silent)
