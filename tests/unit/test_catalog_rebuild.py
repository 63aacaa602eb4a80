"""Reading what the clouds answer, in the formats that they document."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_gpu_remote import catalog
from jupyter_gpu_remote.catalog import MachineType, Price
from jupyter_gpu_remote.catalog.rebuild import Catalog, aws, gcp
from jupyter_gpu_remote.catalog.rebuild.__main__ import main, write

# AWS


def described(name: str, gpu: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "InstanceType": name,
        "BareMetal": False,
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "VCpuInfo": {"DefaultVCpus": 8},
        "MemoryInfo": {"SizeInMiB": 65536},
    }
    if gpu:
        answer["GpuInfo"] = {
            "Gpus": [{"Manufacturer": "NVIDIA", "Count": 1, **gpu}],
            "TotalGpuMemoryInMiB": 0,
        }
    return {**answer, **changes}


RTX = {"Name": "RTX PRO Server 6000", "MemoryInfo": {"SizeInMiB": 98304}}
A100 = {"Name": "A100", "Count": 8, "MemoryInfo": {"SizeInMiB": 81920}}
L4 = {"Name": "L4", "MemoryInfo": {"SizeInMiB": 22888}}


def test_an_aws_type_gets_our_name_for_its_gpu_and_the_memory_it_is_sold_with() -> None:
    assert aws.read_types([described("g7e.2xlarge", RTX), described("p4de.24xlarge", A100)]) == [
        MachineType("g7e.2xlarge", "RTXPRO6000", 1, 96, 8, 64),
        MachineType("p4de.24xlarge", "A100-80GB", 8, 80, 8, 64),
    ]


@pytest.mark.parametrize(
    "left_out",
    [
        described("g5g.xlarge", L4, ProcessorInfo={"SupportedArchitectures": ["arm64"]}),
        described("g4dn.metal", L4, BareMetal=True),
        described("g6f.large", {**L4, "Count": 0}),
        described("g4ad.xlarge", {**L4, "Manufacturer": "AMD"}),
        described("g9.xlarge", {**L4, "Name": "Voodoo"}),
        described("t2.nano"),
    ],
    ids=lambda answer: str(answer["InstanceType"]),
)
def test_an_aws_type_that_nobody_could_use_is_left_out(left_out: dict[str, Any]) -> None:
    assert aws.read_types([left_out]) == []


def test_a_few_aws_types_without_gpu_are_kept() -> None:
    assert aws.read_types([described("m7i.2xlarge")]) == [MachineType("m7i.2xlarge", "", 0, 0, 8, 64)]


LINE = {
    "SKU": "ABC",
    "TermType": "OnDemand",
    "PriceDescription": '$1.006 per "On Demand" Linux g5.xlarge Instance Hour',
    "Unit": "Hrs",
    "PricePerUnit": "1.0060000000",
    "Currency": "USD",
    "Location Type": "AWS Region",
    "Instance Type": "g5.xlarge",
    "Tenancy": "Shared",
    "Operating System": "Linux",
    "CapacityStatus": "Used",
    "Pre Installed S/W": "NA",
    "MarketOption": "OnDemand",
}


def price_list(*changes: Mapping[str, str]) -> list[str]:
    text = io.StringIO()
    text.write('"FormatVersion","v1.0"\n"Disclaimer","Not binding."\n"Publication Date","2026-07-20"\n')
    lines = csv.DictWriter(text, LINE, quoting=csv.QUOTE_ALL, lineterminator="\n")
    lines.writeheader()
    lines.writerows({**LINE, **change} for change in changes)
    return text.getvalue().splitlines(keepends=True)


def test_the_price_of_a_linux_machine_by_the_hour_is_found_in_a_price_list() -> None:
    assert aws.read_prices(price_list({})) == {"g5.xlarge": 1.006}


@pytest.mark.parametrize(
    "change",
    [
        {"TermType": "Reserved"},
        {"Tenancy": "Dedicated"},
        {"Operating System": "Windows"},
        {"Pre Installed S/W": "SQL Std"},
        {"CapacityStatus": "AllocatedCapacityReservation"},
        {"Location Type": "AWS Local Zone"},
        {"MarketOption": "CapacityBlock"},
        {"Unit": "Quantity"},
        {"PricePerUnit": "0.0000000000"},
    ],
    ids=str,
)
def test_other_lines_for_the_same_machine_are_not_its_price(change: Mapping[str, str]) -> None:
    assert aws.read_prices(price_list({**change, "Instance Type": "p5.48xlarge"}, {})) == {"g5.xlarge": 1.006}


def test_what_is_shipped_is_what_ec2_describes(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    shipped = {t.machine_type: t for t in catalog.types("aws")}
    with mock_aws():
        ec2 = boto3.client("ec2", region_name="us-east-1")
        answer = ec2.describe_instance_types(InstanceTypes=list(shipped))
    assert {t.machine_type: t for t in aws.read_types(answer["InstanceTypes"])} == shipped


# GCP


def machine(name: str, cpus: int, memory: float, zone: str = "us-central1-a", **more: Any) -> dict[str, Any]:
    address = f"https://www.googleapis.com/compute/v1/projects/p/zones/{zone}"
    return {"name": name, "guestCpus": cpus, "memoryMb": memory * 1024, "zone": address, **more}


def accelerated(name: str, gpu: str, count: int, **more: Any) -> dict[str, Any]:
    attached = [{"guestAcceleratorType": gpu, "guestAcceleratorCount": count}]
    return machine(name, 12, 85, accelerators=attached, **more)


def sku(text: str, dollars: float, usage: str = "OnDemand", group: str = "CPU") -> dict[str, Any]:
    rate = {"units": str(int(dollars)), "nanos": round(dollars % 1 * 1e9), "currencyCode": "USD"}
    tiers = [{"startUsageAmount": 0, "unitPrice": rate}]
    return {
        "description": text,
        "category": {"resourceFamily": "Compute", "resourceGroup": group, "usageType": usage},
        "serviceRegions": ["us-central1", "us-east1"],
        "pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": tiers}}],
    }


A2 = accelerated("a2-highgpu-1g", "nvidia-tesla-a100", 1)
N1 = machine("n1-standard-8", 8, 30)
HERE = frozenset({"us-central1"})


def test_a_gcp_type_is_had_in_the_regions_of_its_zones() -> None:
    elsewhere = {**A2, "zone": "https://x/zones/europe-west4-b"}
    types, where = gcp.read_types([A2, elsewhere], {})
    assert types == [MachineType("a2-highgpu-1g", "A100-40GB", 1, 40, 12, 85)]
    assert where == {"a2-highgpu-1g": {"us-central1", "europe-west4"}}


def test_gpus_are_attached_where_there_are_both() -> None:
    elsewhere = machine("n1-standard-8", 8, 30, "us-west1-a")
    types, where = gcp.read_types([N1, elsewhere], {"nvidia-tesla-t4": HERE | {"asia-east1"}})
    assert MachineType("n1-standard-8+nvidia-tesla-t4:1", "T4", 1, 16, 8, 30) in types
    assert {region for found in where.values() for region in found} == {"us-central1"}


@pytest.mark.parametrize(
    "left_out",
    [
        accelerated("a4x-highgpu-4g", "nvidia-gb200", 4, architecture="ARM64"),
        accelerated("a2-highgpu-1g", "nvidia-tesla-a100", 1, deprecated={"state": "DEPRECATED"}),
        accelerated("a3-ultragpu-8g-nolssd", "nvidia-h200-141gb", 8),
        accelerated("g4-standard-6", "nvidia-rtx-pro-6000", 1),
        accelerated("ct5lp-hightpu-1t", "ct5lp", 1),
        machine("c3-standard-4", 4, 16),
    ],
    ids=lambda answer: str(answer["name"]),
)
def test_a_gcp_type_that_nobody_could_use_is_left_out(left_out: dict[str, Any]) -> None:
    assert gcp.read_types([left_out], {}) == ([], {})


def test_a_new_family_with_gpus_is_pointed_out() -> None:
    assert gcp.unknown_families([accelerated("a9-highgpu-8g", "nvidia-r100", 8), A2]) == {"a9-highgpu"}


def prices(machines: list[dict[str, Any]], *skus: dict[str, Any], attachable: Any = None) -> Any:
    types, where = gcp.read_types(machines, attachable or {})
    return gcp.read_prices(types, where, gcp.read_rates(skus))


SPOT = "attached to Spot Preemptible VMs running in Americas"
A2_PARTS = (
    sku("A2 Instance Core running in Americas", 0.03),
    sku("A2 Instance Ram running in Americas", 0.004, group="RAM"),
    sku("Nvidia Tesla A100 GPU running in Americas", 2.9, group="GPU"),
    sku("Spot Preemptible A2 Instance Core running in Americas", 0.01, "Preemptible"),
    sku("Spot Preemptible A2 Instance Ram running in Americas", 0.001, "Preemptible", "RAM"),
    sku(f"Nvidia Tesla A100 GPU {SPOT}", 1.7, "Preemptible", "GPU"),
    sku("Nvidia Tesla A100 80GB GPU running in Americas", 3.9, group="GPU"),
)


def test_a_gcp_machine_costs_what_its_parts_cost() -> None:
    price = prices([A2], *A2_PARTS)["a2-highgpu-1g"]["us-central1"]
    assert price.on_demand == pytest.approx(12 * 0.03 + 85 * 0.004 + 2.9)
    assert price.spot == pytest.approx(12 * 0.01 + 85 * 0.001 + 1.7)


def test_a_machine_with_an_attached_gpu_costs_both() -> None:
    found = prices(
        [N1],
        sku("N1 Predefined Instance Core running in Americas", 0.03, group="N1Standard"),
        sku("N1 Predefined Instance Ram running in Americas", 0.004, group="N1Standard"),
        sku("Nvidia Tesla T4 GPU running in Americas", 0.35, group="GPU"),
        attachable={"nvidia-tesla-t4": HERE},
    )
    expected = Price(pytest.approx(8 * 0.03 + 30 * 0.004 + 0.35), None)  # type: ignore[arg-type]
    assert found["n1-standard-8+nvidia-tesla-t4:1"] == {"us-central1": expected}


def test_a_local_ssd_that_comes_with_a_machine_is_part_of_its_price() -> None:
    ssd = sku("SSD backed Local Storage", 0.08, group="LocalSSD")
    ultra = accelerated("a2-ultragpu-1g", "nvidia-a100-80gb", 1)
    price = prices([ultra], *A2_PARTS, ssd)["a2-ultragpu-1g"]["us-central1"]
    assert price.on_demand == pytest.approx(12 * 0.03 + 85 * 0.004 + 3.9 + 375 * 0.08 / 730)


def test_a_machine_with_a_part_of_unknown_price_has_none() -> None:
    assert prices([A2], *A2_PARTS[:2])["a2-highgpu-1g"] == {"us-central1": Price(None, None)}


def test_what_is_rented_by_reservation_only_has_no_price_on_demand() -> None:
    a4 = accelerated("a4-highgpu-8g", "nvidia-b200", 8)
    found = prices(
        [a4],
        sku("A4 Nvidia B200 (1 gpu slice) running in Americas", 16.0, group="GPU"),
        sku("Spot Preemptible A4 Nvidia B200 (1 gpu slice) running in Americas", 5.0, group="GPU"),
        sku("DWS Calendar Mode A4 Nvidia B200 (1 gpu slice) running in Americas", 7.0, group="GPU"),
    )
    assert found == {"a4-highgpu-8g": {"us-central1": Price(None, 40.0)}}


@pytest.mark.parametrize(
    "other",
    [
        sku("Commitment v1: Nvidia Tesla A100 GPU running in Americas for 1 Year", 1.0, "Commit1Yr", "GPU"),
        sku("Reserved Nvidia Tesla A100 GPU running in Americas", 1.0, group="GPU"),
        sku("A2 Custom Instance Core running in Americas", 1.0),
        sku("A2 Instance Core Sole Tenancy running in Americas", 1.0),
        sku(
            "Nvidia Tesla A100 GPU attached to DWS Defined Duration VMs running in Americas", 1.0, group="GPU"
        ),
    ],
    ids=lambda other: str(other["description"]),
)
def test_prices_of_other_markets_are_not_taken(other: dict[str, Any]) -> None:
    assert prices([A2], *A2_PARTS, other) == prices([A2], *A2_PARTS)


# writing


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the catalog is read from, with two regions in it."""
    (tmp_path / "aws.csv").write_text("machine_type,gpu,count,gpu_memory,cpus,memory\nold,T4,1,16,4,15\n")
    (tmp_path / "aws_prices.csv").write_text("# made\nregion,old\nus-east-1,1/\neu-west-1,2/0.5\n")
    monkeypatch.setattr(catalog, "files", lambda package: tmp_path)
    for kept in (catalog.types, catalog._prices):
        kept.cache_clear()
    yield tmp_path  # type: ignore[misc]
    monkeypatch.undo()
    for kept in (catalog.types, catalog._prices):
        kept.cache_clear()


