"""GPU names and the order of offers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_remote.errors import ConfigurationError
from jupyter_gpu_remote.model import GpuRequest, Offer
from jupyter_gpu_remote.offers import GPUS, gpu_fits, parse_gpu, rank, vendor_gpu


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("A100", "A100", 1),
        ("a100:4", "A100", 4),
        (" A100 : 2 ", "A100", 2),
        ("a100-80gb", "A100-80GB", 1),
        ("A100-80GB:4", "A100-80GB", 4),
        ("A100 80 GB", "A100-80GB", 1),
        ("a100_40g", "A100-40GB", 1),
        ("nvidia a100 80GiB", "A100-80GB", 1),
        ("v100-16gb", "V100-16GB", 1),
        ("H200", "H200", 1),
        ("h100-80gb", "H100", 1),
        ("H100-SXM:8", "H100", 8),
        ("l40s", "L40S", 1),
        ("T4", "T4", 1),
        ("tesla-t4", "T4", 1),
        ("RTX PRO 6000", "RTXPRO6000", 1),
        ("rtx-pro-6000:2", "RTXPRO6000", 2),
        ("rtx4090", "RTX4090", 1),
        ("GeForce RTX 4090", "RTX4090", 1),
        ("rtx 3080 ti", "RTX3080Ti", 1),
        ("RTX A6000", "A6000", 1),
        ("rtx 6000 ada", "RTX6000Ada", 1),
        ("any", "any", 1),
        ("any:2", "any", 2),
        ("any>=24GB", "any>=24GB", 1),
        ("Any >= 24 gb:2", "any>=24GB", 2),
        (">=40", "any>=40GB", 1),
        ("any>=24", "any>=24GB", 1),
        ("a100 80 gb", "A100-80GB", 1),
        ("A100-80", "A100-80GB", 1),
        ("A100 (80GB)", "A100-80GB", 1),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB", 1),
        ("nvidia-tesla-t4", "T4", 1),
        ("nvidia-h100-mega-80gb", "H100", 1),
        ("nvidia-h200-141gb", "H200", 1),
        ("nvidia-rtx-pro-6000", "RTXPRO6000", 1),
        ("RTX PRO Server 6000", "RTXPRO6000", 1),
        ("8xA100", "A100", 8),
        ("4 x a100-80gb", "A100-80GB", 4),
        ("A100 ×8", "A100", 8),
        ("l40sx2", "L40S", 2),
        ("2xRTX4090", "RTX4090", 2),
        ("", "", 1),
    ],
)
def test_a_gpu_is_understood_however_it_is_written(text: str, name: str, count: int) -> None:
    assert parse_gpu(text) == (name, count)


@pytest.mark.parametrize("name", GPUS)
def test_a_name_of_ours_means_itself(name: str) -> None:
    assert parse_gpu(name) == (name, 1)


@pytest.mark.parametrize(("text", "meant"), [("A1000", "A100"), ("H10", "H100"), ("4090", "RTX4090")])
def test_an_unknown_gpu_is_refused_with_what_was_probably_meant(text: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Did you mean .*{meant}"):
        parse_gpu(text)


def test_an_unknown_gpu_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(ConfigurationError) as failed:
        parse_gpu("Voodoo")
    assert "Did you mean" not in failed.value.message
    assert all(name in failed.value.hint for name in GPUS)


SPELLINGS = st.text() | st.lists(
    st.sampled_from(
        [*GPUS, "nvidia", "tesla", "any", ">=", "80", "gb", "G", ":", "x", "×", " ", "-", "8", "٣"]
    )
).map("".join)


@given(SPELLINGS)
def test_any_text_is_a_gpu_or_refused(text: str) -> None:
    try:
        name, count = parse_gpu(text)
    except ConfigurationError:
        return
    assert parse_gpu(name) == (name, 1)
    assert 1 <= count < 1000


@given(SPELLINGS, st.floats(0, 1000))
def test_whatever_a_cloud_calls_a_gpu_gets_some_name(text: str, memory: float) -> None:
    assert vendor_gpu(text, memory) or not text


def test_a_memory_that_a_gpu_does_not_come_with_is_refused_with_those_it_has() -> None:
    with pytest.raises(ConfigurationError, match="40 GB and 80 GB"):
        parse_gpu("A100-64GB")


@pytest.mark.parametrize("text", ["A100:", "A100:0", "A100:-1", "A100:two", "A100:1.5", "A100:1000"])
def test_a_number_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no number of GPUs"):
        parse_gpu(text)


@pytest.mark.parametrize(
    ("reported", "memory", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", 80.0, "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", 80.0, "A100-80GB"),
        ("NVIDIA A100-PCIE-40GB", 39.6, "A100-40GB"),
        ("nvidia-a100-80gb", 0.0, "A100-80GB"),
        ("Tesla V100-SXM2-16GB", 15.8, "V100-16GB"),
        ("Tesla V100-DGXS", 31.7, "Tesla V100-DGXS"),
        ("Tesla T4", 14.6, "T4"),
        ("nvidia-tesla-t4", 0.0, "T4"),
        ("NVIDIA H100 80GB HBM3", 79.6, "H100"),
        ("NVIDIA H100 NVL", 93.6, "H100"),
        ("nvidia-h100-mega-80gb", 0.0, "H100"),
        ("NVIDIA H200", 140.4, "H200"),
        ("NVIDIA GH200 480GB", 95.6, "GH200"),
        ("NVIDIA L40S", 45.0, "L40S"),
        ("NVIDIA RTX A6000", 47.5, "A6000"),
        ("NVIDIA RTX 6000 Ada Generation", 48.0, "RTX6000Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 95.6, "RTXPRO6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 95.6, "RTXPRO6000"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16.0, "RTX4090"),
        ("NVIDIA GeForce GT 710", 2.0, "NVIDIA GeForce GT 710"),
    ],
)
def test_a_gpu_as_a_driver_or_cloud_names_it_gets_our_name(reported: str, memory: float, name: str) -> None:
    assert vendor_gpu(reported, memory) == name


@pytest.mark.parametrize(
    ("wanted", "gpu", "memory", "fits"),
    [
        ("A100", "A100-80GB", 80, True),
        ("A100", "A100-40GB", 40, True),
        ("A100-80GB", "A100-40GB", 40, False),
        ("A10", "A100-40GB", 40, False),
        ("L40", "L40S", 48, False),
        ("RTX4000", "RTX4000Ada", 20, False),
        ("any", "T4", 14.6, True),
        ("any>=16GB", "T4", 14.6, True),  # what the driver says of 16 GB
        ("any>=24GB", "T4", 14.6, False),
        ("any", "", 0, False),
    ],
)
def test_a_gpu_fits_when_it_is_what_was_asked_for(wanted: str, gpu: str, memory: float, fits: bool) -> None:
    assert gpu_fits(wanted, gpu, memory) is fits


CLOUD = Offer("aws", "g6", "L4", 1, 24, cpus=8, memory=32, region="east", zone="east-1", price=0.8)
SPOT = replace(CLOUD, spot=True, price=0.3)
BIG = replace(CLOUD, machine_type="g6.big", count=4, price=3.2, cpus=32, memory=128)
WEST = replace(CLOUD, region="west", zone="west-2", price=0.9)
ALL = [BIG, WEST, CLOUD, SPOT]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GpuRequest(), [SPOT, CLOUD, WEST, BIG]),
        (GpuRequest(gpu="L4"), [SPOT, CLOUD, WEST]),
        (GpuRequest(gpu="L4", count=4), [BIG]),
        (GpuRequest(gpu="L4", count=2), []),
        (GpuRequest(gpu="T4"), []),
        (GpuRequest(gpu="any>=20GB", region="west"), [WEST]),
        (GpuRequest(zone="west-2"), [WEST]),
        (GpuRequest(gpu="L4", spot=True), [SPOT]),
        (GpuRequest(gpu="L4", spot=False), [CLOUD, WEST]),
        (GpuRequest(max_price=0.8), [SPOT, CLOUD]),
        (GpuRequest(cpus=9), [BIG]),
        (GpuRequest(memory=33), [BIG]),
    ],
)
def test_offers_that_fit_come_cheapest_first(request_: GpuRequest, expected: list[Offer]) -> None:
    assert rank(ALL, request_) == expected


def test_at_the_same_price_what_cannot_be_taken_away_comes_first() -> None:
    same = replace(SPOT, price=CLOUD.price)
    assert rank([same, CLOUD], GpuRequest()) == [CLOUD, same]


def test_what_is_at_hand_fits_whatever_region_and_market_are_asked_for() -> None:
    here = Offer("local", "here", "L4", 1, 22.5)
    assert rank([here], GpuRequest(gpu="L4", region="east", zone="east-1", spot=True)) == [here]


def test_a_stand_in_comes_after_the_real_thing_and_fits_only_what_it_stands_in_for() -> None:
    stand_in = Offer("local", "here", stand_in_for="L4")
    assert rank([stand_in, CLOUD], GpuRequest(gpu="L4")) == [CLOUD, stand_in]
    assert rank([stand_in], GpuRequest(gpu="T4")) == []
