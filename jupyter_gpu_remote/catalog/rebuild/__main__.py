"""``python -m jupyter_gpu_remote.catalog.rebuild``: writes the files of the catalog anew."""

from __future__ import annotations

import argparse
import csv
import datetime
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import MachineType, Price, composed, prices, types
from . import Catalog, Prices, aws, gcp

_FOLDER = Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch, write, and return 0, or 1 when some regions did not answer."""
    parser = argparse.ArgumentParser(
        prog="python -m jupyter_gpu_remote.catalog.rebuild",
        description=(__doc__ or "").partition(": ")[2].capitalize(),
    )
    parser.add_argument("cloud", choices=["aws", "gcp"], help="which cloud, with the credentials it has here")
    parser.add_argument("--project", help="gcp: the project to ask as")
    parser.add_argument("--to", type=Path, default=_FOLDER, metavar="FOLDER", help="where to write them")
    given = parser.parse_args(argv)
    if given.cloud == "gcp" and not given.project:
        parser.error("gcp needs --project")
    catalog = gcp.fetch(given.project, _say) if given.cloud == "gcp" else aws.fetch(_say)
    if not catalog.types:
        _say("nothing was found, nothing was written")
        return 1
    write(given.cloud, catalog, given.to)
    for region, why in catalog.failed.items():
        _say(f"{region} failed, what was known of it stays: {why}")
    for family in sorted(catalog.unknown):
        _say(f"{family} is new: teach gcp.py what its parts are called in the price list")
    without = [name for name, by_region in catalog.prices.items() if not any(map(_known, by_region.values()))]
    if without:
        _say(f"no price was found for: {', '.join(sorted(without))}")
    return 1 if catalog.failed else 0


def write(cloud: str, catalog: Catalog, folder: Path) -> None:
    """Write both files of a cloud; regions that failed keep the figures that the catalog has now."""
    merged = {machine.machine_type: machine for machine in catalog.types}
    rows = {name: dict(by_region) for name, by_region in catalog.prices.items()}
    for machine in types(cloud):
        for region, price in prices(cloud, machine.machine_type).items():
            if region_failed(region, catalog):
                merged.setdefault(machine.machine_type, machine)
                rows.setdefault(machine.machine_type, {}).setdefault(region, price)
    order = sorted(merged.values(), key=lambda m: (m.gpu, m.count, m.cpus, m.memory, m.machine_type))
    with (folder / f"{cloud}.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["machine_type", "gpu", "count", "gpu_memory", "cpus", "memory"])
        lines.writerows(_cells(machine) for machine in order)
    with (folder / f"{cloud}_prices.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(f"# Made on {datetime.date.today()} from {cloud}'s own answers.\n")
        lines = csv.writer(file, lineterminator="\n")
        table = not_composed(order, rows)
        lines.writerow(["region", *table])
        for region in sorted({region for by_region in rows.values() for region in by_region}):
            lines.writerow([region, *(_both(rows[name].get(region)) for name in table)])


def not_composed(machines: Sequence[MachineType], prices: Prices) -> list[str]:
    """Return the types, smaller ones first, whose prices are not so many times those of a smaller one."""
    table: dict[str, Mapping[str, Price]] = {}
    for machine in machines:
        there = prices[machine.machine_type]
        if not _equal(composed(machine, machines, table), there):
            table[machine.machine_type] = there
    return list(table)


def _equal(some: Mapping[str, Price], others: Mapping[str, Price]) -> bool:
    """Return whether prices are the same but for what was rounded."""

    def near(one: float | None, other: float | None) -> bool:
        return one == other if one is None or other is None else math.isclose(one, other, abs_tol=3e-4)

    return some.keys() == others.keys() and all(
        near(some[region].on_demand, others[region].on_demand)
        and near(some[region].spot, others[region].spot)
        for region in some
    )


def region_failed(region: str, catalog: Catalog) -> bool:
    """Return whether a region, or a zone of it, did not answer."""
    return any(f"{place.rpartition('/')[2]}-".startswith(f"{region}-") for place in catalog.failed)


def _known(price: Price) -> bool:
    return price.on_demand is not None or price.spot is not None


def _cells(machine: MachineType) -> list[str | int]:
    gpu_memory, memory = f"{machine.gpu_memory:g}", f"{machine.memory:g}"
    return [machine.machine_type, machine.gpu, machine.count, gpu_memory, machine.cpus, memory]


def _both(price: Price | None) -> str:
    return "" if price is None else f"{_dollars(price.on_demand)}/{_dollars(price.spot)}"


def _dollars(value: float | None) -> str:
    return "" if value is None else f"{round(value, 5):.8g}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
