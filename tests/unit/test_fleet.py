from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from jupyter_gpu_remote import market, names, removal, rental
from jupyter_gpu_remote.config import GpuRemote, state_dir
from jupyter_gpu_remote.errors import (
    BudgetError,
    ConfigurationError,
    ConflictError,
    GpuRemoteError,
    KernelError,
    MachineNotFoundError,
    MachinePreemptedError,
    NoCapacityError,
    ProviderAuthError,
    ProviderError,
    QuotaError,
    RulesOut,
)
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import GpuRequest, Machine, MachineSpec, MachineState, Offer
from jupyter_gpu_remote.owner import installation
from jupyter_gpu_remote.registry import Registry
from tests.fake_cloud import CHEAP, DEAR, DEAREST, FakeProvider, install, prepare_in, silent

S = MachineState
T4 = GpuRequest(gpu="T4", cloud="fake")
ANY_CLOUD = GpuRequest(gpu="T4")


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def fleet(registry: Registry, cloud: type[FakeProvider]) -> Fleet:
    return Fleet(GpuRemote(launch_timeout=20.0, ingress="192.0.2.9"), registry)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeProvider]]:
    class Cloud(FakeProvider):
        hooks: dict[str, Callable[..., Any]] = {}

    install(monkeypatch, Cloud)
    monkeypatch.setattr(rental, "SETTLE_LIMIT", 0.2)
    yield Cloud


def launch(fleet: Fleet, registry: Registry, request: GpuRequest = T4, notebook: str = "nb") -> Machine:
    return fleet.launch(request, notebook, silent, prepare_in(registry))


def raising(error: BaseException) -> Callable[..., None]:
    def hook(*args: Any) -> None:
        raise error

    return hook


def only_row(registry: Registry) -> Machine:
    (machine,) = registry.machines(ended=True)
    return machine


def assert_nothing_left(registry: Registry, cloud: type[FakeProvider]) -> None:
    assert cloud.rented() == {}
    assert registry.machines() == []
    keys = state_dir() / "keys"
    assert not keys.exists() or list(keys.iterdir()) == []


# launch


