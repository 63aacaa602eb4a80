"""What a sweep adds to Dask, and what its table asks of a page."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures
from benchmarks.rig import Site

_TRIALS = 500
_LIVE = 500
_SECONDS = 5.0
_REPORTS = 2.0
"""Messages a second of each trial, however often it reports."""


def measure(site: Site, quick: bool) -> Figures:
    """Time trials that do nothing beside tasks that do nothing, in turn; count what is shown of many."""
    from distributed import Client, LocalCluster

    plain, swept = [], []
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(**options) as cluster,
        Client(cluster) as client,
    ):
        _sweep(client, folder, 20).run()
        client.gather(client.map(_nothing, range(20), pure=False, retries=1))
        for _ in range(2 if quick else 7):
            plain.append(
                _timed(lambda: client.gather(client.map(_nothing, range(_TRIALS), pure=False, retries=1)))
            )
            swept.append(_timed(_sweep(client, folder, _TRIALS).run))
    trial, task = statistics.median(swept) / _TRIALS * 1000, statistics.median(plain) / _TRIALS * 1000
    return {
        "sweep_trial_vs_dask": trial / task,
        "sweep_trial_ms": trial,
        "dask_task_ms": task,
        **_live(quick),
    }


def _nothing(number: int) -> int:
    return number


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _sweep(
    client: Any, folder: str, count: int, show: Callable[[Mapping[str, str]], None] = lambda table: None
) -> Any:
    from jupyter_gpu_remote.agent.sweepcell import Swept, packed, plan

    sweep = {"axes": [{"name": "x", "values": list(range(count))}], "limit": 0, "timeout": 0, "retries": 1}
    sweep |= {"name": "bench", "stop": None, "goal": None, "known": []}
    trials = plan(sweep, {})
    before = Path.cwd()
    os.chdir(folder)
    try:
        return Swept(client, sweep, trials, "x", packed({}, {}), show, lambda results: None)
    finally:
        os.chdir(before)


class _Busy:
    """A cluster whose trials all run and report, and never end: 500 processes would not fit here."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def submit(self, *args: Any, **options: Any) -> _Busy:
        return self

    def map(self, function: object, programs: Sequence[object], *args: Any, **options: Any) -> list[_Busy]:
        return [self] * len(programs)

    def done(self) -> bool:
        return False

    def cancel(self, futures: object, force: bool) -> None:
        pass

    def unsubscribe_topic(self, topic: str) -> None:
        self.over.set()

    def subscribe_topic(self, topic: str, take: Callable[[tuple[float, dict[str, Any]]], None]) -> None:
        def tell(message: dict[str, Any]) -> None:
            take((0, {"worker": "somewhere", "messages": [message]}))

        def report() -> None:
            for number in range(1, _LIVE + 1):
                begun = {"machine": "calm-otter", "reports": [], "text": b""}
                tell({"trial": number, "run": "", **begun})
            step = 0
            while not self.over.wait(1 / _REPORTS):
                step += 1
                for number in range(1, _LIVE + 1):
                    reports = [{"step": step, "loss": 1 / (number + step)}]
                    tell({"trial": number, "run": "", "reports": reports, "text": b""})

        threading.Thread(target=report, daemon=True).start()


def _live(quick: bool) -> Figures:
    """Show 500 trials that run and report twice a second, which is as often as messages come."""
    shown: list[tuple[float, int]] = []
    began = time.monotonic()
    seconds = 2 if quick else _SECONDS

    def show(table: Mapping[str, str]) -> None:
        shown.append((time.monotonic() - began, len(table["text/html"])))
        if time.monotonic() - began > seconds:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        _sweep(_Busy(), "/", _LIVE, show).run()
    live = [size for at, size in shown if at <= seconds]
    return {
        "sweep_500_live_updates_per_s": len(live) / seconds,
        "sweep_500_live_kb_per_update": statistics.median(live) / 1000,
    }
