"""The catalog that is shipped, and answers that are kept."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote import catalog
from jupyter_gpu_remote.catalog.cached import cached, forget
from jupyter_gpu_remote.config import state_dir
from jupyter_gpu_remote.model import GpuRequest
from jupyter_gpu_remote.offers import GPUS, parse_gpu

CLOUDS = ("aws", "gcp")


def names(cloud: str, **asked: Any) -> list[str]:
    return [t.machine_type for t in catalog.matching(cloud, GpuRequest(**asked))]


# what is in it


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_gpu_has_our_name_and_the_memory_it_is_sold_with(cloud: str) -> None:
    for machine in catalog.types(cloud):
        if machine.gpu:
            assert parse_gpu(machine.gpu) == (machine.gpu, 1)
            assert machine.gpu_memory in GPUS[machine.gpu.partition("-")[0]]
            assert machine.count > 0
        else:
            assert machine.count == machine.gpu_memory == 0
        assert machine.cpus > 0
        assert machine.memory > 0


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_type_is_there_twice(cloud: str) -> None:
    listed = [t.machine_type for t in catalog.types(cloud)]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_type_is_to_be_had_in_some_region_at_a_price_that_makes_sense(cloud: str) -> None:
    for machine in catalog.types(cloud):
        prices = catalog.prices(cloud, machine.machine_type)
        assert prices
        for price in prices.values():
            for dollars in filter(None, (price.on_demand, price.spot)):
                # between an idle core and the dearest GPU there is
                assert 0.005 < dollars < 25 * max(1, machine.count)
            if price.on_demand and price.spot:
                assert price.spot < price.on_demand


def test_a_machine_of_several_smaller_ones_costs_as_many_times_their_price() -> None:
    one, four = (catalog.prices("gcp", f"a2-highgpu-{n}g")["us-central1"] for n in (1, 4))
    assert one.on_demand and one.spot
    assert four == catalog.Price(4 * one.on_demand, 4 * one.spot)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_price_belongs_to_a_type(cloud: str) -> None:
    known = {t.machine_type for t in catalog.types(cloud)}
    file = Path(catalog.__file__).parent / f"{cloud}_prices.csv"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert set(lines[0].split(",")) <= {"region"} | known
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)?-[a-z]*\d+(,([\d.]*/[\d.]*)?)+", line) for line in lines[1:])


@pytest.mark.parametrize(
    ("cloud", "name", "gpu", "count", "gpu_memory", "cpus", "memory"),
    [
        ("aws", "g4dn.xlarge", "T4", 1, 16, 4, 16),
        ("aws", "g5.48xlarge", "A10G", 8, 24, 192, 768),
        ("aws", "g6e.12xlarge", "L40S", 4, 48, 48, 384),
        ("aws", "g7e.2xlarge", "RTXPRO6000", 1, 96, 8, 64),
        ("aws", "p4d.24xlarge", "A100-40GB", 8, 40, 96, 1152),
        ("aws", "p4de.24xlarge", "A100-80GB", 8, 80, 96, 1152),
        ("aws", "p5.4xlarge", "H100", 1, 80, 16, 256),
        ("aws", "p5en.48xlarge", "H200", 8, 141, 192, 2048),
        ("gcp", "a2-highgpu-1g", "A100-40GB", 1, 40, 12, 85),
        ("gcp", "a2-ultragpu-8g", "A100-80GB", 8, 80, 96, 1360),
        ("gcp", "a3-highgpu-8g", "H100", 8, 80, 208, 1872),
        ("gcp", "a3-ultragpu-8g", "H200", 8, 141, 224, 2952),
        ("gcp", "a4-highgpu-8g", "B200", 8, 180, 224, 3968),
        ("gcp", "g2-standard-24", "L4", 2, 24, 24, 96),
        ("gcp", "g4-standard-48", "RTXPRO6000", 1, 96, 48, 180),
        ("gcp", "n1-standard-8+nvidia-tesla-t4:1", "T4", 1, 16, 8, 30),
        ("gcp", "n1-standard-8+nvidia-tesla-v100:1", "V100-16GB", 1, 16, 8, 30),
    ],
)
def test_types_are_as_their_clouds_document_them(
    cloud: str, name: str, gpu: str, count: int, gpu_memory: float, cpus: int, memory: float
) -> None:
    expected = catalog.MachineType(name, gpu, count, gpu_memory, cpus, memory)
    assert expected in catalog.types(cloud)


def test_attached_gpus_are_spelled_so_that_they_can_be_attached() -> None:
    attached = [t for t in catalog.types("gcp") if "+" in t.machine_type]
    assert attached
    for machine in attached:
        match = re.fullmatch(r"n1-[a-z]+-\d+\+nvidia-tesla-[a-z0-9]+:(\d+)", machine.machine_type)
        assert match
        assert int(match[1]) == machine.count


# what fits


def test_a_gpu_without_a_memory_means_all_of_its_variants() -> None:
    assert names("aws", gpu="A100", count=8) == ["p4d.24xlarge", "p4de.24xlarge"]
    assert names("aws", gpu="A100-80GB", count=8) == ["p4de.24xlarge"]


def test_nobody_who_asks_for_one_gpu_is_offered_eight() -> None:
    assert names("aws", gpu="H100") == ["p5.4xlarge"]


def test_cores_and_memory_are_minima() -> None:
    assert names("aws", gpu="L40S", cpus=16, memory=200) == ["g6e.8xlarge", "g6e.16xlarge"]


def test_any_gpu_with_enough_memory_fits() -> None:
    fitting = catalog.matching("gcp", GpuRequest(gpu="any>=80GB"))
    assert {t.gpu for t in fitting} == {"A100-80GB", "H100", "RTXPRO6000"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_without_a_gpu_only_machines_without_one_fit(cloud: str) -> None:
    fitting = catalog.matching(cloud, GpuRequest(cloud=cloud, cpus=4))
    assert fitting
    assert all(not t.gpu and t.cpus >= 4 for t in fitting)


def test_a_cloud_without_a_catalog_has_no_types() -> None:
    assert catalog.types("local") == []
    assert catalog.prices("local", "this-computer") == {}


def test_importing_the_catalog_reads_none_of_it() -> None:
    code = (
        "import jupyter_gpu_remote.catalog.cached as c, jupyter_gpu_remote.catalog as k, sys;"
        "print(k.types.cache_info().currsize, [m for m in sys.modules if m in ('boto3', 'google.cloud')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "0 []\n"


# what is kept


class Made:
    """Makes another value each time, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> list[int]:
        self.times += 1
        return [self.times]


