"""The process that launches a machine is killed in each state; another one cleans up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jupyter_gpu_remote.config import GpuRemote, state_dir
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import MachineState
from jupyter_gpu_remote.registry import Registry
from tests.fake_cloud import FakeProvider, install

S = MachineState

LAUNCH = """
import sys, time
import pytest
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import GpuRequest, MachineState
from jupyter_gpu_remote.registry import Registry
from tests.fake_cloud import FakeProvider, install

point = sys.argv[1]
registry = Registry()
fleet = Fleet(GpuRemote(ingress="192.0.2.9"), registry)

def reached(here):
    def hook(*args):
        if here == point:
            FakeProvider.hooks.clear()
            print("at", here, flush=True)
            time.sleep(60)
    return hook

def report(phase, text):
    reached(f"report {phase}")()

def prepare(machine):
    reached("connecting")()
    registry.update(machine.name, state=MachineState.PREPARING)
    reached("preparing")()
    registry.update(machine.name, state=MachineState.READY, ready_at=time.time())

install(pytest.MonkeyPatch(), FakeProvider)
if point != "deleted":
    FakeProvider.hooks = {h: reached(h) for h in ("create", "created", "describe")}
machine = fleet.launch(GpuRequest(gpu="T4", cloud="fake"), "nb", report, prepare)
reached("ready")()
FakeProvider.hooks["delete"] = reached("deleted")
fleet.delete(machine.name, report)
"""

POINTS = {
    "report creating": S.REQUESTED,
    "create": S.CREATING,
    "created": S.CREATING,
    "describe": S.BOOTING,
    "connecting": S.CONNECTING,
    "preparing": S.PREPARING,
    "deleted": S.DELETING,
}


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeProvider)


@contextmanager
def owner_at(point: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that launches a machine and stays at `point`."""
    argv = [sys.executable, "-c", LAUNCH, point]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == f"at {point}\n", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


def reap() -> list[str]:
    return Fleet(GpuRemote(), Registry()).reap()


def assert_nothing_left() -> None:
    (machine,) = Registry().machines(ended=True)
    assert machine.state.final
    assert FakeProvider.rented() == {}
    assert list((state_dir() / "keys").glob("*")) == []


@pytest.mark.parametrize("point", POINTS)
def test_a_launch_whose_process_is_killed_is_undone_by_another(point: str) -> None:
    with owner_at(point) as owner:
        owner.kill()
        owner.wait(10)
        (machine,) = Registry().machines()
        assert machine.state is POINTS[point]
        (said,) = reap()
    assert machine.name in said
    assert_nothing_left()


@pytest.mark.parametrize("point", [p for p in POINTS if p != "deleted"])
def test_a_launch_whose_process_lives_is_left_alone(point: str) -> None:
    with owner_at(point):
        rented = FakeProvider.rented()
        assert reap() == []
        assert [m.state for m in Registry().machines()] == [POINTS[point]]
        assert FakeProvider.rented() == rented


@pytest.mark.parametrize("point", POINTS)
def test_an_interrupt_leaves_nothing_behind(point: str) -> None:
    with owner_at(point) as owner:
        owner.send_signal(signal.SIGINT)
        assert owner.wait(30) != 0
        assert owner.stderr and owner.stderr.read().rstrip().endswith("KeyboardInterrupt")
        if point == "deleted":  # an interrupted deletion is taken up again
            reap()
    assert_nothing_left()


def test_a_ready_machine_outlives_the_process_that_launched_it() -> None:
    with owner_at("ready") as owner:
        owner.kill()
        owner.wait(10)
        assert reap() == []
    (machine,) = Registry().machines()
    assert machine.state is S.READY and len(FakeProvider.rented()) == 1
    assert Registry().binding("nb") == machine.name


def test_several_that_clean_up_at_once_do_not_disturb_each_other() -> None:
    with owner_at("describe") as owner:
        owner.kill()
        owner.wait(10)
        said: list[str] = []
        threads = [threading.Thread(target=lambda: said.extend(reap())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert_nothing_left()
    assert len([s for s in said if "deleted, nobody was at work" in s]) == 1


def test_a_machine_that_was_being_made_when_its_process_died_is_deleted_once_it_is_listed() -> None:
    with owner_at("created") as owner:
        owner.kill()
        owner.wait(10)
    ((provider_id, machine),) = FakeProvider.rented().items()
    (FakeProvider.folder() / f"{provider_id}.json").unlink()
    reap()
    FakeProvider.put(provider_id, **machine)
    (said,) = reap()
    assert machine["name"] in said
    assert_nothing_left()
