"""Google Cloud as its provider meets it: what a launch asks there, and what each of its refusals leads to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import (
    ConfigurationError,
    NoCapacityError,
    ProviderAuthError,
    ProviderError,
    QuotaError,
    RulesOut,
)
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.keys import key_folder, make_key_pair
from jupyter_gpu_remote.model import GpuRequest, Machine, MachineSpec, MachineState, Offer, Presence
from jupyter_gpu_remote.offers import rank
from jupyter_gpu_remote.providers import gcp_clients
from jupyter_gpu_remote.providers.gcp import GcpProvider
from jupyter_gpu_remote.providers.gcp_machine import decode_label, encode_label
from jupyter_gpu_remote.registry import Registry

from ..conftest import wait_for
from ..emulators.gce import PROJECT, ZONES, Fault, Gce
from ..fake_cloud import install

ROOT = Path(__file__).parents[2]
T4 = GpuRequest(gpu="T4", cloud="gcp", spot=True)
HOME = "203.0.113.7/32"
CREATE = r"compute\.instances\.create"


@pytest.fixture
def gce(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gce]:
    gce = Gce()
    for name, value in gce.environment.items():
        monkeypatch.setenv(name, value)
    yield gce
    gce.close()


@pytest.fixture
def provider(gce: Gce) -> GcpProvider:
    return GcpProvider(GpuRemote())


@pytest.fixture
def fleet(gce: Gce, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    install(monkeypatch, GcpProvider)
    return Fleet(GpuRemote(ingress=HOME), Registry())


def launch(fleet: Fleet, request: GpuRequest = T4) -> Machine:
    def prepare(machine: Machine) -> None:
        for state in (MachineState.PREPARING, MachineState.READY):
            fleet._registry.update(machine.name, state=state)

    return fleet.launch(request, "", lambda phase, text: None, prepare)


def spec(name: str = "m1", token: str = "t1", **more: Any) -> MachineSpec:
    folder = key_folder(name)
    make_key_pair(folder / "host", name)
    given = {"tags": {"gpu-remote-name": name}, "ingress": HOME, **more}
    return MachineSpec(
        name, token, make_key_pair(folder / "user", name), folder / "user", folder / "host", **given
    )


def offer(provider: GcpProvider, **more: Any) -> Offer:
    request = replace(T4, **more)
    return rank(provider.offers(request), request)[0]


def running(provider: GcpProvider, provider_id: str) -> None:
    wait_for(lambda: provider.describe(provider_id).presence is Presence.RUNNING, "the machine to run")


def created(provider: GcpProvider, **more: Any) -> str:
    provider_id = provider.create(offer(provider), spec(**more))
    running(provider, provider_id)
    return provider_id


def shown(gce: Gce, provider_id: str) -> dict[str, Any]:
    """Return a machine as the cloud shows it."""
    zone, _, name = provider_id.partition("/")
    return gce.machines[zone, name].shown


def short(provider_id: str) -> str:
    return provider_id.partition("/")[2]


# a launch through the fleet


def test_a_second_launch_asks_for_little_before_it_asks_for_a_machine(
    gce: Gce, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.delete(launch(fleet).name, lambda phase, text: None)
    monkeypatch.setattr("jupyter_gpu_remote.providers.gcp_market.QUOTAS_KEPT", -1)
    gce.calls.clear()
    launch(fleet)
    before = gce.calls[: next(i for i, call in enumerate(gce.calls) if call.endswith("/instances"))]
    # quotas, who may connect, and the two rules about that
    assert len(before) == 5, before


def test_a_quota_that_is_used_up_costs_one_call_for_each_region(gce: Gce, fleet: Fleet) -> None:
    for region in ("us-central1", "us-east1", "us-west1"):
        gce.refuse_quota("NVIDIA_T4_GPUS", region)
    with pytest.raises(QuotaError):
        launch(fleet)
    tried = [zone.rpartition("-")[0] for zone in gce.inserted]
    assert sorted(tried) == ["us-central1", "us-east1", "us-west1"]
    assert not gce.machines


def test_a_quota_for_all_regions_ends_a_launch_at_the_first_call(gce: Gce, fleet: Fleet) -> None:
    gce.refuse_quota("GPUS_ALL_REGIONS")
    with pytest.raises(QuotaError, match="GPUS_ALL_REGIONS"):
        launch(fleet, replace(T4, spot=None))
    assert len(gce.inserted) == 1


def test_a_missing_permission_ends_a_launch_at_the_first_call_and_is_named(gce: Gce, fleet: Fleet) -> None:
    gce.deny("compute.instances.create")
    with pytest.raises(ProviderAuthError) as caught:
        launch(fleet)
    assert len(gce.inserted) == 1
    assert "compute.instances.create" in caught.value.hint and "docs/gcp.md" in caught.value.hint


def test_a_stock_out_everywhere_is_tried_once_in_each_zone(gce: Gce, fleet: Fleet) -> None:
    gce.exhaust()
    with pytest.raises(NoCapacityError):
        launch(fleet)
    assert sorted(gce.inserted) == sorted(ZONES)
    assert not gce.machines


def test_a_stock_out_moves_on_to_the_next_zone(gce: Gce, fleet: Fleet) -> None:
    gce.exhaust(times=1)
    machine = launch(fleet)
    first, second = gce.inserted
    assert first != second == machine.offer.zone
    assert [zone for zone, _ in gce.machines] == [second]


def test_a_launch_that_may_not_make_firewall_rules_rents_nothing(gce: Gce, fleet: Fleet) -> None:
    gce.deny("compute.firewalls.create")
    with pytest.raises(ProviderAuthError, match="firewalls"):
        launch(fleet)
    assert gce.inserted == []


def test_a_deleted_machine_leaves_nothing_in_the_project(gce: Gce, fleet: Fleet) -> None:
    machine = launch(fleet)
    fleet.delete(machine.name, lambda phase, text: None)
    assert not gce.machines and not gce.firewalls


# what each refusal means


@pytest.mark.parametrize(
    ("code", "message", "status", "kind", "rules_out"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "no", 0, NoCapacityError, RulesOut.ZONE),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "no", 0, NoCapacityError, RulesOut.ZONE),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "no", 503, NoCapacityError, RulesOut.ZONE),
        ("insufficientCapacity", "no", 503, NoCapacityError, RulesOut.ZONE),
        ("RESOURCE_NOT_FOUND", "no", 0, NoCapacityError, RulesOut.ZONE),
        ("UNSUPPORTED_OPERATION", "Instance was preempted", 0, NoCapacityError, RulesOut.ZONE),
        ("QUOTA_EXCEEDED", "Quota 'GPUS_ALL_REGIONS' exceeded", 0, QuotaError, RulesOut.GPU),
        ("quotaExceeded", "Quota 'GPUS_ALL_REGIONS' exceeded", 403, QuotaError, RulesOut.GPU),
        ("QUOTA_EXCEEDED", "Quota 'NVIDIA_T4_GPUS' exceeded", 0, QuotaError, RulesOut.MARKET),
        ("quotaExceeded", "Quota 'NVIDIA_T4_GPUS' exceeded", 403, QuotaError, RulesOut.MARKET),
        ("quotaExceeded", "Quota 'IN_USE_ADDRESSES' exceeded", 403, QuotaError, RulesOut.REGION),
        ("IAM_PERMISSION_DENIED", "no", 403, ProviderAuthError, RulesOut.CLOUD),
        ("IAM_PERMISSION_DENIED", "no", 0, ProviderAuthError, RulesOut.CLOUD),
        ("forbidden", "Policy update access denied.", 403, ProviderAuthError, RulesOut.CLOUD),
        ("accessNotConfigured", "API is disabled", 403, ProviderAuthError, RulesOut.CLOUD),
        ("conditionNotMet", "Constraint constraints/x violated", 412, ProviderAuthError, RulesOut.CLOUD),
        ("invalid", "Invalid value for field 'resource.disks[0]'", 400, ProviderError, None),
        ("invalid", "Invalid value for field 'resource.machineType'", 400, ProviderError, None),
        ("INVALID_FIELD_VALUE", "image", 0, ProviderError, None),
        ("notFound", "'projects/p/global/images/x' was not found", 404, ProviderError, None),
        (
            "notFound",
            "'projects/p/zones/z/acceleratorTypes/x' was not found",
            404,
            NoCapacityError,
            RulesOut.ZONE,
        ),
    ],
)
def test_each_refusal_says_what_to_do_next(
    gce: Gce,
    provider: GcpProvider,
    code: str,
    message: str,
    status: int,
    kind: type[ProviderError],
    rules_out: RulesOut | None,
) -> None:
    there = offer(provider)
    gce.fail(Fault(CREATE, ".*", code, message, status))
    with pytest.raises(ProviderError) as caught:
        provider.create(there, spec())
    assert (type(caught.value), caught.value.rules_out) == (kind, rules_out)
    assert caught.value.cloud_code == code and message.rstrip(".") in caught.value.message
    assert len(gce.inserted) == 1 and not gce.machines


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("RESOURCE_NOT_READY", 0),
        ("RESOURCE_OPERATION_RATE_EXCEEDED", 0),
        ("resourceNotReady", 400),
        ("rateLimitExceeded", 403),
        ("backendError", 500),
        ("backendError", 503),
    ],
)
def test_a_busy_cloud_is_asked_again(gce: Gce, provider: GcpProvider, code: str, status: int) -> None:
    there = offer(provider)
    gce.fail(Fault(CREATE, ".*", code, "busy", status, times=2))
    running(provider, provider.create(there, spec()))
    assert len(gce.inserted) == 3 and len(gce.machines) == 1


@pytest.mark.parametrize(
    ("code", "status", "rules_out"),
    [
        ("RESOURCE_NOT_READY", 0, RulesOut.OFFER),
        ("rateLimitExceeded", 403, RulesOut.CLOUD),
        ("backendError", 503, None),  # it may have made a machine all the same
    ],
)
def test_a_cloud_that_stays_busy_is_not_asked_for_ever(
    gce: Gce,
    provider: GcpProvider,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    status: int,
    rules_out: RulesOut | None,
) -> None:
    monkeypatch.setattr(gcp_clients, "REPEAT_LIMIT", 0.3)
    there = offer(provider)
    gce.fail(Fault(CREATE, ".*", code, "busy", status))
    with pytest.raises(ProviderError, match="busy") as caught:
        provider.create(there, spec())
    assert caught.value.rules_out is rules_out and not gce.machines


def test_every_call_survives_a_few_that_are_too_many(gce: Gce, provider: GcpProvider) -> None:
    gce.limit_rate(3)
    provider_id = created(provider)
    gce.limit_rate(2)
    provider.delete(provider_id)
    wait_for(lambda: provider.describe(provider_id).presence is Presence.GONE, "the machine to go")


def test_a_disabled_api_is_told_with_the_line_that_enables_it(gce: Gce, provider: GcpProvider) -> None:
    gce.fail(Fault(".*", ".*", "accessNotConfigured", "Compute Engine API is disabled.", 403))
    with pytest.raises(ProviderAuthError) as caught:
        provider.offers(T4)
    assert f"gcloud services enable compute.googleapis.com --project {PROJECT}" in caught.value.hint


def test_credentials_that_have_expired_are_told_with_the_way_to_log_in(
    gce: Gce, provider: GcpProvider
) -> None:
    gce.fail(Fault(".*", ".*", "authError", "Invalid Credentials", 401))
    with pytest.raises(ProviderAuthError) as caught:
        provider.offers(T4)
    assert "gcloud auth application-default login" in caught.value.hint


def test_a_cloud_that_cannot_be_reached_says_so(
    provider: GcpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcp_clients, "REPEAT_LIMIT", 0.3)
    monkeypatch.setenv(gcp_clients.ENDPOINT, "http://127.0.0.1:1")
    with pytest.raises(ProviderError, match="does not answer") as caught:
        provider.offers(T4)
    assert caught.value.rules_out is None


def test_a_machine_whose_operation_may_not_be_watched_is_not_lost(gce: Gce, provider: GcpProvider) -> None:
    there = offer(provider)
    gce.deny("compute.zoneOperations.get")
    running(provider, provider.create(there, spec()))


# offers


def test_a_price_is_for_the_machine_and_its_disk(provider: GcpProvider) -> None:
    small, large = offer(provider), offer(provider, disk=1000)
    assert small.stopped_price and large.stopped_price
    assert large.stopped_price == pytest.approx(10 * small.stopped_price)
    assert large.price - small.price == pytest.approx(large.stopped_price - small.stopped_price)


def test_both_markets_are_offered_in_every_zone_that_has_the_gpu(gce: Gce, provider: GcpProvider) -> None:
    gce.zones["us-east1-c"].discard("nvidia-tesla-t4")
    gce.zones["us-east1-d"].discard("n1-standard-4")
    found = provider.offers(replace(T4, spot=None))
    smallest = {(o.zone, o.spot) for o in found if o.machine_type.startswith("n1-standard-4+")}
    assert smallest == {(z, spot) for z in ZONES if not z.startswith("us-east1") for spot in (True, False)}


def test_answers_on_many_pages_are_read_to_the_end(gce: Gce, provider: GcpProvider) -> None:
    gce.page = 3
    assert {o.zone for o in provider.offers(T4)} == set(ZONES)


def test_what_zones_have_and_quotas_are_asked_once(gce: Gce, provider: GcpProvider) -> None:
    first = provider.offers(T4)
    made = len(gce.calls)
    assert GcpProvider(GpuRemote()).offers(T4) == first and len(gce.calls) == made == 4


def sku(text: str, dollars: float, usage: str, *regions: str) -> dict[str, Any]:
    """Return an entry of Google's price list."""
    rate = {"units": "0", "nanos": round(dollars * 1e9)}
    return {
        "description": f"{text} running in Americas",
        "category": {"resourceGroup": "GPU" if "GPU" in text else "N1Standard", "usageType": usage},
        "serviceRegions": list(regions),
        "pricingInfo": [{"pricingExpression": {"tieredRates": [{"unitPrice": rate}]}}],
    }


