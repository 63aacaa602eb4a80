"""The GPUs of this computer, as the NVIDIA driver would tell of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyter_gpu_remote.config import GpuRemote, state_dir
from jupyter_gpu_remote.errors import ProviderError
from jupyter_gpu_remote.keys import make_key_pair
from jupyter_gpu_remote.model import GpuRequest, MachineSpec
from jupyter_gpu_remote.providers.local import LocalProvider


class Driver:
    """A stand-in for ``pynvml``; each GPU is a name, GiB (None: not told) and a UUID."""

    class NVMLError(Exception):
        """As in pynvml."""

    def __init__(self, *gpus: tuple[str, float | None, str], there: bool = True, works: bool = True) -> None:
        self.gpus, self.there, self.works = gpus, there, works

    def nvmlInit(self) -> None:
        if not self.there:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        if not self.works:
            raise self.NVMLError("GPU is lost")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.gpus[handle][0]

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return self.gpus[handle][2]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        memory = self.gpus[handle][1]
        if memory is None:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=int(memory * 2**30))


A100 = ("NVIDIA A100-SXM4-80GB", 80.0)
T4 = ("Tesla T4", 15.0)
TWO_AND_ONE = Driver((*A100, "GPU-a"), (*T4, "GPU-t"), (*A100, "GPU-b"))


@pytest.fixture(autouse=True)
def all_gpus_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def offered(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, request: GpuRequest
) -> list[tuple[str, int, str]]:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return [(o.gpu, o.count, o.stand_in_for) for o in LocalProvider(GpuRemote()).offers(request)]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GpuRequest(gpu="A100"), [("A100-80GB", 1, "")]),
        (GpuRequest(gpu="A100-80GB", count=2), [("A100-80GB", 2, "")]),
        (GpuRequest(gpu="A100", count=3), [("", 0, "A100")]),
        (GpuRequest(gpu="A100-40GB"), [("", 0, "A100-40GB")]),
        (GpuRequest(gpu="H100"), [("", 0, "H100")]),
        (GpuRequest(gpu="any>=24GB"), [("A100-80GB", 1, "")]),
        (GpuRequest(), [("A100-80GB", 2, ""), ("T4", 1, "")]),
    ],
)
def test_real_gpus_are_offered_and_a_stand_in_for_those_not_there(
    monkeypatch: pytest.MonkeyPatch, request_: GpuRequest, expected: list[tuple[str, int, str]]
) -> None:
    assert offered(monkeypatch, TWO_AND_ONE, request_) == expected


def test_a_computer_without_a_driver_is_offered_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, Driver(there=False), GpuRequest()) == [("", 0, "")]


def test_a_stand_in_says_so_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Driver(there=False))
    (offer,) = LocalProvider(GpuRemote()).offers(GpuRequest(gpu="A100"))
    assert offer.title == "CPU stand-in for A100 · local · free"


def test_a_gpu_that_shares_the_computers_memory_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, Driver(("NVIDIA GB10", None, "GPU-s")), GpuRequest()) == [
        ("NVIDIA GB10", 1, "")
    ]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", [("T4", 1, "")]),
        ("0,2", [("A100-80GB", 2, "")]),
        ("GPU-b", [("A100-80GB", 1, "")]),
        ("", [("", 0, "")]),
        ("-1", [("", 0, "")]),
    ],
)
def test_gpus_that_the_user_hides_are_not_offered(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[tuple[str, int, str]]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert offered(monkeypatch, TWO_AND_ONE, GpuRequest()) == expected


def test_a_driver_that_fails_is_an_error_not_a_computer_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProviderError, match="GPU is lost"):
        offered(monkeypatch, Driver(works=False), GpuRequest())


@pytest.mark.parametrize(
    ("request_", "visible"),
    [
        (GpuRequest(gpu="A100"), "GPU-a"),
        (GpuRequest(gpu="A100", count=2), "GPU-a,GPU-b"),
        (GpuRequest(gpu="T4"), "GPU-t"),
        (GpuRequest(gpu="H100"), ""),
    ],
)
def test_a_machine_sees_the_gpus_of_its_offer_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: GpuRequest, visible: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", TWO_AND_ONE)
    make_key_pair(tmp_path / "host", "m1")
    spec = MachineSpec("m1", "t", make_key_pair(tmp_path / "key", "m1"), tmp_path / "key", tmp_path / "host")
    provider = LocalProvider(GpuRemote())
    monkeypatch.setattr("jupyter_gpu_remote.providers.local.start", lambda directory: None)
    provider.create(provider.offers(request_)[0], spec)
    machine = json.loads((state_dir() / "machines" / "m1" / "machine.json").read_text())
    assert machine["environment"]["CUDA_VISIBLE_DEVICES"] == visible
