"""Several machines of a cloud for one notebook: real hosts, one of which is silent for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_gpu_remote.registry import Registry
from tests.e2e.test_machines_together import SEE
from tests.notebooks import notebook

from .clouds import Aws
from .hosts import NetnsHosts

_LIMIT = 110.0

TASKS = """
import time
def work(x):
    time.sleep(0.5)
    return x
client = remote_client()
futures = client.map(work, range(24), pure=False)
while not any(future.done() for future in futures): time.sleep(0.02)
print("on", flush=True)
print(sorted(client.gather(futures)) == list(range(24)), flush=True)
"""


def test_a_machine_that_falls_silent_costs_seconds_and_no_result_and_comes_back(
    hosts: NetnsHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.notebooks.LIMIT", _LIMIT)
    cloud = Aws(hosts, tmp_path, monkeypatch)
    folder = tmp_path / "work"
    folder.mkdir()
    try:
        with notebook(folder) as book:
            ran = book.remote(f"{SEE}\nprint(len(see(set(), 2)))", "--gpu T4 --machines 2")
            assert not ran.error, ran.error
            assert ran.text.endswith("2\n")
            head, worker = Registry().machines()
            assert worker.head == head.name and worker.offer.zone == head.offer.zone
            request = book.send(f"%%remote\n{TASKS}")
            ran = book.wait(request, until=lambda ran: "on\n" in ran.text)
            host = worker.provider_id.partition("/")[2]
            hosts.cut(host)
            ran = book.wait(request, so_far=ran)
            assert "True" in ran.text, ran
            hosts.mend(host)
            back = book.remote(f"{SEE}\nprint(see(set(), 2))")
            assert back.text == f"{sorted([head.name, worker.name])}\n", back
            assert not book.run("%remote down --all --yes").error
            assert cloud.leftovers == []
    finally:
        cloud.close()
