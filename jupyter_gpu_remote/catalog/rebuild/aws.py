"""AWS: DescribeInstanceTypes in each region, and the public price list of that region."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import dropwhile
from typing import Any
from urllib.request import urlopen

from ...offers import GPUS, vendor_gpu
from .. import MachineType, Price
from . import Catalog

_PRICE_LIST = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current/{region}/index.csv"
_ANSWER_LIMIT = 120.0
"""Seconds without a byte after which a price list counts as failed; a whole one has some 300 MB."""

_WITHOUT_GPU = {
    f"{family}.{size}"
    for family in ("m7i", "c7i", "r7i")
    for size in ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge")
}
"""The machines for those who ask for no GPU."""

_LINUX_BY_THE_HOUR = {
    "TermType": "OnDemand",
    "Unit": "Hrs",
    "Currency": "USD",
    "Location Type": "AWS Region",
    "Tenancy": "Shared",
    "Operating System": "Linux",
    "Pre Installed S/W": "NA",
    "CapacityStatus": "Used",
}
"""The line of a price list among the dozens for the same machine; other columns do not matter."""


def read_types(described: Iterable[Mapping[str, Any]]) -> list[MachineType]:
    """Return the types worth offering among those of DescribeInstanceTypes answers.

    ARM is left out because what is sent to a machine is built for x86-64, and parts of a GPU because who
    asks for a GPU means a whole one.
    """
    return [machine for answer in described if (machine := _read_type(answer))]


def _read_type(answer: Mapping[str, Any]) -> MachineType | None:
    if answer["BareMetal"] or "x86_64" not in answer["ProcessorInfo"]["SupportedArchitectures"]:
        return None
    name, gpu, count, gpu_memory = answer["InstanceType"], "", 0, 0.0
    if gpus := answer.get("GpuInfo", {}).get("Gpus"):
        model = gpus[0]
        gpu = vendor_gpu(model["Name"], model["MemoryInfo"]["SizeInMiB"] / 1024)
        count = model["Count"]
        gpu_memory = sold_with(gpu)
        if model["Manufacturer"] != "NVIDIA" or not count or not gpu_memory:
            return None
    elif name not in _WITHOUT_GPU:
        return None
    memory = answer["MemoryInfo"]["SizeInMiB"] / 1024
    return MachineType(name, gpu, count, gpu_memory, answer["VCpuInfo"]["DefaultVCpus"], memory)


def sold_with(gpu: str) -> float:
    """Return the memory that a GPU is sold with, in GiB; 0 for one that we do not know."""
    family, _, size = gpu.partition("-")
    if size.endswith("GB"):
        return float(size[:-2])
    return float(GPUS.get(family, (0,))[0])


def read_prices(lines: Iterable[str]) -> dict[str, float]:
    """Return the on-demand price of every machine type in a price list, in dollars an hour.

    Args:
        lines: A price list of one region as CSV; a few lines about the list itself stand before its head.
    """
    found = {}
    for row in csv.DictReader(dropwhile(lambda line: not line.startswith('"SKU"'), lines)):
        if any(row.get(column) != value for column, value in _LINUX_BY_THE_HOUR.items()):
            continue
        # a block of capacity paid in advance is listed beside the price for everybody
        if row.get("MarketOption") not in (None, "", "OnDemand"):
            continue
        if (dollars := float(row["PricePerUnit"])) > 0:
            found[row["Instance Type"]] = dollars
    return found


def fetch(say: Callable[[str], None]) -> Catalog:
    """Ask all regions that the account may use.

    Args:
        say: Told what is going on.
    """
    import boto3

    regions = boto3.client("ec2", region_name="us-east-1").describe_regions()["Regions"]
    types: dict[str, MachineType] = {}
    prices: dict[str, dict[str, Price]] = {}
    failed = {}
    for n, region in enumerate(sorted(r["RegionName"] for r in regions), 1):
        say(f"{region} ({n} of {len(regions)})")
        try:
            here = read_types(_described(boto3.client("ec2", region_name=region)))
            listed = read_prices(_price_list(region))
        except Exception as e:  # whatever the SDK and the network raise: the other regions go on
            failed[region] = f"{type(e).__name__}: {e}"
            continue
        for machine in here:
            types[machine.machine_type] = machine
            price = Price(listed.get(machine.machine_type), None)
            prices.setdefault(machine.machine_type, {})[region] = price
    return Catalog(list(types.values()), prices, failed)


def _described(ec2: Any) -> Iterator[Mapping[str, Any]]:
    for page in ec2.get_paginator("describe_instance_types").paginate():
        yield from page["InstanceTypes"]


def _price_list(region: str) -> Iterator[str]:
    with urlopen(_PRICE_LIST.format(region=region), timeout=_ANSWER_LIMIT) as answer:
        yield from io.TextIOWrapper(answer, encoding="utf-8", newline="")