def files() -> list[Path]:
    return sorted((state_dir() / "cache").glob("*"))


def test_a_kept_answer_is_not_made_again() -> None:
    make = Made()
    assert [cached("prices", 60, make), cached("prices", 60, make)] == [[1], [1]]


def test_an_answer_that_is_too_old_is_made_again() -> None:
    make = Made()
    cached("prices", 60, make)
    assert cached("prices", -1, make) == [2]
    assert cached("prices", 60, make) == [2]


def test_answers_are_kept_apart() -> None:
    assert [cached("aws/us-east-1", 60, lambda: 1), cached("aws/us-west-2", 60, lambda: 2)] == [1, 2]


def test_a_forgotten_answer_is_made_again() -> None:
    make = Made()
    cached("prices", 60, make)
    forget("prices")
    forget("prices")
    assert cached("prices", 60, make) == [2]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"key": "prices"}', "\xff\xfe"])
def test_a_damaged_file_is_made_anew(damage: str) -> None:
    make = Made()
    cached("prices", 60, make)
    files()[0].write_bytes(damage.encode("latin-1"))
    assert cached("prices", 60, make) == [2]
    assert cached("prices", 60, make) == [2]


def test_what_was_written_in_the_future_is_not_believed() -> None:
    cached("prices", 60, lambda: 1)
    file = files()[0]
    file.write_text(json.dumps({**json.loads(file.read_text()), "at": 9e12}))
    assert cached("prices", 60, lambda: 2) == 2


def test_what_cannot_be_made_raises_and_nothing_is_kept() -> None:
    def fail() -> int:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        cached("prices", 60, fail)
    assert files() == []
    assert cached("prices", 60, lambda: 1) == 1


def test_an_answer_is_the_same_new_and_kept() -> None:
    new = cached("prices", 60, lambda: {"a": (1, 2)})
    assert new == cached("prices", 60, lambda: {"a": (1, 2)}) == {"a": [1, 2]}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_only_their_owner_may_read_answers() -> None:
    cached("prices", 60, lambda: 1)
    assert [stat.S_IMODE(f.stat().st_mode) for f in files()] == [0o600]


def test_many_at_once_all_get_a_whole_answer() -> None:
    start = threading.Barrier(8)

    def one(n: int) -> list[str]:
        start.wait()
        return [cached("prices", -1, lambda: str(n) * 10_000) for _ in range(20)][-1:]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(8)))
    assert [a == [str(n) * 10_000] for n, a in enumerate(answers)] == [True] * 8
    assert len(set(cached("prices", 60, lambda: "none"))) == 1
    assert len(files()) == 1
