"""What every provider must do; a new one adds a rig and changes nothing here."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.model import Address, MachineSpec, Offer, Presence
from jupyter_gpu_remote.offers import rank
from jupyter_gpu_remote.providers.base import load_provider, provider_names

from ..conftest import wait_for
from .rigs.installed import RIGS
from .rigs.providers import ProviderRig, login


@pytest.fixture(params=RIGS, ids=lambda cls: cls.name)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProviderRig]:
    rig: ProviderRig = request.param(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def offer(rig: ProviderRig) -> Offer:
    return rank(rig.provider().offers(rig.fitting[0]), rig.fitting[0])[0]


def running(rig: ProviderRig, provider_id: str) -> Address:
    """Wait until the machine runs and return where it is."""
    wait_for(
        lambda: rig.provider().describe(provider_id).presence is not Presence.PENDING,
        "the machine to run",
        rig.limit,
    )
    found = rig.provider().describe(provider_id)
    assert found.presence is Presence.RUNNING and found.address
    return found.address


def deleted(rig: ProviderRig, provider_id: str) -> bool:
    """Delete once more, as callers do, and return whether the machine is gone."""
    rig.provider().delete(provider_id)
    return rig.provider().describe(provider_id).presence is Presence.GONE


def create_elsewhere(name: str, settings: dict[str, Any], offer: Offer, spec: MachineSpec) -> str:
    """Create as another process does."""
    return load_provider(name, GpuRemote(**settings)).create(offer, spec)


def test_every_installed_provider_has_a_rig() -> None:
    assert sorted(r.name for r in RIGS) == provider_names()


def test_offers_fit_the_request(rig: ProviderRig) -> None:
    for request in rig.fitting:
        offers = list(rig.provider().offers(request))
        assert offers and {o.provider for o in offers} == {rig.name}
        assert len(rank(offers, request)) == len(offers)


def test_a_request_that_cannot_be_met_has_no_offers(rig: ProviderRig) -> None:
    for request in rig.unfit:
        assert list(rig.provider().offers(request)) == []


def test_a_created_machine_comes_to_run(rig: ProviderRig, offer: Offer) -> None:
    running(rig, rig.provider().create(offer, rig.spec()))


def test_a_running_machine_lets_its_key_in_and_shows_the_host_key_it_was_given(
    rig: ProviderRig, offer: Offer
) -> None:
    address = running(rig, rig.provider().create(offer, rig.spec()))
    said = subprocess.run([*login(rig, address), "echo it is; exit 3"], capture_output=True, timeout=30)
    assert (said.returncode, said.stdout, said.stderr) == (3, b"it is\n", b"")


def test_the_same_token_gives_the_same_machine(rig: ProviderRig, offer: Offer) -> None:
    first = rig.provider().create(offer, rig.spec())
    running(rig, first)
    assert rig.provider().create(offer, rig.spec()) == first
    assert len(rig.provider().machines()) == 1


def test_threads_that_create_with_one_token_get_one_machine(rig: ProviderRig, offer: Offer) -> None:
    spec = rig.spec()
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: rig.provider().create(offer, spec), range(8)))
    assert len(ids) == 1 and len(rig.provider().machines()) == 1


def test_processes_that_create_with_one_token_get_one_machine(rig: ProviderRig, offer: Offer) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        ids = set(pool.starmap(create_elsewhere, [(rig.name, rig.settings, offer, rig.spec())] * 6))
    assert len(ids) == 1 and len(rig.provider().machines()) == 1
    running(rig, ids.pop())


def test_a_machine_is_listed_with_its_name_and_tags(rig: ProviderRig, offer: Offer) -> None:
    spec = rig.spec()
    created = rig.provider().create(offer, spec)
    (listed,) = rig.provider().machines()
    assert (listed.provider_id, listed.name, listed.tags) == (created, spec.name, spec.tags)


def test_a_deleted_machine_is_gone_and_nothing_is_left(rig: ProviderRig, offer: Offer) -> None:
    created = rig.provider().create(offer, rig.spec())
    running(rig, created)
    wait_for(lambda: deleted(rig, created), "the machine to be gone", rig.limit)
    assert rig.leftovers() == []
    assert list(rig.provider().machines()) == []


def test_a_machine_can_be_deleted_while_it_starts(rig: ProviderRig, offer: Offer) -> None:
    created = rig.provider().create(offer, rig.spec())
    wait_for(lambda: deleted(rig, created), "the machine to be gone", rig.limit)
    assert rig.leftovers() == []


def test_a_delete_may_be_repeated(rig: ProviderRig, offer: Offer) -> None:
    created = rig.provider().create(offer, rig.spec())
    wait_for(lambda: deleted(rig, created), "the machine to be gone", rig.limit)
    assert deleted(rig, created)


def test_threads_may_delete_at_the_same_time(rig: ProviderRig, offer: Offer) -> None:
    created = rig.provider().create(offer, rig.spec())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: rig.provider().delete(created), range(4)))
    wait_for(lambda: deleted(rig, created), "the machine to be gone", rig.limit)
    assert rig.leftovers() == []


NO_IDS = ["", "..", "../../etc", "a b\n", "$(reboot)", "-oProxyCommand=x", "ünï", "x" * 200]


@pytest.mark.parametrize("bad", NO_IDS)
def test_an_id_that_no_machine_has_is_gone_and_may_be_deleted(rig: ProviderRig, bad: str) -> None:
    assert rig.provider().describe(bad).presence is Presence.GONE
    rig.provider().delete(bad)


def test_an_unknown_machine_is_gone(rig: ProviderRig) -> None:
    assert rig.provider().describe(rig.unknown_id).presence is Presence.GONE


def test_a_machine_that_was_killed_is_reported_and_can_be_deleted(rig: ProviderRig, offer: Offer) -> None:
    created = rig.provider().create(offer, rig.spec())
    running(rig, created)
    rig.kill(created)
    wait_for(
        lambda: rig.provider().describe(created).presence is rig.presence_when_killed,
        f"the provider to say {rig.presence_when_killed.value}",
        rig.limit,
    )
    wait_for(lambda: deleted(rig, created), "the machine to be gone", rig.limit)
    assert rig.leftovers() == []


def test_the_name_of_a_deleted_machine_may_be_used_again(rig: ProviderRig, offer: Offer) -> None:
    first = rig.provider().create(offer, rig.spec())
    wait_for(lambda: deleted(rig, first), "the machine to be gone", rig.limit)
    running(rig, rig.provider().create(offer, rig.spec(token="token-2")))
