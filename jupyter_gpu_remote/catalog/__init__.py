"""Machine types of the clouds and their list prices, as shipped: an offer needs no network to be known.

Live prices come on top. `README.md` in this folder says where the figures come from, `rebuild` makes them
anew from the clouds' own answers.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from ..model import GpuRequest
from ..offers import gpu_fits

_SIZE = re.compile(r"(-\d+g?|:\d+)(?=\+|$)")
"""What tells Google's types of one family apart."""


@dataclass(frozen=True)
class MachineType:
    """One type of machine that a cloud rents.

    Attributes:
        machine_type: The cloud's name for it. Where GPUs are attached to a type, that type and what is
            attached: ``n1-standard-8+nvidia-tesla-t4:1``.
        gpu: Our name for its GPUs (`offers.vendor_gpu`); empty for none.
        count: How many there are.
        gpu_memory: Memory of each, as it is sold, in GiB.
        cpus: Virtual CPU cores.
        memory: Main memory in GiB.
    """

    machine_type: str
    gpu: str
    count: int
    gpu_memory: float
    cpus: int
    memory: float


@dataclass(frozen=True)
class Price:
    """Dollars an hour for the whole machine in each market, without its disk; None where unknown."""

    on_demand: float | None
    spot: float | None


@functools.cache
def types(cloud: str) -> Sequence[MachineType]:
    """Return all types of `cloud` that are worth offering; none for a cloud that has no catalog."""
    return [
        MachineType(
            row["machine_type"],
            row["gpu"],
            int(row["count"]),
            float(row["gpu_memory"]),
            int(row["cpus"]),
            float(row["memory"]),
        )
        for row in _rows(f"{cloud}.csv")
    ]


def matching(cloud: str, request: GpuRequest) -> list[MachineType]:
    """Return the types of `cloud` with the GPUs, cores and memory that `request` asks for.

    They have exactly as many GPUs; without a GPU in the request, none at all.
    """
    return [t for t in types(cloud) if _fits(t, request)]


def prices(cloud: str, machine_type: str) -> Mapping[str, Price]:
    """Return the list prices of a type, by region; a type or region that is not known is not there."""
    return _prices(cloud).get(machine_type, {})


def _fits(machine: MachineType, request: GpuRequest) -> bool:
    if machine.cpus < request.cpus or machine.memory < request.memory:
        return False
    if not request.gpu:
        return not machine.gpu
    return machine.count == request.count and gpu_fits(request.gpu, machine.gpu, machine.gpu_memory)


@functools.cache
def _prices(cloud: str) -> Mapping[str, Mapping[str, Price]]:
    found: dict[str, dict[str, Price]] = {}
    for row in _rows(f"{cloud}_prices.csv"):
        region = row.pop("region")
        for machine_type, told in row.items():
            if told:  # "on demand/spot"; else the region does not have it
                on_demand, _, spot = told.partition("/")
                found.setdefault(machine_type, {})[region] = Price(_dollars(on_demand), _dollars(spot))
    return {
        t.machine_type: found.get(t.machine_type) or composed(t, types(cloud), found) for t in types(cloud)
    }


def composed(
    machine: MachineType, parts: Iterable[MachineType], prices: Mapping[str, Mapping[str, Price]]
) -> Mapping[str, Price]:
    """Return what a type costs that is so many times a smaller one of `prices`; empty where it is none."""
    for part in parts:
        times = machine.cpus // part.cpus
        many = (part.cpus * times, part.memory * times, part.count * times)
        if (
            part.machine_type in prices
            and times > 1
            and (machine.cpus, machine.memory, machine.count) == many
            and _SIZE.sub("", part.machine_type) == _SIZE.sub("", machine.machine_type)
        ):
            return {
                region: Price(_times(price.on_demand, times), _times(price.spot, times))
                for region, price in prices[part.machine_type].items()
            }
    return {}


def _times(price: float | None, times: int) -> float | None:
    return None if price is None else price * times


def _dollars(text: str) -> float | None:
    return float(text) if text else None


def _rows(name: str) -> Iterator[dict[str, str]]:
    file = files(__name__) / name
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines()
        yield from csv.DictReader(line for line in lines if not line.startswith("#"))
