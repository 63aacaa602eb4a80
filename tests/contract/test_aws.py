"""AWS as its provider meets it: what a launch asks there, and what each of its refusals leads to."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_gpu_remote import catalog
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
from jupyter_gpu_remote.providers.aws import AwsProvider
from jupyter_gpu_remote.registry import Registry

from ..conftest import wait_for
from ..emulators.ec2 import Ec2
from ..fake_cloud import install

FOUR_T4 = GpuRequest(gpu="T4", count=4, cloud="aws", spot=True)
"""One type of machine has that, so there is one offer for each zone."""
ZONES = 13
HOME = "203.0.113.7/32"


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ec2]:
    monkeypatch.setattr("jupyter_gpu_remote.providers.aws_api._PAUSE", 0.001)
    ec2 = Ec2()
    for name, value in ec2.environment.items():
        monkeypatch.setenv(name, value)
    yield ec2
    ec2.close()


@pytest.fixture
def provider(ec2: Ec2) -> AwsProvider:
    return AwsProvider(GpuRemote())


@pytest.fixture
def fleet(ec2: Ec2, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    install(monkeypatch, AwsProvider)
    return Fleet(GpuRemote(ingress=HOME), Registry())


def launch(fleet: Fleet, request: GpuRequest = FOUR_T4) -> Machine:
    def prepare(machine: Machine) -> None:
        for state in (MachineState.PREPARING, MachineState.READY):
            fleet._registry.update(machine.name, state=state)

    return fleet.launch(request, "", lambda phase, text: None, prepare)


def spec(name: str = "m1", token: str = "t1", **more: Any) -> MachineSpec:
    folder = key_folder(name)
    make_key_pair(folder / "host", name)
    tags = {"gpu-remote-name": name}
    given = {"tags": tags, "ingress": HOME, **more}
    return MachineSpec(
        name, token, make_key_pair(folder / "user", name), folder / "user", folder / "host", **given
    )


def offer(provider: AwsProvider, **more: Any) -> Offer:
    request = replace(FOUR_T4, **more)
    return rank(provider.offers(request), request)[0]


def running(provider: AwsProvider, provider_id: str) -> None:
    wait_for(lambda: provider.describe(provider_id).presence is Presence.RUNNING, "the machine to run")


# a launch through the fleet


def test_a_spot_quota_that_is_used_up_costs_one_call_for_each_region(ec2: Ec2, fleet: Fleet) -> None:
    ec2.refuse("", "MaxSpotInstanceCountExceeded", message="Max spot instance count exceeded.")
    with pytest.raises(QuotaError) as caught:
        launch(fleet)
    assert sorted(c.region for c in ec2.calls("RunInstances")) == sorted(ec2.zones)
    assert "MaxSpotInstanceCountExceeded" in str(caught.value)
    assert ec2.leftovers() == []


def test_a_missing_permission_ends_a_launch_at_the_first_call_and_is_named(ec2: Ec2, fleet: Fleet) -> None:
    ec2.deny("ec2:RunInstances")
    with pytest.raises(ProviderAuthError) as caught:
        launch(fleet)
    assert len(ec2.calls("RunInstances")) == 1
    assert "ec2:RunInstances" in caught.value.message and "docs/aws.md" in caught.value.hint
    assert "Encoded" not in str(caught.value)


def test_a_stock_out_everywhere_is_tried_once_in_each_zone_and_told_in_few_lines(
    ec2: Ec2, fleet: Fleet
) -> None:
    ec2.refuse("", "InsufficientInstanceCapacity", status=500)
    with pytest.raises(NoCapacityError) as caught:
        launch(fleet)
    zones = [c.zone for c in ec2.calls("RunInstances")]
    assert len(zones) == len(set(zones)) == ZONES
    assert len(str(caught.value).splitlines()) <= ZONES
    assert "InsufficientInstanceCapacity" in str(caught.value)


def test_a_stock_out_moves_on_to_the_next_zone(ec2: Ec2, fleet: Fleet) -> None:
    ec2.prices = {("g4dn.12xlarge", "us-west-2b"): 0.1, ("g4dn.12xlarge", "us-west-2c"): 0.2}
    ec2.refuse("us-west-2b", "InsufficientInstanceCapacity", status=500)
    assert launch(fleet).offer.zone == "us-west-2c"
    assert [c.zone for c in ec2.calls("RunInstances")] == ["us-west-2b", "us-west-2c"]


def test_a_second_launch_asks_for_little_before_it_asks_for_a_machine(ec2: Ec2, fleet: Fleet) -> None:
    launch(fleet)
    ec2.forget_calls()
    launch(fleet)
    asked = [c.action for c in ec2.calls()]
    assert asked.index("RunInstances") <= 5


def test_with_prices_that_are_old_each_region_is_asked_for_them_and_for_nothing_else(
    ec2: Ec2, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(fleet)
    ec2.forget_calls()
    monkeypatch.setattr("jupyter_gpu_remote.providers.aws_market._PRICES_KEPT", -1)
    launch(fleet)
    asked = [c.action for c in ec2.calls()]
    assert asked[: asked.index("RunInstances")] == ["DescribeSpotPriceHistory"] * 3


def test_a_machine_that_is_taken_back_while_it_boots_is_followed_by_the_next(ec2: Ec2, fleet: Fleet) -> None:
    ec2.prices = {("g4dn.12xlarge", "us-west-2b"): 0.1}
    ec2.pace = 0.3

    def take_back() -> None:
        wait_for(lambda: ec2.machines(), "a machine")
        ec2.preempt(ec2.machines()[0])

    thief = threading.Thread(target=take_back)
    thief.start()
    machine = launch(fleet)
    thief.join()
    assert machine.offer.zone != "us-west-2b"
    assert [f"{machine.offer.region}/{i}" for i in ec2.machines()] == [machine.provider_id]


def test_what_is_deleted_is_gone_with_its_disk_and_its_spot_request(ec2: Ec2, fleet: Fleet) -> None:
    machine = launch(fleet)
    fleet.delete(machine.name, lambda phase, text: None)
    assert ec2.leftovers() == []
    assert fleet._registry.get(machine.name).state is MachineState.GONE


def test_a_machine_that_nobody_knows_is_found_and_deleted(
    ec2: Ec2, fleet: Fleet, provider: AwsProvider
) -> None:
    from jupyter_gpu_remote.owner import installation

    provider.create(offer(provider), spec("lost", tags={"gpu-remote-owner": installation()}))
    assert ["lost" in said for said in fleet.reap()] == [True]
    assert ec2.machines() == []


# refusals


@pytest.mark.parametrize(
    ("code", "status", "kind", "rules_out"),
    [
        ("InsufficientInstanceCapacity", 500, NoCapacityError, RulesOut.OFFER),
        ("InsufficientReservedInstanceCapacity", 400, NoCapacityError, RulesOut.OFFER),
        ("SpotMaxPriceTooLow", 400, NoCapacityError, RulesOut.OFFER),
        ("Unsupported", 400, NoCapacityError, RulesOut.OFFER),
        ("MaxSpotInstanceCountExceeded", 400, QuotaError, RulesOut.MARKET),
        ("VcpuLimitExceeded", 400, QuotaError, RulesOut.MARKET),
        ("InstanceLimitExceeded", 400, QuotaError, RulesOut.MARKET),
        ("OptInRequired", 401, ProviderAuthError, RulesOut.REGION),
        ("AuthFailure", 401, ProviderAuthError, RulesOut.REGION),
        ("InvalidAMIID.NotFound", 400, ProviderError, RulesOut.REGION),
        ("UnauthorizedOperation", 403, ProviderAuthError, RulesOut.CLOUD),
        ("PendingVerification", 400, ProviderAuthError, RulesOut.CLOUD),
        ("Blocked", 400, ProviderAuthError, RulesOut.CLOUD),
        ("ExpiredToken", 400, ProviderAuthError, RulesOut.CLOUD),
        ("ExpiredTokenException", 400, ProviderAuthError, RulesOut.CLOUD),
        ("RequestExpired", 400, ProviderAuthError, RulesOut.CLOUD),
        ("InvalidClientTokenId", 403, ProviderAuthError, RulesOut.CLOUD),
        ("InvalidParameterValue", 400, ProviderError, None),
        ("MissingParameter", 400, ProviderError, None),
        ("SomethingNobodyKnows", 400, ProviderError, None),
    ],
)
def test_each_refusal_says_what_to_try_next(
    ec2: Ec2,
    provider: AwsProvider,
    code: str,
    status: int,
    kind: type[ProviderError],
    rules_out: RulesOut | None,
) -> None:
    wanted = offer(provider)
    ec2.refuse("", code, status)
    with pytest.raises(ProviderError) as caught:
        provider.create(wanted, spec())
    error = caught.value
    assert (type(error), error.cloud_code, error.rules_out) == (kind, code, rules_out)
    assert error.hint or kind is NoCapacityError
    # what was looked up is looked up once more when it is not there any more
    assert len(ec2.calls("RunInstances")) == (2 if code.startswith("InvalidAMIID") else 1)


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestExpired", "InvalidClientTokenId"])
def test_credentials_that_lapsed_say_how_to_log_in_again(ec2: Ec2, provider: AwsProvider, code: str) -> None:
    ec2.refuse("", code, action="DescribeRegions")
    with pytest.raises(ProviderAuthError, match="does not accept the credentials") as caught:
        provider.offers(FOUR_T4)
    assert "aws sso login" in caught.value.hint


def test_a_key_that_aws_does_not_know_stops_aws_and_not_one_region(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.refuse("", "AuthFailure", 401, action="DescribeRegions")
    with pytest.raises(ProviderAuthError) as caught:
        provider.offers(FOUR_T4)
    assert caught.value.rules_out is RulesOut.CLOUD


def test_throttling_is_waited_out(ec2: Ec2, provider: AwsProvider) -> None:
    wanted = offer(provider)
    ec2.throttle("RunInstances", 2)
    assert provider.create(wanted, spec())
    assert len(ec2.calls("RunInstances")) == 3


def test_throttling_without_end_rules_the_region_out(ec2: Ec2, provider: AwsProvider) -> None:
    wanted = offer(provider)
    ec2.throttle("RunInstances", 99)
    with pytest.raises(ProviderError) as caught:
        provider.create(wanted, spec())
    assert caught.value.rules_out is RulesOut.REGION
    assert 2 < len(ec2.calls("RunInstances")) < 10


def test_when_aws_fails_nothing_is_ruled_out_for_there_may_be_a_machine(
    ec2: Ec2, provider: AwsProvider
) -> None:
    wanted = offer(provider)
    ec2.refuse("", "InternalError", 500)
    with pytest.raises(ProviderError) as caught:
        provider.create(wanted, spec())
    assert caught.value.rules_out is None
    assert len({c.params["ClientToken"] for c in ec2.calls("RunInstances")}) == 1


def outage(ec2: Ec2, region: str) -> None:
    ec2.refuse(region, "ServiceUnavailable", 503, action="")


def test_a_region_that_fails_before_a_machine_is_asked_for_is_passed_over(ec2: Ec2, fleet: Fleet) -> None:
    ec2.prices = {("g4dn.12xlarge", "us-east-1a"): 0.1, ("g4dn.12xlarge", "us-west-2b"): 0.2}
    fleet.offers(FOUR_T4)
    outage(ec2, "us-east-1")
    assert launch(fleet).offer.zone == "us-west-2b"
    assert not [c for c in ec2.calls("RunInstances") if c.region == "us-east-1"]


def test_a_launch_while_the_home_region_fails_finds_a_machine_elsewhere(ec2: Ec2, fleet: Fleet) -> None:
    outage(ec2, "us-east-1")
    assert launch(fleet).offer.region in ("us-west-2", "eu-west-1")


def test_a_region_where_nobody_answers_is_ruled_out_for_nothing_can_have_been_rented(
    ec2: Ec2, provider: AwsProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.delete(provider.create(offer(provider), spec()))  # all that a launch looks up is known
    wanted = offer(provider)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")  # other settings, so another session
    with pytest.raises(ProviderError, match="does not answer") as caught:
        provider.create(wanted, spec("m2", "t2"))
    assert caught.value.rules_out is RulesOut.REGION


@pytest.mark.parametrize("then", ["ServiceUnavailable", "RequestLimitExceeded", "OptInRequired"])
def test_once_there_may_be_a_machine_no_later_refusal_rules_its_region_out(
    ec2: Ec2, provider: AwsProvider, then: str
) -> None:
    wanted = offer(provider)
    ec2.refuse("", "InternalError", 500, times=1)
    ec2.refuse("", then, 503)
    with pytest.raises(ProviderError, match=then) as caught:
        provider.create(wanted, spec())
    assert caught.value.rules_out is None


def test_no_answer_at_all_is_an_error_that_says_so(
    ec2: Ec2, provider: AwsProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ProviderError, match="does not answer"):
        provider.offers(FOUR_T4)


# who we are


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.mark.usefixtures("stranger")
def test_without_credentials_nobody_is_asked_and_the_next_step_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        do_GET = do_POST = do_PUT

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for act in (lambda p: p.offers(FOUR_T4), lambda p: p.machines()):
            with pytest.raises(ProviderAuthError, match="AWS_ACCESS_KEY_ID") as caught:
                act(AwsProvider(GpuRemote()))
            assert "aws configure" in caught.value.hint and "aws sso login" in caught.value.hint
        server.shutdown()
    assert asked == []


def test_who_logs_in_after_an_error_is_known(
    ec2: Ec2, provider: AwsProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "AWS_CONFIG_FILE").write_text("[default]\nregion = us-east-1\n")
    with pytest.raises(ProviderAuthError, match="no credentials"):
        provider.offers(FOUR_T4)
    (tmp_path / "AWS_CONFIG_FILE").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert len(provider.offers(FOUR_T4)) == ZONES


def test_an_account_that_never_had_a_spot_machine_is_told_how_to_get_ready(
    ec2: Ec2, provider: AwsProvider
) -> None:
    wanted = offer(provider)
    ec2.refuse("", "AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403)
    with pytest.raises(ProviderAuthError) as caught:
        provider.create(wanted, spec())
    assert caught.value.rules_out is RulesOut.CLOUD and "create-service-linked-role" in caught.value.hint


def test_a_login_that_is_over_says_so(
    provider: AwsProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text(
        "[default]\nsso_session = me\nsso_account_id = 123456789012\nsso_role_name = dev\n"
        "[sso-session me]\nsso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n"
        "sso_registration_scopes = sso:account:access\n"
    )
    with pytest.raises(ProviderAuthError, match="cannot be used") as caught:
        provider.offers(FOUR_T4)
    assert "aws sso login" in caught.value.hint


@pytest.mark.usefixtures("stranger")
def test_a_profile_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ProviderAuthError, match="nobody"):
        AwsProvider(GpuRemote()).offers(FOUR_T4)


def test_the_sdk_is_not_imported_before_it_is_needed() -> None:
    code = """