def test_a_launch_rents_the_cheapest_machine_and_brings_it_to_ready(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    machine = launch(fleet, registry)
    ((provider_id, rented),) = cloud.rented().items()
    assert (machine.state, machine.offer, machine.provider_id) == (S.READY, CHEAP, provider_id)
    assert (rented["name"], rented["token"], machine.python) == (machine.name, machine.token, "/py")
    assert machine.address is not None and machine.address.key_file is not None
    assert machine.address.key_file.stat().st_mode & 0o777 == 0o600
    assert (machine.address.key_file.parent / "host.pub").read_text().startswith("ssh-ed25519 ")


def test_a_launched_machine_is_bound_to_its_notebook_and_found_again(
    fleet: Fleet, registry: Registry
) -> None:
    machine = launch(fleet, registry)
    assert fleet.find(T4, "nb") == machine
    assert fleet.find(GpuRequest(), "nb") == machine
    assert fleet.find(GpuRequest(), "other notebook") is None


def test_the_intent_is_in_the_registry_before_the_cloud_is_asked(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    seen: list[Machine] = []
    cloud.hooks["create"] = lambda offer, spec: seen.append(registry.get(spec.name))
    launch(fleet, registry)
    assert [(m.state, m.offer, bool(m.token)) for m in seen] == [(S.CREATING, CHEAP, True)]


def test_every_state_of_a_launch_is_an_event_in_order(fleet: Fleet, registry: Registry) -> None:
    launch(fleet, registry)
    states = [e.data["to"] for e in registry.events(since=0) if "to" in e.data]
    assert states == ["requested", "creating", "booting", "connecting", "preparing", "ready"]


def test_the_status_line_hears_of_each_phase(fleet: Fleet, registry: Registry) -> None:
    phases: list[str] = []
    fleet.launch(T4, "", lambda phase, text: phases.append(phase), prepare_in(registry))
    assert list(dict.fromkeys(phases)) == ["offers", "creating", "booting"]


def test_names_are_never_used_twice(
    fleet: Fleet, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_HOW", "brave")
    monkeypatch.setattr(names, "_WHO", "otter")
    first, second = launch(fleet, registry), launch(fleet, registry)
    assert first.name == "brave-otter" and second.name.startswith("brave-otter-")


@pytest.mark.parametrize("refusal", [NoCapacityError, QuotaError])
def test_after_a_refusal_the_next_offer_is_tried_with_a_token_of_its_own(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], refusal: type[ProviderError]
) -> None:
    tokens: list[str] = []

    def create(offer: Offer, spec: MachineSpec) -> None:
        tokens.append(spec.token)
        if offer == CHEAP:
            raise refusal("none left")

    cloud.hooks["create"] = create
    assert launch(fleet, registry).offer == DEAR
    assert len(set(tokens)) == 2


def test_a_quota_is_not_run_into_twice(fleet: Fleet, registry: Registry, cloud: type[FakeProvider]) -> None:
    cloud.offered = [replace(CHEAP, zone=f"west-{i}") for i in range(5)] + [DEAR]
    asked: list[Offer] = []

    def create(offer: Offer, spec: MachineSpec) -> None:
        asked.append(offer)
        if offer.region == "west":
            raise QuotaError("0 vCPUs allowed")

    cloud.hooks["create"] = create
    launch(fleet, registry)
    assert [o.region for o in asked] == ["west", "east"]


def test_a_cloud_that_does_not_let_us_in_is_asked_once(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    asked: list[Offer] = []

    def create(offer: Offer, spec: MachineSpec) -> None:
        asked.append(offer)
        raise ProviderAuthError("ec2:RunInstances is not allowed")

    cloud.hooks["create"] = create
    with pytest.raises(ProviderAuthError, match="RunInstances"):
        launch(fleet, registry)
    assert len(asked) == 1


def test_a_spot_machine_is_taken_unless_another_is_asked_for(fleet: Fleet) -> None:
    assert [o.spot for o in fleet.plan(GpuRequest(gpu="T4"))] == [True, True]
    assert [o.spot for o in fleet.plan(GpuRequest(gpu="T4", spot=False))] == [False]


def test_spot_falls_back_to_on_demand_only_where_that_is_allowed(
    registry: Registry, cloud: type[FakeProvider]
) -> None:
    allowed = Fleet(GpuRemote(spot_or_on_demand=True), registry)
    assert [o.spot for o in allowed.plan(GpuRequest(gpu="T4"))] == [True, True, False]


def test_where_there_is_no_spot_machine_the_price_on_demand_is_said(
    fleet: Fleet, cloud: type[FakeProvider]
) -> None:
    cloud.offered = (DEAREST,)
    with pytest.raises(NoCapacityError) as e:
        fleet.plan(GpuRequest(gpu="T4"))
    assert "$2.00/h" in e.value.hint and "--spot-or-on-demand" in e.value.hint


def test_a_machine_taken_back_while_it_boots_is_followed_by_the_next_offer(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    def take_back(provider_id: str) -> None:
        machine = cloud.rented().get(provider_id)
        if machine and machine["zone"] == CHEAP.zone and not machine["deletes"]:
            cloud.put(provider_id, **{**machine, "presence": "preempted"})

    cloud.hooks["describe"] = take_back
    machine = launch(fleet, registry)
    assert machine.offer == DEAR
    assert [m["zone"] for m in cloud.rented().values() if not m["deletes"]] == [DEAR.zone]


def test_a_machine_that_ends_while_ssh_is_awaited_is_followed_by_the_next_offer(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    def prepare(machine: Machine) -> None:
        if machine.offer == CHEAP:
            cloud.put(machine.provider_id, **{**cloud.rented()[machine.provider_id], "presence": "preempted"})
            fleet.check(machine.name)
        prepare_in(registry)(machine)

    assert fleet.launch(T4, "nb", silent, prepare).offer == DEAR


REFUSED = {
    RulesOut.OFFER: 13,
    RulesOut.MARKET: 3,
    RulesOut.REGION: 3,
    RulesOut.GPU: 1,
    RulesOut.CLOUD: 1,
    None: 1,
}


@pytest.mark.parametrize("steer", REFUSED, ids=str)
def test_a_refusal_rules_out_what_would_be_refused_too(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], steer: RulesOut | None
) -> None:
    zones = [("us-east-1", z) for z in "abcdef"] + [("us-west-2", z) for z in "abcd"]
    zones += [("eu-west-1", z) for z in "abc"]
    cloud.offered = [replace(CHEAP, region=region, zone=region + z) for region, z in zones]
    tried: list[str] = []

    def refuse(offer: Offer, spec: MachineSpec) -> None:
        tried.append(offer.zone)
        raise ProviderError("no", rules_out=steer, cloud_code="TheirCode")

    cloud.hooks["create"] = refuse
    with pytest.raises(ProviderError) as e:
        launch(fleet, registry)
    assert len(tried) == REFUSED[steer]
    assert len(str(e.value).splitlines()) <= 10
    assert "TheirCode" in str(e.value) or steer in (RulesOut.GPU, RulesOut.CLOUD, None)


def test_a_launch_is_refused_when_the_daily_budget_is_spent(
    registry: Registry, cloud: type[FakeProvider]
) -> None:
    registry.add(Machine("otter", "fake", DEAREST, state=S.READY, created_at=time.time() - 3600))
    with pytest.raises(BudgetError) as e:
        launch(Fleet(GpuRemote(daily_budget=2.0), registry), registry)
    assert "otter" in e.value.billed and "$2.00" in e.value.message


def test_a_budget_limits_how_long_a_machine_may_exist(registry: Registry, cloud: type[FakeProvider]) -> None:
    seen: list[MachineSpec] = []
    cloud.hooks["create"] = lambda offer, spec: seen.append(spec)
    machine = launch(Fleet(GpuRemote(budget=1.0, ingress="192.0.2.9"), registry), registry)
    assert seen[0].max_seconds == 7200.0 and machine.ends_at == machine.created_at + 7200.0


def test_a_budget_that_pays_for_nothing_is_refused(registry: Registry, cloud: type[FakeProvider]) -> None:
    with pytest.raises(ConfigurationError, match="pays for"):
        launch(Fleet(GpuRemote(budget=0.01, ingress="192.0.2.9"), registry), registry)
    assert not cloud.rented()


def test_this_computer_is_let_in_under_its_new_address(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    admitted: list[str] = []
    cloud.admit = lambda self, provider_id, ingress: admitted.append(ingress)  # type: ignore[method-assign]
    machine = launch(fleet, registry)
    moved = Fleet(GpuRemote(ingress="198.51.100.7"), registry)
    moved.check(machine.name)
    moved.check(machine.name)
    assert (machine.ingress, admitted) == ("192.0.2.9/32", ["198.51.100.7/32"])


def test_when_every_offer_is_refused_the_error_names_each_and_says_that_nothing_was_rented(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.hooks["create"] = raising(NoCapacityError("none left"))
    with pytest.raises(NoCapacityError) as e:
        launch(fleet, registry)
    assert all(o.zone in e.value.message for o in (CHEAP, DEAR))
    assert e.value.billed == "nothing was rented."
    assert only_row(registry).state is S.FAILED
    assert registry.spent(0) == {}
    assert_nothing_left(registry, cloud)


FAILURES: dict[str, Callable[[type[FakeProvider], BaseException], None]] = {
    "before the cloud heard of it": lambda c, e: c.hooks.update(create=raising(e)),
    "after the cloud made it": lambda c, e: c.hooks.update(created=raising(e)),
    "while it boots": lambda c, e: c.hooks.update(describe=fail_until_deleted(c, e)),
}


def fail_until_deleted(cloud: type[FakeProvider], error: BaseException) -> Callable[..., None]:
    def hook(provider_id: str) -> None:
        if all(not m["deletes"] for m in cloud.rented().values()) and cloud.rented():
            raise error

    return hook


@pytest.mark.parametrize("point", FAILURES)
@pytest.mark.parametrize(
    "error", [ProviderError("HTTP 500"), KeyboardInterrupt(), ZeroDivisionError()], ids=repr
)
def test_whatever_fails_wherever_nothing_is_left(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], point: str, error: BaseException
) -> None:
    FAILURES[point](cloud, error)
    with pytest.raises(type(error)):
        launch(fleet, registry)
    assert_nothing_left(registry, cloud)
    assert only_row(registry).state is (S.FAILED if isinstance(error, Exception) else S.GONE)
    assert registry.lease_owner(only_row(registry).name) is None


@pytest.mark.parametrize("error", [KernelError("no python"), KeyboardInterrupt()], ids=repr)
def test_a_machine_that_cannot_be_prepared_is_deleted(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], error: BaseException
) -> None:
    with pytest.raises(type(error)):
        fleet.launch(T4, "nb", silent, raising(error))
    assert_nothing_left(registry, cloud)
    if isinstance(error, GpuRemoteError):
        assert error.billed == f"nothing any more, {only_row(registry).name} was deleted."
        assert only_row(registry).note == "no python"


@pytest.mark.parametrize("phase", ["offers", "creating", "booting"])
def test_an_interrupt_from_the_status_line_cancels_in_each_phase(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], phase: str
) -> None:
    def report(now: str, text: str) -> None:
        if now in (phase, "cancelled", "deleting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet.launch(T4, "", report, prepare_in(registry))
    assert_nothing_left(registry, cloud)


def test_a_create_that_is_listed_late_is_found_and_deleted(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rental, "SETTLE_LIMIT", 30)
    late: list[dict[str, Any]] = []

    def created(offer: Offer, spec: MachineSpec) -> None:
        ((provider_id, machine),) = cloud.rented().items()
        late.append(machine | {"id": provider_id})
        (cloud.folder() / f"{provider_id}.json").unlink()
        raise KeyboardInterrupt

    def machines() -> None:
        if late:
            machine = late.pop()
            cloud.hooks["machines"] = lambda: (
                cloud.put(machine.pop("id"), **machine) if "id" in machine else None
            )

    cloud.hooks.update(created=created, machines=machines)
    with pytest.raises(KeyboardInterrupt):
        launch(fleet, registry)
    assert_nothing_left(registry, cloud)


def test_a_machine_that_never_comes_up_is_deleted_and_the_error_names_the_setting(
    registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.boot_polls = 10**9
    with pytest.raises(ProviderError, match="was not up") as e:
        launch(Fleet(GpuRemote(launch_timeout=1.0, ingress="192.0.2.9"), registry), registry)
    assert "launch_timeout" in e.value.hint and "was deleted" in e.value.billed
    assert_nothing_left(registry, cloud)


@pytest.mark.parametrize(
    ("presence", "error"), [("preempted", MachinePreemptedError), ("gone", ProviderError)]
)
def test_a_machine_that_ends_while_it_boots_is_reported(
    fleet: Fleet,
    registry: Registry,
    cloud: type[FakeProvider],
    presence: str,
    error: type[ProviderError],
) -> None:
    def describe(provider_id: str) -> None:
        if machine := cloud.rented().get(provider_id):
            cloud.put(provider_id, **machine | {"presence": presence})

    cloud.hooks["describe"] = describe
    with pytest.raises(error):
        launch(fleet, registry)
    assert registry.machines() == []


def test_a_cloud_that_stumbles_while_it_is_asked_does_not_end_a_launch(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    errors = [ProviderError("HTTP 503")] * 3

    def describe(provider_id: str) -> None:
        if errors:
            raise errors.pop()

    cloud.hooks["describe"] = describe
    assert launch(fleet, registry).state is S.READY


def test_when_the_undoing_fails_the_error_says_what_may_be_billed_and_reaping_finishes_it(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.hooks["delete"] = raising(ProviderAuthError("the token expired"))
    with pytest.raises(KernelError) as e:
        fleet.launch(T4, "nb", silent, raising(KernelError("no python")))
    (machine,) = registry.machines()
    assert machine.state is S.DELETING
    assert f"{machine.name} may still be billed" in e.value.billed and "the token expired" in e.value.billed
    assert "jupyter gpu-remote reap" in e.value.hint
    cloud.hooks.clear()
    fleet.reap()
    assert_nothing_left(registry, cloud)


def test_a_machine_that_is_deleted_during_its_launch_does_not_come_back(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.hooks["created"] = lambda offer, spec: Fleet(GpuRemote(), Registry()).delete(spec.name, silent)
    with pytest.raises(ConflictError):
        launch(fleet, registry)
    assert_nothing_left(registry, cloud)


def test_a_machine_that_is_deleted_before_the_cloud_made_it_is_deleted_by_its_launch(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.hooks["create"] = lambda offer, spec: Fleet(GpuRemote(), Registry()).delete(spec.name, silent)
    with pytest.raises(ConflictError):
        launch(fleet, registry)
    assert_nothing_left(registry, cloud)


# offers


def provider(called: str, answer: list[Offer] | BaseException) -> type[FakeProvider]:
    class Other(FakeProvider):
        name = called
        offered = [] if isinstance(answer, BaseException) else answer
        hooks = {"offers": raising(answer)} if isinstance(answer, BaseException) else {}

    return Other


def test_offers_of_all_clouds_come_cheapest_first(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    cheaper = replace(CHEAP, provider="b", price=0.1)
    install(monkeypatch, provider("a", [DEAR, CHEAP]), provider("b", [cheaper]))
    assert fleet.offers(ANY_CLOUD) == [cheaper, CHEAP, DEAR]


@pytest.mark.parametrize(
    "error", [ProviderAuthError("no credentials"), ProviderError("x"), ValueError()], ids=repr
)
def test_a_cloud_that_fails_does_not_hide_the_others(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    install(monkeypatch, provider("a", error), provider("b", [CHEAP]))
    assert fleet.offers(ANY_CLOUD) == [CHEAP]


def test_a_cloud_that_hangs_does_not_hide_the_others(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = threading.Event()
    hanging = provider("a", [DEAR])
    hanging.hooks = {"offers": lambda request: freed.wait(30)}
    install(monkeypatch, hanging, provider("b", [CHEAP]))
    monkeypatch.setattr(market, "OFFERS_LIMIT", 0.2)
    try:
        assert fleet.offers(ANY_CLOUD) == [CHEAP]
    finally:
        freed.set()


def test_without_credentials_the_error_lists_what_was_looked_at_and_the_line_to_try(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = Offer("local", "this computer", stand_in_for="T4")
    install(
        monkeypatch,
        provider("aws", ProviderAuthError("no profile in ~/.aws")),
        provider("gcp", ConfigurationError("google-cloud-compute is not installed")),
        provider("local", [stand_in]),
    )
    with pytest.raises(ConfigurationError) as e:
        fleet.offers(ANY_CLOUD)
    for part in ("aws: no profile in ~/.aws", "gcp: google-cloud-compute is not installed", "local: nothing"):
        assert part in e.value.message
    assert "--cloud local --gpu T4" in e.value.hint


def test_a_stand_in_is_only_for_who_names_its_cloud(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = Offer("local", "this computer", stand_in_for="T4")
    install(monkeypatch, provider("local", [stand_in]), provider("aws", [DEAR]))
    assert fleet.offers(ANY_CLOUD) == [DEAR]
    assert fleet.offers(GpuRequest(gpu="T4", cloud="local")) == [stand_in]


def test_without_gpu_and_cloud_only_this_computer_is_asked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    cpu = Offer("local", "this computer")
    install(monkeypatch, provider("local", [cpu]), provider("aws", [DEAR]), loaded=loaded)
    assert fleet.offers(GpuRequest()) == [cpu]
    assert loaded == ["local"]


def test_a_request_that_names_neither_gpu_nor_cloud_never_costs_money(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, provider("local", [replace(DEAR, provider="local")]))
    with pytest.raises(NoCapacityError):
        fleet.offers(GpuRequest())


def test_the_error_of_the_one_cloud_asked_for_is_raised_as_it_is(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ProviderAuthError("log in again", hint="aws sso login")
    install(monkeypatch, provider("aws", error), provider("b", [CHEAP]))
    with pytest.raises(ProviderAuthError) as e:
        fleet.offers(GpuRequest(gpu="T4", cloud="aws"))
    assert e.value is error


def test_too_low_a_price_finds_nothing(fleet: Fleet) -> None:
    with pytest.raises(NoCapacityError, match="nothing that fits"):
        fleet.offers(replace(T4, max_price=0.1))


# find


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"gpu": "A100"}, False),
        ({"count": 2}, False),
        ({"cloud": "aws"}, False),
        ({"cloud": ""}, True),
        ({"spot": False}, False),
        ({"max_price": 0.1}, False),
        ({"region": "east"}, False),
    ],
)
def test_a_bound_machine_is_used_only_if_it_fits(
    fleet: Fleet, registry: Registry, changes: dict[str, Any], fits: bool
) -> None:
    machine = launch(fleet, registry)
    assert fleet.find(replace(T4, **changes), "nb") == (machine if fits else None)


def test_a_bound_machine_with_more_gpus_than_asked_for_is_used(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.offered = [replace(CHEAP, count=4)]
    machine = launch(fleet, registry, replace(T4, count=4))
    assert fleet.find(T4, "nb") == machine


@pytest.mark.parametrize("state", [S.DELETING, S.PREEMPTED])
def test_a_bound_machine_on_its_way_out_is_not_used(fleet: Fleet, registry: Registry, state: S) -> None:
    registry.update(launch(fleet, registry).name, state=state)
    assert fleet.find(T4, "nb") is None


def test_a_machine_is_found_by_its_name_from_any_notebook(fleet: Fleet, registry: Registry) -> None:
    machine = launch(fleet, registry)
    assert fleet.find(GpuRequest(on=machine.name), "other") == machine


def test_a_machine_is_found_by_what_its_provider_calls_it(fleet: Fleet, registry: Registry) -> None:
    machine = launch(fleet, registry)
    assert fleet.find(GpuRequest(on=machine.provider_id, cloud="fake"), "other") == machine
    assert fleet.find(GpuRequest(on=machine.provider_id, cloud="aws"), "other") is None


def test_an_unknown_name_is_answered_with_the_one_that_was_meant(fleet: Fleet, registry: Registry) -> None:
    name = launch(fleet, registry).name
    with pytest.raises(MachineNotFoundError) as e:
        fleet.find(GpuRequest(on=name + "x"), "nb")
    assert f"Did you mean {name}?" in e.value.hint and "--cloud ssh" in e.value.hint


def test_a_name_that_the_cloud_does_not_know_rents_nothing(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    request = GpuRequest(cloud="fake", on="nobody")
    assert fleet.find(request, "nb") is None
    with pytest.raises(MachineNotFoundError, match="'nobody' at fake"):
        launch(fleet, registry, request)
    assert_nothing_left(registry, cloud)


def test_a_name_of_a_machine_that_has_ended_is_answered_with_how(fleet: Fleet, registry: Registry) -> None:
    name = launch(fleet, registry).name
    fleet.delete(name, silent)
    with pytest.raises(MachineNotFoundError, match="has ended: deleted"):
        fleet.find(GpuRequest(on=name), "nb")


def test_a_named_machine_that_is_not_what_is_asked_for_is_refused(fleet: Fleet, registry: Registry) -> None:
    name = launch(fleet, registry).name
    with pytest.raises(ConfigurationError, match="T4"):
        fleet.find(GpuRequest(on=name, gpu="A100"), "nb")


def test_a_named_machine_that_is_still_being_launched_is_refused(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    refusals: list[str] = []

    def created(offer: Offer, spec: MachineSpec) -> None:
        with pytest.raises(ConflictError) as e:
            fleet.find(GpuRequest(on=spec.name), "nb")
        refusals.append(e.value.message)

    cloud.hooks["created"] = created
    launch(fleet, registry)
    assert "is creating" in refusals[0]


# delete


def test_a_delete_is_repeated_until_the_machine_is_gone(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    cloud.delete_calls_needed = 3
    name = launch(fleet, registry).name
    fleet.delete(name, silent)
    assert registry.get(name).state is S.GONE
    assert fleet.find(GpuRequest(), "nb") is None
    assert_nothing_left(registry, cloud)


def test_a_delete_goes_on_after_the_cloud_stumbled(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    name = launch(fleet, registry).name
    errors = [ProviderError("HTTP 503")] * 3
    cloud.hooks["delete"] = lambda provider_id: raising(errors.pop())() if errors else None
    fleet.delete(name, silent)
    assert_nothing_left(registry, cloud)


def test_a_delete_that_has_no_end_says_what_may_be_billed_and_where_to_look(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "DELETE_LIMIT", 0.1)
    cloud.delete_calls_needed = 10**9
    machine = launch(fleet, registry)
    with pytest.raises(ProviderError) as e:
        fleet.delete(machine.name, silent)
    assert machine.provider_id in e.value.billed and "may still be billed" in e.value.billed
    assert f"jupyter gpu-remote down {machine.name}" in e.value.hint
    assert registry.get(machine.name).state is S.DELETING


def test_a_delete_that_is_interrupted_can_be_repeated(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    name = launch(fleet, registry).name

    with pytest.raises(KeyboardInterrupt):
        fleet.delete(name, raising(KeyboardInterrupt()))
    assert registry.get(name).state is S.DELETING
    fleet.delete(name, silent)
    assert_nothing_left(registry, cloud)


def test_deleting_what_is_gone_does_nothing(fleet: Fleet, registry: Registry) -> None:
    name = launch(fleet, registry).name
    fleet.delete(name, silent)
    fleet.delete(name, silent)


def test_deleting_an_unknown_machine_is_an_error(fleet: Fleet) -> None:
    with pytest.raises(MachineNotFoundError):
        fleet.delete("nobody", silent)


# reap


def test_reaping_leaves_machines_in_use_alone(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    name = launch(fleet, registry).name
    registry.update(name, state=S.CONNECTING)  # connecting again, after a cut
    assert fleet.reap() == []
    assert registry.get(name).state is S.CONNECTING and len(cloud.rented()) == 1


def test_reaping_leaves_a_launch_that_goes_on_alone(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    said: list[list[str]] = []
    for point in ("create", "created", "describe"):
        cloud.hooks[point] = lambda *args: said.append(Fleet(GpuRemote(), Registry()).reap())
    assert launch(fleet, registry).state is S.READY
    assert len(said) > 2 and not any(said)


@pytest.mark.parametrize(("presence", "state"), [("gone", S.GONE), ("preempted", S.PREEMPTED)])
def test_reaping_ends_a_machine_that_its_cloud_says_has_ended(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], presence: str, state: S
) -> None:
    machine = launch(fleet, registry)
    rented = cloud.rented()[machine.provider_id]
    cloud.put(machine.provider_id, **rented | {"presence": presence})
    (said,) = fleet.reap()
    assert machine.name in said and presence in said
    assert registry.get(machine.name).state is state


def test_a_notebook_whose_rented_machine_has_ended_is_told_so(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    machine = launch(fleet, registry)
    cloud.put(machine.provider_id, **cloud.rented()[machine.provider_id] | {"presence": "preempted"})
    fleet.reap()
    with pytest.raises(MachineNotFoundError, match="has ended"):
        fleet.find(GpuRequest(), "nb")
    assert fleet.find(GpuRequest(gpu="A100"), "nb") is None


def test_a_machine_that_does_not_answer_is_looked_up(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    machine = launch(fleet, registry)
    fleet.check(machine.name)
    cloud.put(machine.provider_id, **cloud.rented()[machine.provider_id] | {"presence": "gone"})
    with pytest.raises(MachineNotFoundError, match="costs nothing"):
        fleet.check(machine.name)
    assert registry.get(machine.name).state is S.GONE


def test_reaping_deletes_a_machine_of_ours_that_no_row_owns(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    machine = launch(fleet, registry)
    registry.close()
    registry.path.unlink()
    (said,) = fleet.reap()
    assert machine.name in said
    assert cloud.rented() == {}


def test_reaping_leaves_the_machines_of_another_computer_alone(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider]
) -> None:
    machine = launch(fleet, registry)
    rented = cloud.rented()[machine.provider_id]
    tags = rented["tags"] | {removal.OWNER_TAG: "somebody else"}
    cloud.put("i-other", **rented | {"name": "their-machine", "tags": tags})
    assert fleet.reap() == []
    assert "i-other" in cloud.rented()


def test_reaping_says_which_cloud_did_not_answer_and_goes_on(
    fleet: Fleet, registry: Registry, cloud: type[FakeProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = launch(fleet, registry)
    (cloud.folder() / f"{machine.provider_id}.json").unlink()
    broken = provider("broken", [])
    broken.hooks = {"machines": raising(ProviderError("HTTP 500"))}
    install(monkeypatch, cloud, broken)
    said = fleet.reap()
    assert any("broken" in s and "HTTP 500" in s for s in said)
    assert registry.get(machine.name).state is S.GONE


def test_reaping_says_nothing_of_clouds_without_credentials(fleet: Fleet, cloud: type[FakeProvider]) -> None:
    cloud.hooks["machines"] = raising(ProviderAuthError("no credentials"))
    assert fleet.reap() == []


def test_the_installation_has_one_id() -> None:
    assert installation() == installation() != ""