NEW = MachineType("new", "L4", 1, 24, 8, 30.5)


def reread() -> list[MachineType]:
    for kept in (catalog.types, catalog._prices):
        kept.cache_clear()
    return list(catalog.types("aws"))


def test_what_was_written_is_what_is_read(written: Path) -> None:
    price = Price(1.23456789, None)
    write("aws", Catalog([NEW], {"new": {"us-east-1": price}}, {}), written)
    assert reread() == [NEW]
    assert catalog.prices("aws", "new") == {"us-east-1": Price(1.23457, None)}


@pytest.mark.parametrize("price", [0.60001, 0.7])
def test_a_price_that_is_so_many_times_another_need_not_be_written(written: Path, price: float) -> None:
    types = [MachineType(f"g2-standard-{n}", "L4", 1, 24, n, 4 * n) for n in (4, 8)]
    types[1] = replace(types[1], count=2)
    costs = {"g2-standard-4": {"r": Price(0.3, None)}, "g2-standard-8": {"r": Price(price, None)}}
    write("gcp", Catalog(types, costs, {}), written)
    head = (written / "gcp_prices.csv").read_text().splitlines()[1]
    assert ("g2-standard-8" in head) == (price == 0.7)
    reread()
    assert catalog.prices("gcp", "g2-standard-8")["r"].on_demand == pytest.approx(price, abs=1e-4)


def test_a_region_that_failed_keeps_what_was_known_of_it(written: Path) -> None:
    fresh = Catalog([NEW], {"new": {"us-east-1": Price(3.0, None)}}, {"eu-west-1": "no answer"})
    write("aws", fresh, written)
    assert [t.machine_type for t in reread()] == ["new", "old"]
    assert catalog.prices("aws", "old") == {"eu-west-1": Price(2.0, 0.5)}


def test_failed_regions_are_told_and_make_the_exit_code(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Catalog([NEW], {"new": {"us-east-1": Price(None, None)}}, {"eu-west-1": "no answer"})
    monkeypatch.setattr(aws, "fetch", lambda say: answer)
    assert main(["aws", "--to", str(written)]) == 1
    said = capsys.readouterr().err
    assert "eu-west-1 failed, what was known of it stays: no answer" in said
    assert "no price was found for: new" in said


def test_gcp_needs_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["gcp"])
    assert "gcp needs --project" in capsys.readouterr().err
