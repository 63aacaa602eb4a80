"""Amazon EC2: spot and on-demand machines in the user's own account."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from ..bootstrap import user_data
from ..errors import ConfigurationError, MachineNotFoundError, NoCapacityError, ProviderError
from ..model import Description, GpuRequest, MachineSpec, Offer, Presence
from .aws_api import Api
from .aws_errors import STALE, UNKNOWN_MACHINE
from .aws_market import DISK, left_out, offers
from .aws_place import OURS, Place, tags
from .base import Provider, address_of

_USER = "ubuntu"
_SETTLE = 120.0
"""Seconds in which a new machine may not be known yet wherever AWS is asked about it."""
_PRESENCE = {"pending": Presence.PENDING, "running": Presence.RUNNING, "stopping": Presence.STOPPED}
_PRESENCE |= {"stopped": Presence.STOPPED}
_LISTED = ["pending", "running", "stopping", "stopped"]
_TAKEN_BACK = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown")


class AwsProvider(Provider):
    """Machines in the regions that the user's account has enabled.

    The id of a machine is its region and EC2's id for it: ``us-east-1/i-0abc``.
    """

    name = "aws"

    def offers(self, request: GpuRequest) -> Sequence[Offer]:
        """Return spot machines at their price of now, and those on demand at the list price.

        The price holds 100 GiB of disk, or what is asked for, and the public address.
        """
        return offers(Api(), request)

    def create(self, offer: Offer, spec: MachineSpec) -> str:
        api = Api()
        place = Place(api, offer.region, offer.machine_type, offer.gpu)
        try:
            id = _run(api, place, offer, spec)
        except ProviderError as e:
            if e.cloud_code == "IdempotentParameterMismatch":
                # what we keep changed since the first time with this token
                id = _made_before(api, offer.region, spec, e)
            elif e.cloud_code in STALE:
                place.forget()
                id = _run(api, place, offer, spec)
            else:
                if isinstance(e, NoCapacityError):
                    e.hint = e.hint or left_out(api)
                raise
        provider_id = f"{offer.region}/{id}"
        _born(api, provider_id, time.time())
        return provider_id

    def describe(self, provider_id: str) -> Description:
        if not (parts := _parts(provider_id)):
            return Description(provider_id, provider_id, Presence.GONE)
        api = Api()
        if (machine := _look(api, *parts)) is not None:
            return _description(api, parts[0], machine)
        presence, ended_at = Presence.GONE, 0.0
        if _is_new(api, provider_id):
            presence = Presence.PENDING
        else:
            presence, ended_at = _fate(api, *parts)  # AWS forgets a machine after an hour, its request later
        return Description(provider_id, provider_id, presence, ended_at=ended_at)

    def machines(self) -> Sequence[Description]:
        """Return what carries our tags in any region; a region that does not answer is an error."""
        api = Api()
        filters = [
            {"Name": f"tag:{OURS}", "Values": ["machine"]},
            {"Name": "instance-state-name", "Values": _LISTED},
        ]

        def ask(region: str) -> list[Description]:
            found = api.pages("ec2", region, "DescribeInstances", "Reservations", Filters=filters)
            return [_description(api, region, m) for r in found for m in r["Instances"]]

        return [d for there in api.everywhere(api.regions(), ask, strict=True) for d in there]

    def delete(self, provider_id: str) -> None:
        """Terminate a machine; its disk and its spot request go with it.

        So does our security group, when the machine is gone and was the last one that used it.
        """
        if not (parts := _parts(provider_id)):
            return
        api = Api()
        region, id = parts
        try:
            answer = api.call("ec2", region, "TerminateInstances", InstanceIds=[id])
        except ProviderError as e:
            if e.cloud_code not in UNKNOWN_MACHINE:
                raise
            if _is_new(api, provider_id):
                raise ProviderError(
                    f"AWS does not know {id} yet, which it has just made.", hint="Try again."
                ) from e
            return
        (change,) = answer["TerminatingInstances"]
        before = change["PreviousState"]["Name"]
        if before == "terminated":
            Place(api, region).remove_group()
        elif before != "shutting-down":
            _cancel_spot_request(api, region, id)

    def stop(self, provider_id: str) -> None:
        api, region, id, machine = self._existing(provider_id)
        if machine.get("InstanceLifecycle") == "spot":
            raise ConfigurationError(
                "A spot machine of AWS can't be stopped and started again.",
                hint="`down` deletes it; what is in the notebook's folder is here. One that was launched with"
                " --on-demand can be stopped.",
            )
        api.call("ec2", region, "StopInstances", InstanceIds=[id])

    def start(self, provider_id: str) -> None:
        api, region, id, _ = self._existing(provider_id)
        try:
            api.call("ec2", region, "StartInstances", InstanceIds=[id])
        except ProviderError as e:
            if e.cloud_code == "IncorrectInstanceState":
                e.message = f"{provider_id} can't be started while it is still stopping."
                e.hint = "Try again in a minute."
            raise

    def admit(self, provider_id: str, ingress: str) -> None:
        if parts := _parts(provider_id):
            Place(Api(), parts[0]).admit(ingress)

    def tidy(self) -> None:
        """Remove our security group wherever it has no machine.

        AWS keeps it while there is one. A launch that was about to use it makes another.
        """
        api = Api()
        api.everywhere(api.regions(), lambda region: Place(api, region).remove_group())

    def _existing(self, provider_id: str) -> tuple[Api, str, str, Mapping[str, Any]]:
        if parts := _parts(provider_id):
            api = Api()
            machine = _look(api, *parts)
            if machine is not None and machine["State"]["Name"] in _PRESENCE:
                return api, *parts, machine
        raise MachineNotFoundError(f"AWS has no machine {provider_id!r} any more.")


def _parts(provider_id: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"([a-z]{2,}(?:-[a-z]+)+-[0-9])/(i-[0-9a-f]{8,17})", provider_id)
    return (match[1], match[2]) if match else None


def _run(api: Api, place: Place, offer: Offer, spec: MachineSpec) -> str:
    vpc, subnet = place.subnet(offer.zone)
    image = place.image()
    network = {
        "DeviceIndex": 0,
        "SubnetId": subnet,
        "Groups": [place.group(vpc, spec.ingress, spec.beside)],
        "AssociatePublicIpAddress": True,
        "DeleteOnTermination": True,
    }
    disk = {
        "VolumeSize": max(round(spec.disk or DISK), image.size),
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    kinds = ["instance", "volume", "network-interface"]
    market = {}
    if offer.spot:
        kinds.append("spot-instances-request")
        once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        market["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
    answer = api.call(
        "ec2",
        offer.region,
        "RunInstances",
        ImageId=image.id,
        InstanceType=offer.machine_type,
        MinCount=1,
        MaxCount=1,
        ClientToken=spec.token,
        UserData=user_data(spec, _USER),
        NetworkInterfaces=[network],
        BlockDeviceMappings=[{"DeviceName": image.root, "Ebs": disk}],
        # a program on the machine can't be made to tell what the metadata service knows
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        InstanceInitiatedShutdownBehavior="terminate",
        TagSpecifications=[tags(kind, spec.name, spec.tags) for kind in kinds],
        **market,
    )
    return str(answer["Instances"][0]["InstanceId"])


def _made_before(api: Api, region: str, spec: MachineSpec, error: ProviderError) -> str:
    named = [{"Name": "tag:Name", "Values": [spec.name]}]
    with suppress(ProviderError):  # there is a machine: the first error, which rules nothing out, must stand
        found = api.pages("ec2", region, "DescribeInstances", "Reservations", Filters=named)
        for machine in (m for r in found for m in r["Instances"]):
            if machine.get("ClientToken") == spec.token:
                return str(machine["InstanceId"])
    raise error


def _born(api: Api, provider_id: str, at: float) -> float:
    return api.kept(f"born {provider_id}", _SETTLE, lambda: at)


def _is_new(api: Api, provider_id: str) -> bool:
    """Return whether it was made here a moment ago, so that AWS may not know it everywhere yet."""
    return time.time() - _born(api, provider_id, 0.0) < _SETTLE


def _look(api: Api, region: str, id: str) -> Mapping[str, Any] | None:
    try:
        answer = api.call("ec2", region, "DescribeInstances", InstanceIds=[id])
    except ProviderError as e:
        if e.cloud_code in UNKNOWN_MACHINE:
            return None
        raise
    machines: list[Mapping[str, Any]] = [m for r in answer["Reservations"] for m in r["Instances"]]
    return machines[0] if machines else None


def _description(api: Api, region: str, machine: Mapping[str, Any]) -> Description:
    all_tags = {t["Key"]: t["Value"] for t in machine.get("Tags", [])}
    name, id = all_tags.pop("Name", ""), machine["InstanceId"]
    all_tags.pop(OURS, None)
    # a machine that shuts down costs nothing from then on, and nothing brings it back
    presence = _PRESENCE.get(machine["State"]["Name"], Presence.GONE)
    address, ended_at = None, 0.0
    if presence is Presence.RUNNING and (host := machine.get("PublicIpAddress")):
        address = address_of(name, host, _USER)
    elif presence is Presence.GONE:
        reason = machine.get("StateReason", {}).get("Code", "")
        ended_at = _time_in(machine.get("StateTransitionReason", ""))
        if machine.get("InstanceLifecycle") == "spot" and not reason.startswith("Client."):
            presence, at = _fate(api, region, id)
            ended_at = ended_at or at
        if reason in _TAKEN_BACK:
            presence = Presence.PREEMPTED
    return Description(
        f"{region}/{id}",
        name,
        presence,
        address,
        tags=all_tags,
        poweroff=("sudo", "-n", "poweroff"),
        notice="aws",
        ended_at=ended_at,
    )


def _fate(api: Api, region: str, id: str) -> tuple[Presence, float]:
    """Return what became of a machine that ended, as far as its spot request tells, and when."""
    of_this = [{"Name": "instance-id", "Values": [id]}]
    with suppress(ProviderError):
        key = "SpotInstanceRequests"
        for request in api.pages("ec2", region, "DescribeSpotInstanceRequests", key, Filters=of_this):
            status = request["Status"]
            by_us = status["Code"].endswith("by-user")
            if status["Code"].startswith("instance-terminated") and not by_us:
                return Presence.PREEMPTED, status["UpdateTime"].timestamp()
    return Presence.GONE, 0.0


def _cancel_spot_request(api: Api, region: str, id: str) -> None:
    of_this = [{"Name": "instance-id", "Values": [id]}, {"Name": "state", "Values": ["open", "active"]}]
    with suppress(ProviderError):  # AWS closes a request for one machine by itself when that is terminated
        key = "SpotInstanceRequests"
        requests = api.pages("ec2", region, "DescribeSpotInstanceRequests", key, Filters=of_this)
        if ids := [r["SpotInstanceRequestId"] for r in requests]:
            api.call("ec2", region, "CancelSpotInstanceRequests", SpotInstanceRequestIds=ids)


def _time_in(reason: str) -> float:
    """Return when a machine changed its state: ``User initiated (2026-01-31 12:00:00 GMT)``."""
    if match := re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ", reason):
        when = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
        return when.timestamp()
    return 0.0