TODAY = [
    sku("Spot Preemptible N1 Predefined Instance Core", 0.01, "Preemptible", "us-west1", "us-east1"),
    sku("Spot Preemptible N1 Predefined Instance Ram", 0.001, "Preemptible", "us-west1", "us-east1"),
    sku("Nvidia Tesla T4 GPU attached to Spot Preemptible VMs", 0.02, "Preemptible", "us-west1"),
]


def spot_prices(provider: GcpProvider) -> dict[str, float]:
    """Return what the smallest machine with a T4 costs by region, without its disk."""
    found = [o for o in provider.offers(T4) if o.machine_type.startswith("n1-standard-4+")]
    return {o.region: o.price - (o.stopped_price or 0) for o in found}


def test_spot_prices_of_today_take_the_place_of_those_that_were_shipped(
    gce: Gce, provider: GcpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, cost = spot_prices(provider), 4 * 0.01 + 15 * 0.001 + 0.02
    for name, value in gce.price_environment.items():
        monkeypatch.setenv(name, value)
    gce.price_list, gce.page = TODAY, 2
    assert spot_prices(provider) == shipped  # not waited for
    wait_for(lambda: spot_prices(provider) != shipped, "the prices of today")
    assert spot_prices(provider) == pytest.approx({**shipped, "us-west1": cost})
    made = len(gce.calls)
    spot_prices(GcpProvider(GpuRemote()))
    assert len(gce.calls) == made


def test_prices_that_google_does_not_tell_are_asked_for_once_and_missed_by_nobody(
    gce: Gce, provider: GcpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = spot_prices(provider)
    for name, value in gce.price_environment.items():
        monkeypatch.setenv(name, value)
    assert spot_prices(provider) == shipped
    wait_for(lambda: gce.count("GET /v1/services/.*") == 1, "the question")
    assert spot_prices(provider) == shipped and gce.count("GET /v1/services/.*") == 1


def test_a_quota_that_is_known_to_be_too_small_hides_offers(gce: Gce, provider: GcpProvider) -> None:
    gce.limit("NVIDIA_T4_GPUS", 0, "us-central1")
    assert {o.region for o in provider.offers(T4)} == {"us-east1", "us-west1"}


def test_a_quota_for_spot_machines_counts_for_them_alone(gce: Gce, provider: GcpProvider) -> None:
    for region in ("us-central1", "us-east1", "us-west1"):
        gce.limit("NVIDIA_T4_GPUS", 0, region)
    gce.limit("PREEMPTIBLE_NVIDIA_T4_GPUS", 1, "us-east1")
    found = provider.offers(replace(T4, spot=None))
    assert {(o.region, o.spot) for o in found} == {("us-east1", True)}


@pytest.mark.parametrize("region", ["", "us-central1"])
def test_quotas_that_allow_nothing_are_the_reason_given(gce: Gce, provider: GcpProvider, region: str) -> None:
    metric = "NVIDIA_T4_GPUS" if region else "GPUS_ALL_REGIONS"
    gce.limit(metric, 0, region)
    with pytest.raises(QuotaError, match=metric) as caught:
        provider.offers(replace(T4, region=region))
    assert f"quotas?project={PROJECT}" in caught.value.hint
    assert caught.value.rules_out is RulesOut.GPU


def test_a_machine_that_runs_takes_its_part_of_the_quota(gce: Gce, provider: GcpProvider) -> None:
    gce.limit("GPUS_ALL_REGIONS", 1)
    there = offer(provider, spot=False)
    provider.create(there, spec())
    with pytest.raises(QuotaError) as caught:
        provider.create(there, spec("m2", "t2"))
    assert caught.value.rules_out is RulesOut.GPU and len(gce.machines) == 1


# what is asked for


def test_a_spot_machine_is_deleted_when_it_is_taken_back_or_its_time_is_up(
    gce: Gce, provider: GcpProvider
) -> None:
    made = shown(gce, created(provider, max_seconds=7200.0))["scheduling"]
    assert made["provisioningModel"] == "SPOT" and made["instanceTerminationAction"] == "DELETE"
    assert made["maxRunDuration"] == {"seconds": "7200"} and made["automaticRestart"] is False


@pytest.mark.parametrize("limit", [0.0, 3600.0])
def test_a_machine_on_demand_is_deleted_when_its_time_is_up(
    gce: Gce, provider: GcpProvider, limit: float
) -> None:
    there = offer(provider, spot=False)
    made = shown(gce, provider.create(there, spec(max_seconds=limit)))["scheduling"]
    assert made["provisioningModel"] == "STANDARD"
    assert ("maxRunDuration" in made, made.get("instanceTerminationAction")) == (
        (True, "DELETE") if limit else (False, None)
    )


def test_a_machine_has_no_access_to_the_project_and_takes_no_keys_from_it(
    gce: Gce, provider: GcpProvider
) -> None:
    made = shown(gce, created(provider))
    assert not made.get("serviceAccounts")
    told = {item["key"]: item["value"] for item in made["metadata"]["items"]}
    assert told["block-project-ssh-keys"] == "TRUE" and told["enable-oslogin"] == "FALSE"
    assert made["disks"][0]["autoDelete"] and made["shieldedInstanceConfig"]["enableVtpm"]
    assert json.loads(told["user-data"].removeprefix("#cloud-config\n"))["users"][0]["name"] == "ubuntu"


def test_a_machine_and_its_disk_carry_the_tags(gce: Gce, provider: GcpProvider) -> None:
    made = shown(gce, created(provider))
    tags = {"gpu-remote": "m1", "gpu-remote-name": "m1"}
    assert (made["labels"], made["disks"][0]["initializeParams"]["labels"]) == (tags, tags)


@pytest.mark.parametrize("name", ["brave-otter", "Ünï_ZZ!", "x" * 60, "9"])
def test_any_name_of_ours_becomes_one_that_fits(gce: Gce, provider: GcpProvider, name: str) -> None:
    provider_id = provider.create(offer(provider), replace(spec(), name=name))
    running(provider, provider_id)
    (listed,) = provider.machines()
    assert (listed.provider_id, listed.name) == (provider_id, name)


@given(st.text())
def test_a_label_gives_back_what_was_put_in(text: str) -> None:
    label = encode_label(text)
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert decode_label(label) == text


@pytest.mark.parametrize("label", ["_", "_zz", "_ff", "goog_ops", "ünï"])
def test_labels_of_other_people_are_no_obstacle(gce: Gce, provider: GcpProvider, label: str) -> None:
    shown(gce, created(provider))["labels"]["theirs"] = label
    assert "theirs" in provider.machines()[0].tags


def test_machines_of_other_people_are_not_listed(gce: Gce, provider: GcpProvider) -> None:
    del shown(gce, created(provider))["labels"]["gpu-remote"]
    assert provider.machines() == []


# who may connect


def rules(gce: Gce) -> list[tuple[str, list[str], int]]:
    """Return all rules by which a machine of ours is reached, strongest first."""
    found = []
    for rule in gce.firewalls.values():
        kind = "allow" if "allowed" in rule else "deny"
        about = {"allow": {"IPProtocol": "tcp", "ports": ["22"]}, "deny": {"IPProtocol": "all"}}[kind]
        assert rule.get("allowed", rule.get("denied")) == [about] and rule["targetTags"]
        found.append((kind, rule.get("sourceRanges", []), rule["priority"]))
    return sorted(found, key=lambda r: r[2])


def test_only_the_given_addresses_may_connect(gce: Gce, provider: GcpProvider) -> None:
    made = shown(gce, created(provider))
    # 1000 is what rules have where nothing is said, such as those of a new project that let everybody in
    assert rules(gce) == [("allow", [HOME], 900), ("deny", ["0.0.0.0/0"], 901)]
    assert all(rule["targetTags"] == made["tags"]["items"] for rule in gce.firewalls.values())


def test_another_address_takes_the_place_of_the_first(gce: Gce, provider: GcpProvider) -> None:
    provider.admit(created(provider), "198.51.100.0/24")
    assert rules(gce)[0][1] == ["198.51.100.0/24"]


def test_nobody_may_connect_when_no_address_is_given(gce: Gce, provider: GcpProvider) -> None:
    provider.admit(created(provider), "")
    assert [kind for kind, *_ in rules(gce)] == ["deny"]


def test_rules_stay_as_long_as_a_machine_needs_them(gce: Gce, provider: GcpProvider) -> None:
    first, second = created(provider), created(provider, name="m2", token="t2")
    provider.delete(first)
    assert len(gce.firewalls) == 2
    wait_for(lambda: len(gce.machines) == 1, "the machine to go")
    provider.delete(second)
    assert not gce.firewalls


def test_rules_of_a_launch_that_was_refused_are_tidied_away(gce: Gce, fleet: Fleet) -> None:
    gce.exhaust()
    with pytest.raises(NoCapacityError):
        launch(fleet)
    assert gce.firewalls
    fleet.reap()
    assert not gce.firewalls


def test_rules_stay_while_there_is_a_machine_or_a_launch(
    gce: Gce, fleet: Fleet, provider: GcpProvider
) -> None:
    def prepare(machine: Machine) -> None:
        gce.vanish(short(machine.provider_id))
        fleet.reap()  # as another process does meanwhile
        assert len(gce.firewalls) == 2
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fleet.launch(T4, "", lambda phase, text: None, prepare)
    launch(fleet)
    fleet.reap()
    assert len(gce.firewalls) == 2


def test_machines_that_work_beside_each_other_reach_each_other(gce: Gce, provider: GcpProvider) -> None:
    first = created(provider)
    assert not [name for name in gce.firewalls if name.endswith("-among")]
    second = created(provider, name="m2", token="t2", beside=True)
    (among,) = [rule for name, rule in gce.firewalls.items() if name.endswith("-among")]
    assert among["sourceTags"] == among["targetTags"] == shown(gce, first)["tags"]["items"]
    assert among["allowed"] == [{"IPProtocol": "all"}] and "sourceRanges" not in among
    for one in (first, second):
        provider.delete(one)
        wait_for(lambda one=one: short(one) not in str(gce.machines.keys()), "the machine to go")
    assert not gce.firewalls


# what becomes of a machine


def test_a_machine_that_was_taken_back_is_told_from_one_that_was_deleted(
    gce: Gce, provider: GcpProvider
) -> None:
    taken, deleted = created(provider), created(provider, name="m2", token="t2")
    gce.preempt(short(taken))
    provider.delete(deleted)
    wait_for(lambda: len(gce.machines) == 0, "both to go")
    seen = provider.describe(taken)
    assert seen.presence is Presence.PREEMPTED and seen.ended_at > 0
    assert provider.describe(deleted).presence is Presence.GONE


def test_a_machine_in_its_last_seconds_counts_as_taken_back(gce: Gce, provider: GcpProvider) -> None:
    provider_id = created(provider)
    shown(gce, provider_id)["scheduling"]["instanceTerminationAction"] = "STOP"
    gce.preempt(short(provider_id))
    assert provider.describe(provider_id).presence is Presence.PREEMPTED


def test_a_machine_that_powered_itself_off_is_stopped_and_says_when(gce: Gce, provider: GcpProvider) -> None:
    provider_id = created(provider)
    gce.power_off(short(provider_id))
    seen = provider.describe(provider_id)
    assert seen.presence is Presence.STOPPED and seen.ended_at > 0
    assert list(seen.poweroff) == ["sudo", "-n", "poweroff"] and seen.notice == "gcp"


@pytest.mark.parametrize("scratch", [False, True])
def test_a_machine_can_be_stopped_and_started(gce: Gce, provider: GcpProvider, scratch: bool) -> None:
    provider_id = created(provider)
    if scratch:
        shown(gce, provider_id)["disks"].append({"type": "SCRATCH"})
    provider.stop(provider_id)
    wait_for(lambda: provider.describe(provider_id).presence is Presence.STOPPED, "the machine to stop")
    provider.start(provider_id)
    running(provider, provider_id)


def test_a_machine_that_cannot_be_had_now_says_so_when_it_is_started(gce: Gce, provider: GcpProvider) -> None:
    provider_id = created(provider)
    gce.power_off(short(provider_id))
    gce.exhaust()
    with pytest.raises(NoCapacityError):
        provider.start(provider_id)
    assert provider.describe(provider_id).presence is Presence.STOPPED


@pytest.mark.parametrize(
    "bad", ["", "m1", "../x", "us-central1-a/other-peoples", "us-central1-a/gpu-remote-A"]
)
def test_an_id_that_is_none_of_ours_costs_no_call(gce: Gce, provider: GcpProvider, bad: str) -> None:
    assert provider.describe(bad).presence is Presence.GONE
    provider.delete(bad)
    assert gce.calls == []


# credentials


def ask(folder: Path, *lines: str, **environment: str) -> str:
    """Return what a program of its own prints, whose user has only what is in `folder`."""
    start = "from jupyter_gpu_remote.config import GpuRemote\nimport jupyter_gpu_remote.errors as errors\n"
    start += "from jupyter_gpu_remote.providers.gcp import GcpProvider\nimport sys\n"
    env = {"PATH": "/nowhere", "HOME": str(folder), "JUPYTER_GPU_REMOTE_DIR": str(folder / "state")}
    done = subprocess.run(
        [sys.executable, "-c", start + "\n".join(lines)],
        env=env | environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LIST = (
    "try:",
    " GcpProvider(GpuRemote()).machines()",
    "except errors.GpuRemoteError as e: print(repr(e), e)",
)


def test_without_credentials_it_is_told_at_once_where_they_were_looked_for(tmp_path: Path) -> None:
    said = ask(tmp_path, *LIST, "print('google.auth' in sys.modules)")
    assert "ProviderAuthError" in said and "gcloud auth application-default login" in said
    assert str(tmp_path / ".config/gcloud/application_default_credentials.json") in said
    # nothing that could ask the network was even imported
    assert said.endswith("False\n")


def test_a_credentials_file_that_is_missing_is_named(tmp_path: Path) -> None:
    said = ask(tmp_path, *LIST, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    assert str(tmp_path / "key.json") in said and "GOOGLE_APPLICATION_CREDENTIALS" in said


def test_credentials_that_are_none_are_told_with_the_way_to_log_in(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")
    said = ask(tmp_path, *LIST, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    assert "ProviderAuthError" in said and "gcloud auth application-default login" in said


def test_a_missing_project_is_told_with_the_variable_that_names_it(tmp_path: Path) -> None:
    account = {"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x"}
    (tmp_path / "key.json").write_text(json.dumps(account))
    said = ask(tmp_path, *LIST, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    assert "ConfigurationError" in said and "GOOGLE_CLOUD_PROJECT" in said


@pytest.mark.parametrize("endpoint", ["http://8.8.8.8:80/", "http://example.com", "ftp://127.0.0.1", "x"])
def test_nothing_is_sent_in_the_clear_to_other_networks(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv(gcp_clients.ENDPOINT, endpoint)
    with pytest.raises(ConfigurationError, match=gcp_clients.ENDPOINT):
        GcpProvider(GpuRemote()).machines()


def test_the_sdk_is_imported_on_use_alone() -> None:
    names = "jupyter_gpu_remote", "jupyter_gpu_remote.fleet", "jupyter_gpu_remote.providers.gcp"
    code = f"import sys, {', '.join(names)}; print([m for m in sys.modules if m.startswith('google')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert said.stdout == "[]\n", said.stderr


# the documentation


def test_the_role_in_the_documentation_has_every_permission_that_is_used(gce: Gce) -> None:
    text = (ROOT / "docs" / "gcp.md").read_text()
    role = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert gce.permissions <= set(role["includedPermissions"])
