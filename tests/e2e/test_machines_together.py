"""Several machines for one notebook."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from jupyter_gpu_remote.config import load_settings
from jupyter_gpu_remote.providers.base import load_provider
from jupyter_gpu_remote.registry import Registry
from tests.agent_rig import gone
from tests.conftest import wait_for
from tests.notebooks import Notebook, Ran, notebook

SEE = """
import time
def see(without, count):
    while True:
        workers = remote_client().scheduler_info(-1)["workers"].values()
        machines = {worker["name"].rpartition(":")[0] for worker in workers} - without
        if len(machines) == count:
            return sorted(machines)
        time.sleep(0.05)
"""
WAIT = """
from pathlib import Path
import time
def wait(file):
    while not Path(file).exists():
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook with two machines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_GPU_REMOTE_DIR", str(tmp_path_factory.mktemp("state")))
        patch.setenv("JPY_SESSION_NAME", "/somewhere/together.ipynb")
        with notebook(tmp_path_factory.mktemp("notebook")) as opened:
            ran = opened.run("%remote up --machines 2")
            assert not ran.error, ran.error
            assert "2 machines" in ran.text
            yield opened


@pytest.fixture(autouse=True)
def own_state(book: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """See the machines of the notebook."""
    state = book.run("import os; print(os.environ['JUPYTER_GPU_REMOTE_DIR'])").text.strip()
    monkeypatch.setenv("JUPYTER_GPU_REMOTE_DIR", state)


def test_a_cell_has_the_workers_of_both_machines(book: Notebook) -> None:
    (book.folder / "beside.py").write_text("def where():\n    import os; return os.environ['HOME']\n")
    ran = book.remote(f"import beside\nclient = remote_client()\n{SEE}\nprint(len(see(set(), 2)))")
    assert not ran.error, ran.error
    assert ran.text == "2\n"
    assert book.remote("print(len(set(client.run(beside.where).values())))").text == "2\n"


TRAINING = """
import os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
print(f"rank {rank} of {size}: {total.item()}", flush=True)
"""


def test_torchrun_reduces_over_two_machines(book: Notebook) -> None:
    pytest.importorskip("torch")
    # without it, gloo's threads abort the process at its end now and then
    ran = book.remote(f"{TRAINING}dist.destroy_process_group()\n", "--machines 2 --launch torchrun")
    assert not ran.error, ran
    assert ran.text == "rank 0 of 2: 3.0\n"
    (log,) = book.folder.glob("torchrun-logs/*/rank-1.txt")
    assert log.read_text() == "rank 1 of 2: 3.0\n"
    (shown,) = [d["data"] for d in ran.of("display_data") if "<details>" in d["data"].get("text/html", "")]
    assert "rank 1 of 2: 3.0" in shown["text/html"]


def detached(book: Notebook, code: str, options: str, until: str) -> Ran:
    """Run a cell as a job, until its line says that it is done and its output has something."""
    request = book.send(f"%%remote --detach {options}\n{code}")
    ran = book.wait(request)
    assert not ran.error, ran

    def is_over(ran: Ran) -> bool:
        lines = [content["data"]["text/plain"] for content in ran.of("update_display_data")]
        return until in ran.text and any("done" in line or "failed" in line for line in lines)

    return book.wait(request, until=is_over, so_far=Ran(messages=ran.messages))


def test_a_detached_cell_has_all_machines_and_leaves_those_of_the_notebook_alone(book: Notebook) -> None:
    assert book.remote(f"client = remote_client()\n{SEE}\nprint(len(see(set(), 2)))").text == "2\n"
    pids = "print(sorted(client.run(os.getpid).values()))"
    before = book.remote(f"import os\n{pids}").text
    ran = detached(book, f"{SEE}\nprint(len(see(set(), 2)), 'machines')", "", "2 machines")
    assert ran.text == "2 machines\n"
    assert book.remote(pids).text == before


def test_a_detached_sweep_has_all_machines(book: Notebook, tmp_path: Path) -> None:
    code = f"""import os, time
open({str(tmp_path)!r} + "/" + os.environ["HOME"].replace("/", "-"), "w").close()
while len(os.listdir({str(tmp_path)!r})) < 2:
    time.sleep(0.05)
n * 2"""
    begun = book.run(f"%%remote --detach --sweep n=range(4)\n{code}")
    assert not begun.error, begun.error
    assert "done" in book.run("%remote wait").text
    assert book.run("print(sorted(sweep['value']))").text == "[0, 2, 4, 6]\n"


def test_a_launch_is_detached(book: Notebook) -> None:
    pytest.importorskip("torch")
    before = set(book.folder.glob("torchrun-logs/*/rank-1.txt"))
    code = f"{TRAINING}dist.destroy_process_group()\n"
    assert "rank 0 of 2: 3.0\n" in detached(book, code, "--launch torchrun", "rank 0").text
    assert len(set(book.folder.glob("torchrun-logs/*/rank-1.txt")) - before) == 1


def test_an_interrupt_ends_all_ranks(book: Notebook) -> None:
    pytest.importorskip("torch")
    notes = "with open(f'pid-{rank}', 'w') as file: file.write(str(os.getpid()))"
    waits = f"{notes}\ndist.barrier()\nprint('on', flush=True)\ntime.sleep(600)\n"
    request = book.send(f"%%remote --launch torchrun\n{TRAINING}{waits}")
    ran = book.wait(request, until=lambda ran: "on\n" in ran.text)
    book.interrupt()
    ran = book.wait(request, so_far=ran)
    assert "KeyboardInterrupt" in ran.error, ran
    pids = [int((book.folder / f"pid-{rank}").read_text()) for rank in (0, 1)]
    wait_for(lambda: all(map(gone, pids)), "all ranks to end")


def test_the_dashboard_is_reached_through_the_tunnel(book: Notebook) -> None:
    assert not book.remote("client = remote_client()").error
    said = book.run("%remote dashboard").text.strip()
    with urllib.request.urlopen(said.replace("/status", "/health"), timeout=20) as answer:
        assert answer.read() == b"ok"


def test_machines_are_listed_with_what_they_are_for(book: Notebook) -> None:
    head, worker = Registry().machines()
    listed = book.run("%remote list").text
    assert worker.head == head.name
    assert f"beside {head.name}" in listed and "this notebook" in listed


def test_a_machine_that_computes_is_not_deleted_and_one_that_does_not_is(book: Notebook) -> None:
    stop = str(book.folder / "stop")
    ran = book.remote(
        f"{WAIT}\nfutures = client.map(wait, [{stop!r}] * 2 * len(client.nthreads()), pure=False)"
    )
    assert not ran.error, ran.error
    refused = book.run("%remote up --machines 1")
    assert refused.error.startswith("ConflictError") and "no machine was deleted" in refused.error
    (book.folder / "stop").touch()
    assert not book.remote("client.gather(futures)").error
    shrunk = book.run("%remote up --machines 1")
    assert not shrunk.error, shrunk.error
    assert len(Registry().machines()) == 1
    grown = book.run("%remote up --machines 2")
    assert not grown.error, grown.error
    assert book.remote(f"{SEE}\nprint(len(see(set(), 2)))").text == "2\n"


def test_a_kernel_that_was_restarted_has_all_machines_again(book: Notebook) -> None:
    assert not book.run("%remote restart").error
    ran = book.remote(f"client = remote_client()\n{SEE}\nprint(len(see(set(), 2)))")
    assert ran.text == "2\n", ran


def works_for(process: psutil.Process, machine: str) -> bool:
    """Return whether this process starts the workers of a machine."""
    with suppress(psutil.Error):
        starts = any("clusterhost.py" in word for word in process.cmdline()[:2])
        return starts and process.environ().get("GPU_REMOTE_MACHINE") == machine
    return False


def test_a_machine_that_falls_out_of_the_cluster_joins_again_while_a_cell_runs(book: Notebook) -> None:
    _, worker = Registry().machines()
    (host,) = [one for one in psutil.process_iter() if works_for(one, worker.name)]
    request = book.send(f"%%remote\n{SEE}\nprint('on')\nsee(set(), 1)\nprint(len(see(set(), 2)))")
    ran = book.wait(request, until=lambda ran: "on\n" in ran.text)
    host.kill()
    assert book.wait(request, so_far=ran).text == "on\n2\n"


def test_a_worker_machine_that_ends_is_replaced_while_a_cell_runs(book: Notebook) -> None:
    head, worker = Registry().machines()
    request = book.send(f"%%remote\n{SEE}\nprint(see({{{worker.name!r}}}, 2))")
    load_provider("local", load_settings()).delete(worker.provider_id)
    ran = book.wait(request)
    (other,) = [m.name for m in Registry().machines() if m.head == head.name]
    assert ran.text == f"{sorted([head.name, other])}\n"
    assert other != worker.name and f"{other} (" in ran.stream("stderr")
    assert "takes the place of" in ran.stream("stderr")


def test_a_notebook_whose_local_kernel_was_restarted_has_all_machines_again(book: Notebook) -> None:
    assert book.remote(f"client = remote_client()\n{SEE}\nprint(len(see(set(), 2)))").text == "2\n"
    book.manager.restart_kernel(now=True)
    book.client.wait_for_ready()
    book.run("%load_ext jupyter_gpu_remote")
    ran = book.remote("client = remote_client()\nprint(len(see(set(), 2)))")
    assert ran.text == "2\n", ran
    assert "left out" not in ran.stream("stderr")


def test_machines_whose_head_is_lost_go_on_beside_the_next(book: Notebook) -> None:
    head, worker = Registry().machines()
    load_provider("local", load_settings()).delete(head.provider_id)
    see = f"client = remote_client()\n{SEE}\nprint(len(see(set(), 2)))"
    while (ran := book.remote(see)).error:
        assert "ended" in ran.error or "lost" in ran.error, ran
    assert f"{worker.name} goes on beside" in ran.stream("stderr")
    assert ran.text == "2\n", ran


def test_down_deletes_all_machines_of_the_notebook(book: Notebook) -> None:
    ran = book.run("%remote down --yes")
    assert not ran.error, ran.error
    assert not Registry().machines()
