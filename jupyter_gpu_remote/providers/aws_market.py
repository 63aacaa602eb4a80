"""What AWS has, and for how much: the catalog, with zones, prices and quotas from AWS itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .. import catalog
from ..catalog import MachineType
from ..errors import NoCapacityError, ProviderAuthError, ProviderError, QuotaError
from ..model import GpuRequest, Offer
from .aws_api import AT_ONCE, DAY, Api
from .aws_errors import quota_hint

DISK = 100.0
"""GiB of disk where nothing else is asked for: the image takes some 40 of it."""
_DISK_PRICE = 0.10 / 730
"""Dollars an hour for a GiB of gp3; AWS takes 0.08 to 0.15 a month, by region."""
_ADDRESS_PRICE = 0.005
"""Dollars an hour for the public IPv4 address of a machine that runs."""
_PRICES_KEPT = 300.0
_QUOTAS_KEPT = 900.0
"""Seconds."""
_LEFT_OUT = "left out"
_PRICING = "us-east-1"
"""A region where the price list of all regions can be asked for."""
_FOR_LINUX = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
"""What tells the price for everybody from dozens of others for the same machine."""
_QUOTA_NAMES = {
    "L-3819A6DF": "All G and VT Spot Instance Requests",
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-7212CCBC": "All P4, P3 and P2 Spot Instance Requests",
    "L-C4BD4855": "All P5 Spot Instance Requests",
    "L-417A185B": "Running On-Demand P instances",
    "L-34B43A08": "All Standard Spot Instance Requests",
    "L-1216C47A": "Running On-Demand Standard instances",
}


@dataclass(frozen=True)
class _Short:
    """A quota that is too small for a type."""

    code: str
    region: str
    value: float
    needed: int


@dataclass
class _LeftOut:
    """What fits and is not offered: for a quota, or because AWS did not tell its price."""

    short: list[_Short] = field(default_factory=list)
    unpriced: list[str] = field(default_factory=list)
    """Regions."""
    refused: list[ProviderError] = field(default_factory=list)
    """Why there are no prices."""

    def __str__(self) -> str:
        said = [f"Left out for your quotas at AWS: {_said(self.short)}."] if self.short else []
        if self.unpriced and self.refused:
            where = _where(self.unpriced)
            said.append(f"Left out on demand in {where}, as the price is unknown: {self.refused[0].message}")
        return " ".join(said)


def offers(api: Api, request: GpuRequest) -> list[Offer]:
    """Return what fits `request`, spot and on demand, in every region that the account has enabled.

    Raises:
        QuotaError: All of it is above the account's quotas.
        NoCapacityError: AWS does not tell the price of any of it.
        ProviderError: No region answered.
    """
    types = catalog.matching("aws", request)
    if not types:
        return []
    regions = [r for r in api.regions() if request.region in ("", r) and (request.zone or r).startswith(r)]
    left = _LeftOut()
    bought = types if request.spot is not True else []
    with ThreadPoolExecutor(AT_ONCE) as aside:  # while the regions are asked what they have
        listed = {
            t.machine_type: aside.submit(_list_prices, api, t.machine_type, regions, left.refused)
            for t in bought
        }
        found = [
            offer
            for there in api.everywhere(
                regions, lambda region: _in_region(api, region, types, request, listed, left)
            )
            for offer in there
            if request.zone in ("", offer.zone)
        ]
    if not found and left.short:
        raise QuotaError(
            f"Your quotas at AWS do not allow it: {_said(left.short)}.",
            hint=quota_hint(left.short[0].region, left.short[0].code),
            cloud_code=left.short[0].code,
        )
    if not found and left.unpriced and left.refused:
        raise NoCapacityError(str(left), hint=left.refused[0].hint)
    note = str(left)
    api.forget(_LEFT_OUT)
    api.kept(_LEFT_OUT, _QUOTAS_KEPT, lambda: note)
    return found


def left_out(api: Api) -> str:
    """Return what the last offers lacked, and why; empty for nothing."""
    return api.kept(_LEFT_OUT, _QUOTAS_KEPT, str)


def _in_region(
    api: Api,
    region: str,
    types: Sequence[MachineType],
    request: GpuRequest,
    listed: Mapping[str, Future[dict[str, float]]],
    left: _LeftOut,
) -> list[Offer]:
    zones = _zones(api, region, types)
    types = [t for t in types if zones.get(t.machine_type)]
    live = _spot_prices(api, region, types) if types and request.spot is not False else {}
    found = []
    for machine in types:
        for spot in (True, False):
            if request.spot not in (None, spot):
                continue
            prices = live.get(machine.machine_type, {}) if spot else {}
            if not spot and (price := listed[machine.machine_type].result().get(region)):
                prices = dict.fromkeys(zones[machine.machine_type], price)
            elif not spot:
                left.unpriced.append(region)
            if prices and (lack := _shortage(api, region, machine, spot)):
                left.short.append(lack)
                continue
            found += [_offer(machine, region, z, spot, p, request.disk) for z, p in prices.items()]
    return found


def _offer(machine: MachineType, region: str, zone: str, spot: bool, price: float, disk: float) -> Offer:
    kept = (disk or DISK) * _DISK_PRICE
    return Offer(
        "aws",
        machine.machine_type,
        machine.gpu,
        machine.count,
        machine.gpu_memory,
        machine.cpus,
        machine.memory,
        region,
        zone,
        spot,
        round(price + kept + _ADDRESS_PRICE, 4),
        None if spot else round(kept, 4),
    )


def _zones(api: Api, region: str, types: Sequence[MachineType]) -> dict[str, list[str]]:
    names = sorted(t.machine_type for t in types)

    def ask() -> dict[str, list[str]]:
        rows = api.pages(
            "ec2",
            region,
            "DescribeInstanceTypeOfferings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": names}],
        )
        zones: dict[str, list[str]] = {}
        for row in rows:
            if re.fullmatch(region + "[a-z]", row["Location"]):  # not those of a city or of a carrier
                zones.setdefault(row["InstanceType"], []).append(row["Location"])
        return zones

    return api.kept(f"zones {region} {names}", DAY, ask)


def _spot_prices(api: Api, region: str, types: Sequence[MachineType]) -> dict[str, dict[str, float]]:
    names = sorted(t.machine_type for t in types)

    def ask() -> dict[str, dict[str, float]]:
        rows = api.pages(
            "ec2",
            region,
            "DescribeSpotPriceHistory",
            "SpotPriceHistory",
            InstanceTypes=names,
            ProductDescriptions=["Linux/UNIX"],
            StartTime=datetime.now(timezone.utc),  # the last price before it is what holds
        )
        prices: dict[str, dict[str, float]] = {}
        for row in sorted(rows, key=lambda row: row["Timestamp"]):
            if re.fullmatch(region + "[a-z]", row["AvailabilityZone"]):
                zones = prices.setdefault(row["InstanceType"], {})
                zones[row["AvailabilityZone"]] = float(row["SpotPrice"])
        return prices

    return api.kept(f"spot {region} {names}", _PRICES_KEPT, ask)


def _list_prices(
    api: Api, machine_type: str, regions: Iterable[str], refused: list[ProviderError]
) -> dict[str, float]:
    """Return the prices on demand by region: the catalog's, and AWS's where that lacks one of `regions`.

    That AWS does not tell them is no error: why goes to `refused`.
    """
    shipped = catalog.prices("aws", machine_type).items()
    prices = {region: price.on_demand for region, price in shipped if price.on_demand}
    if not refused and not prices.keys() >= set(regions):  # one that is waited for in vain is enough
        try:
            prices |= api.kept(f"listed {machine_type}", DAY, lambda: _told_prices(api, machine_type))
        except ProviderError as e:
            refused.append(e)
    return prices


def _told_prices(api: Api, machine_type: str) -> dict[str, float]:
    wanted = {"instanceType": machine_type, **_FOR_LINUX}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    asked = {"ServiceCode": "AmazonEC2", "Filters": filters}
    prices = {}
    for text in api.pages("pricing", _PRICING, "GetProducts", "PriceList", **asked):
        product = json.loads(text)
        about = product["product"]["attributes"]
        # beside the price for everybody: blocks of capacity paid in advance, and what a city's zone takes
        if about.get("marketoption", "OnDemand") != "OnDemand" or about.get("locationType") != "AWS Region":
            continue
        for term in product["terms"].get("OnDemand", {}).values():
            for price in term["priceDimensions"].values():
                if price["unit"] == "Hrs" and (dollars := float(price["pricePerUnit"].get("USD", 0))):
                    prices[about["regionCode"]] = dollars
    return prices


def _quota_code(machine_type: str, spot: bool) -> str:
    family = machine_type.partition(".")[0]
    if re.match(r"(g|vt)\d|gr\d", family):
        return "L-3819A6DF" if spot else "L-DB2E81BA"
    if re.match(r"p\d", family):
        if not spot:
            return "L-417A185B"
        # newer ones have quotas of their own, whose codes nobody wrote down
        return {"2": "L-7212CCBC", "3": "L-7212CCBC", "4": "L-7212CCBC", "5": "L-C4BD4855"}.get(family[1], "")
    return "L-34B43A08" if spot else "L-1216C47A"


def _shortage(api: Api, region: str, machine: MachineType, spot: bool) -> _Short | None:
    """Return the quota that a type is above; None when it is not, or when we may not know."""
    if not (code := _quota_code(machine.machine_type, spot)):
        return None

    def ask() -> float | None:
        try:
            answer = api.call("service-quotas", region, "GetServiceQuota", ServiceCode="ec2", QuotaCode=code)
        except ProviderAuthError as e:
            if e.cloud_code in ("AccessDeniedException", "AccessDenied"):
                return None  # a permission that is good to have
            raise
        except ProviderError:
            return None
        return float(answer["Quota"]["Value"])

    value = api.kept(f"quota {region} {code}", _QUOTAS_KEPT, ask)
    if value is None or machine.cpus <= value:
        return None
    return _Short(code, region, value, machine.cpus)


def _said(short: Sequence[_Short]) -> str:
    by_code: dict[str, list[_Short]] = {}
    for lack in short:
        by_code.setdefault(lack.code, []).append(lack)
    said = []
    for code, lacks in by_code.items():
        where = _where(lack.region for lack in lacks)
        most, least = max(lack.value for lack in lacks), min(lack.needed for lack in lacks)
        said.append(f"{_QUOTA_NAMES[code]!r} is {most:g} vCPU in {where}, and {least} are needed")
    return "; ".join(said)


def _where(regions: Iterable[str]) -> str:
    names = sorted(set(regions))
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} regions"
