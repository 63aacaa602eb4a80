"""What machines cost is booked as they change."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime

import pytest

from jupyter_gpu_remote.model import Machine, MachineState, Offer
from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.spend import Charge, midnight

S = MachineState
RENTED = Offer("aws", "g4dn.xlarge", "T4", 1, region="r", zone="ra", price=3.6, stopped_price=0.36)


class Clock:
    """Time that passes when a test says so."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry()


def launched(registry: Registry, clock: Clock, name: str = "otter") -> None:
    registry.add(Machine(name, "aws", RENTED, created_at=clock.now))
    registry.update(name, state=S.CREATING)
    clock.now += 100
    registry.update(name, state=S.BOOTING, provider_id="i-1")
    for state in (S.CONNECTING, S.PREPARING, S.READY):
        registry.update(name, state=state)


def test_a_machine_is_booked_from_when_it_was_asked_for(registry: Registry, clock: Clock) -> None:
    launched(registry, clock)
    assert registry.spent() == pytest.approx({"otter": 0.1})


def test_what_was_refused_costs_nothing(registry: Registry, clock: Clock) -> None:
    registry.add(Machine("otter", "aws", RENTED, created_at=clock.now))
    registry.update("otter", state=S.CREATING)
    clock.now += 100
    registry.update("otter", state=S.FAILED, ended_at=1_000_000.0)
    assert registry.spent() == {}


def test_a_stopped_machine_costs_its_disk(registry: Registry, clock: Clock) -> None:
    launched(registry, clock)
    registry.update("otter", state=S.STOPPING)
    registry.update("otter", state=S.STOPPED)
    clock.now += 1000
    assert registry.spent() == pytest.approx({"otter": 0.2})
    registry.update("otter", state=S.BOOTING)
    clock.now += 1000
    assert registry.spent() == pytest.approx({"otter": 1.2})


def test_a_machine_that_ended_earlier_than_was_noticed_costs_until_then(
    registry: Registry, clock: Clock
) -> None:
    launched(registry, clock)
    clock.now += 10_000
    registry.update("otter", state=S.PREEMPTED, ended_at=1_000_200.0)
    assert registry.spent() == pytest.approx({"otter": 0.2})


def test_a_machine_whose_id_was_never_learnt_is_booked_when_it_is_deleted(
    registry: Registry, clock: Clock
) -> None:
    registry.add(Machine("otter", "aws", RENTED, created_at=clock.now))
    registry.update("otter", state=S.CREATING)
    registry.update("otter", state=S.DELETING)
    clock.now += 100
    registry.update("otter", state=S.GONE)
    assert registry.spent() == pytest.approx({"otter": 0.1})


def test_the_next_offer_after_one_that_was_taken_back_is_booked_at_its_own_price(
    registry: Registry, clock: Clock
) -> None:
    registry.add(Machine("otter", "aws", RENTED, state=S.BOOTING, created_at=clock.now))
    clock.now += 100
    dearer = replace(RENTED, price=7.2)
    registry.update("otter", state=S.CREATING, offer=dearer, created_at=clock.now)
    registry.update("otter", state=S.BOOTING)
    clock.now += 100
    assert registry.spent() == pytest.approx({"otter": 0.3})


def test_each_notebook_has_its_share(registry: Registry, clock: Clock) -> None:
    launched(registry, clock)
    registry.bind("a.ipynb", "otter")
    clock.now += 100
    registry.bind("b.ipynb", "otter")
    clock.now += 100
    shares = [(c.notebook, c.cost(0, clock.now)) for c in registry.charges()]
    assert shares == [("a.ipynb", pytest.approx(0.2)), ("b.ipynb", pytest.approx(0.1))]


def test_a_charge_over_midnight_falls_on_two_days() -> None:
    evening = datetime(2030, 5, 17, 23).timestamp()
    night = Charge("otter", "", 1.0, evening, evening + 3 * 3600)
    assert [part.cost(0, 2e9) for part in night.days(2e9)] == pytest.approx([1.0, 2.0])


def test_a_day_begins_at_midnight_here() -> None:
    noon = datetime(2030, 5, 17, 12).timestamp()
    assert datetime.fromtimestamp(midnight(noon)) == datetime(2030, 5, 17)
    assert datetime.fromtimestamp(midnight(noon, days=1)) == datetime(2030, 5, 18)
