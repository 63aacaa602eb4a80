"""What a machine needs in a region before it can be asked for: an image, a subnet, and a group of ours.

It changes rarely and is kept on disk; what AWS does not know any more is looked up once more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import NoCapacityError, ProviderError, RulesOut
from ..owner import installation
from .aws_api import DAY, Api

OURS = "gpu-remote"
"""The tag of all that we make."""
_KEPT = DAY / 2
_DRIVER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
_OLD_DRIVER = _DRIVER.replace("base-oss", "base-proprietary")
"""For Volta and what came before it, which the open driver does not know."""
_NO_DRIVER = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"


@dataclass(frozen=True)
class Image:
    """What a disk begins with; `size` in GiB is the least that it takes."""

    id: str
    root: str
    size: int


def tags(kind: str, name: str, more: Mapping[str, str]) -> dict[str, Any]:
    """Return the tags of something we make, as AWS wants them."""
    named = {"Name": name, OURS: "machine", **more}
    return {"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in named.items()]}


class Place:
    """One region, for one type of machine.

    Args:
        api: The account.
        region: Its name.
        machine_type: What is to be rented there.
        gpu: Its GPU; empty for none.
    """

    def __init__(self, api: Api, region: str, machine_type: str = "", gpu: str = "") -> None:
        self._api = api
        self._region = region
        self._parameter = _NO_DRIVER
        if gpu:
            self._parameter = _OLD_DRIVER if machine_type.startswith(("p2", "p3", "g3")) else _DRIVER
        self._image = f"image {region} {self._parameter}"
        self._subnets = f"subnets {region}"
        self._group = f"group {region}"

    def image(self) -> Image:
        """Return what to boot: with NVIDIA's driver where there is a GPU.

        Raises:
            ProviderError: AWS has no such image here.
        """

        def ask() -> list[Any]:
            try:
                answer = self._api.call("ssm", self._region, "GetParameter", Name=self._parameter)
            except ProviderError as e:
                if e.cloud_code == "ParameterNotFound":
                    e.message = (
                        f"AWS has no image in {self._region} for this GPU: {self._parameter} is missing."
                    )
                    e.hint, e.rules_out = "Use another --gpu or --region.", RulesOut.MARKET
                raise
            id = answer["Parameter"]["Value"]
            (image,) = self._call("DescribeImages", ImageIds=[id])["Images"]
            disks = {d.get("DeviceName"): d.get("Ebs", {}) for d in image["BlockDeviceMappings"]}
            root = image["RootDeviceName"]
            return [id, root, disks.get(root, {}).get("VolumeSize", 0)]

        return Image(*self._api.kept(self._image, _KEPT, ask))

    def subnet(self, zone: str) -> tuple[str, str]:
        """Return the VPC and the default subnet of a zone.

        Raises:
            NoCapacityError: There is none in this zone.
            ProviderError: The region has no default VPC.
        """

        def ask() -> dict[str, list[str]]:
            default = [{"Name": "default-for-az", "Values": ["true"]}]
            found = self._api.pages("ec2", self._region, "DescribeSubnets", "Subnets", Filters=default)
            if not found:
                raise ProviderError(
                    f"There is no default VPC in {self._region}, so a machine would have no network.",
                    hint=f"Make one, it costs nothing: aws ec2 create-default-vpc --region {self._region}.",
                    rules_out=RulesOut.REGION,
                )
            return {s["AvailabilityZone"]: [s["VpcId"], s["SubnetId"]] for s in found}

        subnets = self._api.kept(self._subnets, _KEPT, ask)
        if zone not in subnets:
            raise NoCapacityError(
                f"The default VPC has no subnet in {zone}.",
                hint=f"Make one: aws ec2 create-default-subnet --availability-zone {zone}.",
            )
        vpc, subnet = subnets[zone]
        return vpc, subnet

    def group(self, vpc: str, ingress: str, among: bool) -> str:
        """Return the id of our security group, which lets `ingress` and nobody else connect.

        With `among`, machines in it may reach each other.
        """

        def ask() -> list[str]:
            group = self._found_group(vpc) or self._made_group(vpc)
            self._admit_to(group, ingress, among)
            return [str(group["GroupId"]), vpc, ingress, "among" if among else ""]

        id, *known = self._api.kept(self._group, _KEPT, ask)
        if known[:2] != [vpc, ingress] or (among and known[2:] != ["among"]):
            self._api.forget(self._group)
            id = self._api.kept(self._group, _KEPT, ask)[0]
        return id

    def admit(self, ingress: str) -> None:
        """Let `ingress` connect to our machines here, in place of whoever might before."""
        self._api.forget(self._group)
        for group in self._groups():
            self._admit_to(group, ingress)

    def remove_group(self) -> None:
        """Remove our security group here, unless a machine still uses it."""
        for group in self._groups():
            with suppress(ProviderError):  # AWS refuses while there is one; it goes with that one
                self._call("DeleteSecurityGroup", GroupId=group["GroupId"])
                self._api.forget(self._group)

    def forget(self) -> None:
        """Look everything up anew next time."""
        for what in (self._image, self._subnets, self._group):
            self._api.forget(what)

    def _groups(self) -> list[dict[str, Any]]:
        ours = [{"Name": "group-name", "Values": [_group_name()]}]
        return self._api.pages("ec2", self._region, "DescribeSecurityGroups", "SecurityGroups", Filters=ours)

    def _found_group(self, vpc: str) -> dict[str, Any] | None:
        return next((g for g in self._groups() if g.get("VpcId") == vpc), None)

    def _made_group(self, vpc: str) -> dict[str, Any]:
        name = _group_name()
        try:
            made = self._call(
                "CreateSecurityGroup",
                GroupName=name,
                Description="SSH to the machines of jupyter_gpu_remote",
                VpcId=vpc,
                TagSpecifications=[tags("security-group", name, {})],
            )
        except ProviderError as e:
            # another process was faster
            if e.cloud_code != "InvalidGroup.Duplicate" or not (found := self._found_group(vpc)):
                raise
            return found
        return {"GroupId": made["GroupId"], "IpPermissions": []}

    def _admit_to(self, group: Mapping[str, Any], ingress: str, among: bool = False) -> None:
        wanted = _rule(ingress) if ingress else None
        # the one among themselves stays, whoever else comes and goes
        rules = [rule for rule in group["IpPermissions"] if not rule.get("UserIdGroupPairs")]
        old = [_plain(rule) for rule in rules]
        new = [wanted] if wanted and wanted not in old else []
        if among and len(rules) == len(group["IpPermissions"]):
            new.append({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group["GroupId"]}]})
        for rule in new:
            with _unless("InvalidPermission.Duplicate"):  # another process was faster
                self._call("AuthorizeSecurityGroupIngress", GroupId=group["GroupId"], IpPermissions=[rule])
        if others := [rule for rule in old if rule != wanted]:
            with _unless("InvalidPermission.NotFound"):
                self._call("RevokeSecurityGroupIngress", GroupId=group["GroupId"], IpPermissions=others)

    def _call(self, action: str, **params: Any) -> dict[str, Any]:
        return self._api.call("ec2", self._region, action, **params)


class _unless:
    """Passes over a refusal with this code."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, ProviderError) and error.cloud_code == self._code


def _group_name() -> str:
    return f"gpu-remote-{installation()[:8]}"


def _rule(ingress: str) -> dict[str, Any]:
    ranges = {"IpRanges": [{"CidrIp": ingress}]}
    if ipaddress.ip_network(ingress).version == 6:
        ranges = {"Ipv6Ranges": [{"CidrIpv6": ingress}]}
    return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **ranges}


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule that AWS lists as it was written: without what is empty or a description."""
    return {
        key: [{k: v for k, v in r.items() if k != "Description"} for r in value]
        if isinstance(value, list)
        else value
        for key, value in rule.items()
        if value != []
    }
