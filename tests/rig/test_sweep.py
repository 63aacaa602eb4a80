"""A sweep on three real hosts, one of which is killed without a word and one cut off for a while."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jupyter_gpu_remote.registry import Registry
from tests.notebooks import notebook

from .clouds import Aws
from .hosts import NetnsHosts

_TRIALS = 100
_SECONDS = 0.25
_CUT = 15.0
CELL = f"import time\ntime.sleep({_SECONDS})\nreport(loss=1 / x)\nx"


def test_each_of_a_hundred_trials_has_one_result_though_two_of_three_hosts_fail(
    hosts: NetnsHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.notebooks.LIMIT", 110.0)
    cloud = Aws(hosts, tmp_path, monkeypatch)
    folder = tmp_path / "work"
    folder.mkdir()
    try:
        with notebook(folder) as book:
            ran = book.run("%remote up --gpu T4 --machines 3")
            assert not ran.error, ran.error
            _, killed, cut = (machine.provider_id.partition("/")[2] for machine in Registry().machines())
            request = book.send(f"%%remote --sweep x=range(1,{_TRIALS + 1})\n{CELL}")
            ran = book.wait(
                request, until=lambda ran: " of 100 trials · 3 running · 9" in str(ran.messages[-1])
            )
            hosts.kill(killed)
            hosts.cut(cut)
            threading.Timer(_CUT, hosts.mend, (cut,)).start()
            ran = book.wait(request, so_far=ran)
            assert not ran.error, ran
            said = book.run("print(sweep.value.tolist() == list(range(1, 101)), set(sweep.state))")
            assert said.text == "True {'done'}\n", said
            (kept,) = folder.glob("sweeps/*/results.jsonl")
            assert len(kept.read_text().splitlines()) == 1 + _TRIALS
            assert not book.run("%remote down --all --yes").error
    finally:
        cloud.close()