import sys
import jupyter_gpu_remote
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
shell.run_line_magic("load_ext", "jupyter_gpu_remote")
import jupyter_gpu_remote.providers.aws
print([name for name in ("boto3", "botocore") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.stdout.splitlines()[-1] == "[]", said.stderr


# offers


def test_offers_have_spot_prices_of_now_and_list_prices_on_demand(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.prices = {("g4dn.12xlarge", "us-east-1b"): 1.25}
    found = provider.offers(replace(FOUR_T4, spot=None, zone="us-east-1b", disk=200))
    on_demand, spot = sorted(found, key=lambda o: o.spot)
    assert spot.price == pytest.approx(1.25 + 200 * 0.10 / 730 + 0.005, abs=1e-3)
    assert spot.stopped_price is None
    assert on_demand.price > 3 and on_demand.stopped_price == pytest.approx(200 * 0.10 / 730, abs=1e-3)


def listed(ec2: Ec2, provider: AwsProvider, **more: Any) -> dict[str, float]:
    """Return the prices on demand by region, without the disk and the address."""
    found = provider.offers(replace(FOUR_T4, spot=False, **more))
    return {o.region: round(o.price - 100 * 0.10 / 730 - 0.005, 2) for o in found}


def test_where_the_catalog_has_no_list_price_aws_is_asked_for_it(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.list_prices = {("g4dn.12xlarge", "us-west-2"): 4.5, ("g4dn.12xlarge", "eu-west-1"): 4.7}
    shipped = catalog.prices("aws", "g4dn.12xlarge")["us-east-1"].on_demand
    expected = {"us-east-1": pytest.approx(shipped, abs=0.01), "us-west-2": 4.5, "eu-west-1": 4.7}
    assert listed(ec2, provider) == expected
    assert {c.region for c in ec2.calls("GetProducts")} == {"us-east-1"}


def test_a_list_price_is_asked_for_once_a_day(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.list_prices = {("g4dn.12xlarge", "us-west-2"): 4.5}
    listed(ec2, provider)
    ec2.forget_calls()
    listed(ec2, provider)
    assert ec2.calls("GetProducts") == []


def test_where_the_catalog_has_the_list_price_nobody_is_asked_for_it(ec2: Ec2, provider: AwsProvider) -> None:
    assert set(listed(ec2, provider, region="us-east-1")) == {"us-east-1"}
    assert ec2.calls("GetProducts") == []


def test_a_launch_asks_for_no_list_price_unless_it_may_be_on_demand(ec2: Ec2, fleet: Fleet) -> None:
    launch(fleet, replace(FOUR_T4, spot=None))
    assert ec2.calls("GetProducts") == []


def test_all_types_are_asked_for_at_the_same_time(ec2: Ec2, provider: AwsProvider) -> None:
    request = GpuRequest(gpu="T4", cloud="aws", spot=False)
    ec2.latency = 0.2
    provider.offers(request)
    types = {f["Value"] for c in ec2.calls("GetProducts") for f in c.params["Filters"][:1]}
    assert len(types) == len(catalog.matching("aws", request)) <= ec2.busiest


@pytest.mark.parametrize(
    "fault",
    [
        lambda ec2: ec2.deny("pricing:GetProducts"),
        lambda ec2: ec2.refuse("", "InternalErrorException", 500, action="GetProducts"),
        lambda ec2: ec2.throttle("GetProducts", 99),
    ],
    ids=["denied", "broken", "busy"],
)
def test_without_list_prices_of_aws_those_of_the_catalog_are_offered(
    ec2: Ec2, provider: AwsProvider, fault: Callable[[Ec2], None]
) -> None:
    fault(ec2)
    assert set(listed(ec2, provider)) == {"us-east-1"}
    everything = provider.offers(replace(FOUR_T4, spot=None))
    assert len([o for o in everything if o.spot]) == ZONES


def test_when_no_price_is_known_the_reason_is_named(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.deny("pricing:GetProducts")
    with pytest.raises(NoCapacityError, match="price is unknown") as caught:
        listed(ec2, provider, region="eu-west-1")
    assert "pricing:GetProducts" in caught.value.message and "docs/aws.md" in caught.value.hint


def test_a_launch_that_finds_nothing_says_where_no_price_was_known(ec2: Ec2, fleet: Fleet) -> None:
    ec2.deny("pricing:GetProducts")
    ec2.refuse("", "InsufficientInstanceCapacity", 500)
    with pytest.raises(NoCapacityError) as caught:
        launch(fleet, replace(FOUR_T4, spot=False))
    assert "Left out on demand in eu-west-1, us-west-2" in caught.value.hint


def test_every_zone_of_every_enabled_region_has_an_offer(ec2: Ec2, provider: AwsProvider) -> None:
    zones = [zone for zones in ec2.zones.values() for zone in zones]
    assert sorted(o.zone for o in provider.offers(FOUR_T4)) == sorted(zones)


def test_a_region_that_is_closed_does_not_hide_the_others(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.refuse("us-east-1", "OptInRequired", 401, action="DescribeInstanceTypeOfferings")
    assert {o.region for o in provider.offers(FOUR_T4)} == {"us-west-2", "eu-west-1"}


def test_regions_are_asked_at_the_same_time(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.latency = 0.2
    provider.offers(FOUR_T4)
    assert ec2.busiest == len(ec2.zones)


def test_what_is_above_a_quota_is_not_offered(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.quotas = {("us-east-1", "L-3819A6DF"): 47, ("us-west-2", "L-3819A6DF"): 48}
    assert {o.region for o in provider.offers(FOUR_T4)} == {"us-west-2", "eu-west-1"}


def test_when_all_is_above_the_quotas_they_are_named(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.quotas = {"L-3819A6DF": 8}
    with pytest.raises(QuotaError) as caught:
        provider.offers(FOUR_T4)
    assert "All G and VT Spot Instance Requests" in caught.value.message
    assert "8 vCPU" in caught.value.message and "48 are needed" in caught.value.message
    assert "L-3819A6DF" in caught.value.hint


def test_a_launch_that_finds_nothing_says_what_was_left_out_for_a_quota(ec2: Ec2, fleet: Fleet) -> None:
    ec2.quotas = {("us-east-1", "L-3819A6DF"): 8}
    ec2.refuse("", "InsufficientInstanceCapacity", 500)
    with pytest.raises(NoCapacityError) as caught:
        launch(fleet)
    assert "is 8 vCPU in us-east-1, and 48 are needed" in caught.value.hint
    assert len(ec2.calls("RunInstances")) == ZONES - len(ec2.zones["us-east-1"])


def test_without_the_permission_to_see_quotas_all_is_offered(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.quotas = {"L-3819A6DF": 0}
    ec2.deny("servicequotas:GetServiceQuota")
    assert len(provider.offers(FOUR_T4)) == ZONES


# what is asked for


def asked_for(ec2: Ec2) -> dict[str, str]:
    return dict(ec2.calls("RunInstances")[-1].params)


def tags_of(params: dict[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for key, kind in params.items():
        if key.endswith(".ResourceType"):
            start = key.removesuffix("ResourceType") + "Tag."
            names = {k: v for k, v in params.items() if k.startswith(start) and k.endswith(".Key")}
            found[kind] = {v: params[k.removesuffix("Key") + "Value"] for k, v in names.items()}
    return found


def test_a_machine_is_asked_for_as_safely_as_can_be(ec2: Ec2, provider: AwsProvider) -> None:
    provider.create(offer(provider), spec(disk=250))
    params = asked_for(ec2)
    expected = {
        "MetadataOptions.HttpTokens": "required",
        "MetadataOptions.HttpPutResponseHopLimit": "1",
        "InstanceInitiatedShutdownBehavior": "terminate",
        "InstanceMarketOptions.MarketType": "spot",
        "InstanceMarketOptions.SpotOptions.SpotInstanceType": "one-time",
        "BlockDeviceMapping.1.Ebs.VolumeType": "gp3",
        "BlockDeviceMapping.1.Ebs.VolumeSize": "250",
        "BlockDeviceMapping.1.Ebs.Encrypted": "true",
        "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
        "ClientToken": "t1",
        "MaxCount": "1",
    }
    assert {k: params[k] for k in expected} == expected
    assert not [k for k in params if k.startswith(("IamInstanceProfile", "KeyName"))]


def test_all_that_comes_with_a_machine_carries_its_tags(ec2: Ec2, provider: AwsProvider) -> None:
    provider.create(offer(provider), spec("m1"))
    carried = {"Name": "m1", "gpu-remote": "machine", "gpu-remote-name": "m1"}
    kinds = ("instance", "volume", "network-interface", "spot-instances-request")
    assert tags_of(asked_for(ec2)) == dict.fromkeys(kinds, carried)


def test_a_machine_on_demand_has_no_spot_request(ec2: Ec2, provider: AwsProvider) -> None:
    provider.create(offer(provider, spot=False), spec())
    params = asked_for(ec2)
    assert not [k for k in params if k.startswith("InstanceMarketOptions")]
    assert "spot-instances-request" not in tags_of(params)


def test_a_disk_is_never_smaller_than_its_image(ec2: Ec2, provider: AwsProvider) -> None:
    provider.create(offer(provider), spec(disk=1))
    assert asked_for(ec2)["BlockDeviceMapping.1.Ebs.VolumeSize"] == "15"


def test_what_changed_between_two_calls_with_one_token_gives_no_second_machine(
    ec2: Ec2, provider: AwsProvider
) -> None:
    first = provider.create(offer(provider), spec())
    assert provider.create(offer(provider), spec(disk=300)) == first
    assert len(ec2.machines()) == 1


def test_what_was_kept_and_is_not_there_any_more_is_looked_up_again(ec2: Ec2, provider: AwsProvider) -> None:
    wanted = offer(provider)
    first = provider.create(wanted, spec())
    provider.delete(first)
    ec2.settle()
    provider.delete(first)
    assert ec2.groups() == []
    with ec2._lock:
        state = ec2._backends[wanted.region]
        image = next(iter(state.amis))
        state.amis["ami-0new"] = state.amis[image]
    assert provider.create(wanted, spec("m2", "t2"))


ODD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200) | st.sampled_from(
    ["$(reboot)", "'; reboot #", 'a"b', "<x>&amp;", "ünï", "a" * 255]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=ODD)
def test_any_tag_comes_back_as_it_was(ec2: Ec2, provider: AwsProvider, value: str) -> None:
    created = provider.create(offer(provider), spec(token=f"t{len(ec2.calls())}", tags={"note": value}))
    assert provider.describe(created).tags == {"note": value}


# who may connect


def test_only_the_address_given_may_connect_and_a_new_one_takes_its_place(
    ec2: Ec2, provider: AwsProvider
) -> None:
    created = provider.create(offer(provider), spec())
    (group,) = ec2.groups()
    region = created.partition("/")[0]
    assert ec2.ingress(region, group) == [f"22 {HOME}"]
    provider.admit(created, "198.51.100.0/24")
    assert ec2.ingress(region, group) == ["22 198.51.100.0/24"]
    provider.admit(created, "2001:db8::/64")
    assert ec2.ingress(region, group) == ["22 2001:db8::/64"]


def test_a_launch_from_another_address_lets_that_one_in(ec2: Ec2, provider: AwsProvider) -> None:
    provider.create(offer(provider), spec())
    created = provider.create(offer(provider), spec("m2", "t2", ingress="198.51.100.9/32"))
    assert ec2.ingress(created.partition("/")[0], ec2.groups()[0]) == ["22 198.51.100.9/32"]


def test_nobody_may_connect_where_nobody_is_named(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider), spec(ingress=""))
    assert ec2.ingress(created.partition("/")[0], ec2.groups()[0]) == []


def test_the_security_group_goes_with_the_last_machine_that_used_it(ec2: Ec2, provider: AwsProvider) -> None:
    first, second = (provider.create(offer(provider), spec(n, n)) for n in ("m1", "m2"))
    for created, left in ((first, 1), (second, 0)):
        provider.delete(created)
        ec2.settle()
        provider.delete(created)
        assert len(ec2.groups()) == left


def test_reaping_removes_the_security_group_that_the_last_machine_left(ec2: Ec2, fleet: Fleet) -> None:
    first, second = launch(fleet), launch(fleet)
    fleet.delete(first.name, lambda phase, text: None)
    ec2.settle()
    fleet.reap()
    assert len(ec2.groups()) == 1
    fleet.delete(second.name, lambda phase, text: None)
    ec2.settle()
    fleet.reap()
    assert ec2.groups() == []


def test_a_security_group_that_was_removed_behind_a_launch_is_made_again(ec2: Ec2, fleet: Fleet) -> None:
    import boto3

    machine = launch(fleet)
    fleet.delete(machine.name, lambda phase, text: None)
    ec2.settle()
    cloud = boto3.client("ec2", region_name=machine.offer.region)
    filters = [{"Name": "group-name", "Values": ec2.groups()}]
    (group,) = cloud.describe_security_groups(Filters=filters)["SecurityGroups"]
    cloud.delete_security_group(GroupId=group["GroupId"])
    ec2.forget_calls()
    assert launch(fleet).state is MachineState.READY
    assert len(ec2.calls("RunInstances")) == 2 and len(ec2.groups()) == 1


def test_a_launch_beside_a_reap_gets_its_machine(ec2: Ec2, fleet: Fleet) -> None:
    ec2.latency = 0.005
    for _ in range(4):
        machine = launch(fleet)
        fleet.delete(machine.name, lambda phase, text: None)
        ec2.settle()
        reaping = threading.Thread(target=fleet.reap)
        reaping.start()
        machine = launch(fleet)
        reaping.join()
        assert [f"{machine.offer.region}/{i}" for i in ec2.machines()] == [machine.provider_id]
        assert len(ec2.groups()) == 1
        fleet.delete(machine.name, lambda phase, text: None)


def test_machines_that_work_beside_each_other_reach_each_other_and_nobody_else_does(
    ec2: Ec2, provider: AwsProvider
) -> None:
    import boto3

    def rules() -> list[tuple[str, bool]]:
        cloud = boto3.client("ec2", region_name=offered.region)
        (group,) = cloud.describe_security_groups(Filters=[{"Name": "group-name", "Values": ec2.groups()}])[
            "SecurityGroups"
        ]
        pairs = [pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]]
        assert set(pairs) <= {group["GroupId"]}
        ranges = (r["CidrIp"] for rule in group["IpPermissions"] for r in rule["IpRanges"])
        return [*((cidr, False) for cidr in ranges), *(("its own", True) for _ in pairs)]

    offered = offer(provider)
    created = provider.create(offered, spec())
    assert rules() == [(HOME, False)]
    provider.create(offered, spec("m2", "t2", beside=True))
    provider.create(offered, spec("m3", "t3", beside=True))
    assert rules() == [(HOME, False), ("its own", True)]
    provider.admit(created, "198.51.100.0/24")
    assert rules() == [("198.51.100.0/24", False), ("its own", True)]


# the life of a machine


def test_a_machine_taken_back_is_told_from_one_that_ended(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider), spec())
    running(provider, created)
    ec2.preempt(created.partition("/")[2])
    seen = provider.describe(created)
    assert seen.presence is Presence.PREEMPTED and seen.ended_at > 1.7e9
    ec2.settle()
    assert provider.describe(created).presence is Presence.PREEMPTED


def test_a_machine_taken_back_long_ago_is_told_by_its_spot_request(
    ec2: Ec2, provider: AwsProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = provider.create(offer(provider), spec())
    id = created.partition("/")[2]
    ec2.preempt(id)
    ec2.settle()
    ec2.forget(id)
    monkeypatch.setattr("jupyter_gpu_remote.providers.aws._SETTLE", -1)
    seen = provider.describe(created)
    assert seen.presence is Presence.PREEMPTED and seen.ended_at > 1.7e9


def test_a_machine_that_powered_itself_off_is_gone(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider), spec())
    running(provider, created)
    ec2.power_off(created.partition("/")[2])
    seen = provider.describe(created)
    assert seen.presence is Presence.GONE and seen.ended_at > 1.7e9


def test_a_new_machine_that_aws_does_not_know_yet_is_neither_gone_nor_forgotten(
    ec2: Ec2, provider: AwsProvider
) -> None:
    ec2.lag = 2
    created = provider.create(offer(provider), spec())
    assert provider.describe(created).presence is Presence.PENDING
    with pytest.raises(ProviderError, match="does not know"):
        provider.delete(created)
    provider.delete(created)
    assert ec2.machines() == []


def test_a_machine_says_how_to_log_in_and_how_it_ends(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider), spec())
    running(provider, created)
    seen = provider.describe(created)
    assert seen.address and (seen.address.user, seen.address.key_file) == (
        "ubuntu",
        key_folder("m1") / "user",
    )
    assert seen.address.host_key == " ".join((key_folder("m1") / "host.pub").read_text().split()[:2])
    assert (seen.notice, list(seen.poweroff)) == ("aws", ["sudo", "-n", "poweroff"])


def test_a_machine_on_demand_is_stopped_and_started_again(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider, spot=False), spec())
    running(provider, created)
    provider.stop(created)
    ec2.settle()
    assert provider.describe(created).presence is Presence.STOPPED
    assert provider.describe(created).address is None
    provider.start(created)
    running(provider, created)


def test_a_machine_cannot_be_started_while_it_stops(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider, spot=False), spec())
    running(provider, created)
    ec2.pace = 1000
    provider.stop(created)
    with pytest.raises(ProviderError, match="still stopping"):
        provider.start(created)


def test_a_start_that_finds_no_capacity_says_so(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider, spot=False), spec())
    running(provider, created)
    provider.stop(created)
    ec2.refuse("", "InsufficientInstanceCapacity", 500, action="StartInstances")
    with pytest.raises(NoCapacityError):
        provider.start(created)
    assert len(ec2.calls("StartInstances")) == 1


def test_a_spot_machine_cannot_be_stopped_and_says_what_to_do(ec2: Ec2, provider: AwsProvider) -> None:
    created = provider.create(offer(provider), spec())
    with pytest.raises(ConfigurationError, match="can't be stopped") as caught:
        provider.stop(created)
    assert "--on-demand" in caught.value.hint
    assert ec2.calls("StopInstances") == []


@pytest.mark.parametrize(
    "id", ["", "i-0123456789abcdef0", "us-east-1/", "us-east-1/i-x", "../i-0123456789", "x" * 99]
)
def test_what_is_no_id_is_gone_without_a_call(ec2: Ec2, provider: AwsProvider, id: str) -> None:
    assert provider.describe(id).presence is Presence.GONE
    provider.delete(id)
    provider.admit(id, HOME)
    assert ec2.calls() == []


def test_machines_of_others_are_none_of_ours(ec2: Ec2, provider: AwsProvider) -> None:
    import boto3

    boto3.client("ec2").run_instances(
        ImageId="ami-0ca0",
        InstanceType="c7i.large",
        MinCount=1,
        MaxCount=1,
        SubnetId=boto3.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"],
    )
    assert provider.machines() == []


def test_a_region_that_does_not_answer_is_no_region_without_machines(ec2: Ec2, provider: AwsProvider) -> None:
    ec2.refuse("eu-west-1", "InternalError", 500, action="DescribeInstances")
    with pytest.raises(ProviderError, match="eu-west-1"):
        provider.machines()


def test_a_region_that_a_policy_forbids_has_no_machines(ec2: Ec2, provider: AwsProvider) -> None:
    provider.create(offer(provider, region="us-east-1"), spec())
    ec2.refuse("eu-west-1", "UnauthorizedOperation", 403, action="DescribeInstances")
    assert len(provider.machines()) == 1


def test_the_policy_in_the_docs_allows_every_call_that_is_made(
    ec2: Ec2, fleet: Fleet, provider: AwsProvider
) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "aws.md").read_text()
    policy = json.loads(docs.partition("```json\n")[2].partition("```")[0])
    allowed = {a for s in policy["Statement"] for a in s["Action"]}
    machine = launch(fleet)
    provider.admit(machine.provider_id, "198.51.100.9/32")
    fleet.reap()
    fleet.delete(machine.name, lambda phase, text: None)
    ec2.settle()
    provider.delete(machine.provider_id)
    kept = provider.create(offer(provider, spot=False), spec())
    running(provider, kept)
    provider.stop(kept)
    ec2.settle()
    provider.start(kept)
    services = {"GetParameter": "ssm", "GetServiceQuota": "servicequotas", "GetProducts": "pricing"}
    made = {f"{services.get(c.action, 'ec2')}:{c.action}" for c in ec2.calls()}
    assert made <= allowed
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:StartInstances", "pricing:GetProducts"} <= made
