"""Several machines of a cloud for one notebook: real hosts, one of which is lost without a word."""

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
began = time.monotonic()
futures = client.map(work, range(40), pure=False)
while not any(future.done() for future in futures): time.sleep(0.02)
print("on", flush=True)
print(sorted(client.gather(futures)) == list(range(40)), flush=True)
print(time.monotonic() - began)
"""


def test_a_machine_that_is_lost_without_a_word_costs_seconds_and_no_result(
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
            hosts.kill(worker.provider_id.partition("/")[2])
            ran = book.wait(request, so_far=ran)
            assert "True" in ran.text, ran
            print(ran.text)
            assert not book.run("%remote down --all --yes").error
            assert cloud.leftovers == []
    finally:
        cloud.close()
