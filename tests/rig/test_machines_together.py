"""Several machines of a cloud for one notebook: real hosts compute together, and one falls silent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jupyter_gpu_remote.registry import Registry
from tests.e2e.test_machines_together import SEE
from tests.notebooks import Notebook, notebook
from tests.wheels import wheel

from .clouds import Aws
from .hosts import NetnsHosts

TASKS = """
import time
def work(x):
    time.sleep(0.5)
    return x
futures = remote_client().map(work, range(24), pure=False)
while not any(future.done() for future in futures): time.sleep(0.02)
print("on", flush=True)
print(sorted(remote_client().gather(futures)) == list(range(24)))
"""

TORCH = """
import sys
del sys.modules["torch"]
sys.path.insert(0, "/opt/installed")
import torch
sys.path.append(sys.path.pop(0))
"""
"""A package in whose place comes the one that is installed here, which is too large to be installed twice."""
TRAINING = """
import os, sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
def total():
    tensor = torch.tensor([rank + 1.0])
    dist.all_reduce(tensor)
    return tensor.item()
print(f"rank {rank} of {dist.get_world_size()}: {total()}", flush=True)
"""


NANNY = f"""
{SEE}
see(set(), 2)
print(sorted(worker["nanny"] for worker in remote_client().scheduler_info(-1)["workers"].values()))
"""


@dataclass
class Two:
    """A notebook with two machines."""

    book: Notebook
    cloud: Aws
    state: Path

    @property
    def worker(self) -> tuple[str, str]:
        """The name of the one that is not the head, and the id of its host."""
        (worker,) = [machine for machine in Registry().machines() if machine.head]
        return worker.name, worker.provider_id.partition("/")[2]


@pytest.fixture(scope="module")
def two(hosts: NetnsHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.notebooks.LIMIT", 110.0)
        state = tmp_path_factory.mktemp("state")
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(state))
        cloud = Aws(hosts, tmp_path_factory.mktemp("settings"), patch)
        try:
            with notebook(tmp_path_factory.mktemp("work")) as book:
                ran = book.remote(f"{SEE}\nprint(len(see(set(), 2)))", "--gpu T4 --machines 2")
                assert ran.text.endswith("2\n"), ran
                yield Two(book, cloud, state)
                assert not book.run("%remote down --yes").error
                assert cloud.leftovers == []
        finally:
            cloud.close()


@pytest.fixture(autouse=True)
def own_state(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """See the machines of the notebook."""
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", str(two.state))


@pytest.fixture
def train(two: Two) -> Callable[..., str]:
    """Begin a cell under ``torchrun`` on both machines."""
    pytest.importorskip("torch")
    if two.book.remote("import sys; print(sys.version_info[:2])").text != f"{sys.version_info[:2]}\n":
        pytest.skip("the hosts have another Python, which PyTorch was not built for")
    for name, version, code in (("torch", "2", TORCH), ("pip", "99", "")):
        wheel(two.book.folder / "index", name, version, code=code)
    (two.book.folder / "torch.txt").write_text("--no-index\n--find-links ./index\ntorch\n")

    def train(code: str) -> str:
        options = "--env torch.txt --machines 2 --launch torchrun"
        return two.book.send(f"%%remote {options}\n{TRAINING}{code}")

    return train


def test_tensors_are_reduced_over_two_hosts_and_a_rank_that_is_killed_is_named_with_its_host(
    two: Two, train: Callable[..., str]
) -> None:
    dies = "print('no such layer', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    ran = two.book.wait(
        train(f"for step in range(10**9):\n    if rank and step == 100: {dies}\n    total()\n")
    )
    name, _ = two.worker
    assert ran.text == "rank 0 of 2: 3.0\n", ran
    assert ran.error.startswith(f"RankFailed: Rank 1 on {name} was killed by SIGKILL."), ran.error
    assert "no such layer" in ran.error
    assert "rank 1 of 2: 3.0" in str(ran.of("display_data"))


def test_a_launch_ends_and_names_the_host_that_falls_silent(
    two: Two, train: Callable[..., str], hosts: NetnsHosts
) -> None:
    name, host = two.worker
    request = train("while True: total()\n")
    ran = two.book.wait(request, until=lambda ran: "rank 0 of 2: 3.0\n" in ran.text)
    hosts.cut(host)
    try:
        ran = two.book.wait(request, so_far=ran)
    finally:
        hosts.mend(host)
    assert f"{name} takes no part any more: it does not answer." in ran.error, ran


def test_a_machine_that_falls_silent_costs_no_result_and_comes_back(two: Two, hosts: NetnsHosts) -> None:
    name, host = two.worker
    nanny = two.book.remote(NANNY).text
    request = two.book.send(f"%%remote\n{TASKS}")
    ran = two.book.wait(request, until=lambda ran: "on\n" in ran.text)
    hosts.cut(host)
    assert two.book.wait(request, so_far=ran).text == "on\nTrue\n"
    hosts.mend(host)
    assert name in two.book.remote(f"{SEE}\nprint(see(set(), 2))").text
    assert two.book.remote(NANNY).text == nanny  # it came back by itself


def test_a_machine_that_is_taken_back_is_replaced_while_a_cell_runs(two: Two) -> None:
    name, host = two.worker
    request = two.book.send(f"%%remote\n{SEE}\nprint('on')\nprint(len(see({{{name!r}}}, 2)))")
    ran = two.book.wait(request, until=lambda ran: "on\n" in ran.text)
    two.cloud.take_back(host)
    ran = two.book.wait(request, so_far=ran)
    assert ran.text == "on\n2\n"
    assert f"{two.worker[0]} (T4 · aws" in ran.stream("stderr")
    assert f"takes the place of {name}" in ran.stream("stderr")
