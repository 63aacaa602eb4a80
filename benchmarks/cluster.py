"""A Dask cluster on two machines, against Dask's own `SSHCluster`."""

from __future__ import annotations

import getpass
import os
import statistics
import sys
import time
from typing import Any

from benchmarks.frontend import Frontend
from benchmarks.measure import Figures
from benchmarks.ours import LOAD, SET_UP_LIMIT
from benchmarks.rig import Site

_MACHINES = 2
_LIMIT = 120.0
_UP = """%%remote
import os
client = remote_client()
client.wait_for_workers({workers}, timeout=60)
"""
_DOWN = "%%remote\nclient.shutdown()"


def up(site: Site, quick: bool) -> Figures:
    """Time a cluster of which nothing runs, until all its workers are there: a process for each core."""
    times = 1 if quick else 3
    workers = _MACHINES * len(os.sched_getaffinity(0))
    ours, theirs = [], []
    folder = site.work / "cluster"
    folder.mkdir()
    with Frontend(folder) as frontend:
        frontend.time(LOAD)
        frontend.time(f"%remote up --cloud local --machines {_MACHINES}", SET_UP_LIMIT)
        frontend.time("%%remote\npass", _LIMIT)
        try:
            for _ in range(1 + times):  # the first time here, modules are compiled and machines attached
                ours.append(frontend.time(_UP.format(workers=workers), _LIMIT))
                frontend.time(_DOWN, _LIMIT)
                theirs.append(_ssh_cluster(site, workers))
        finally:
            frontend.time("%remote down --yes", _LIMIT)
    mine, other = statistics.median(ours[1:]), statistics.median(theirs[1:])
    return {
        "cluster_up_remote_ms": 1000 * mine,
        "cluster_up_sshcluster_ms": 1000 * other,
        "cluster_up_vs_sshcluster": mine / other,
    }


def _ssh_cluster(site: Site, workers: int) -> float:
    from distributed import Client, SSHCluster

    login: dict[str, Any] = {
        "known_hosts": None,
        "client_keys": [str(site.key)],
        "port": site.port,
        "username": getpass.getuser(),
    }
    began = time.perf_counter()
    with (
        SSHCluster(
            [site.host] * (1 + _MACHINES),
            connect_options=login,
            worker_options={"n_workers": workers // _MACHINES, "nthreads": 1},
            scheduler_options={"port": 0, "dashboard_address": ":0"},
            remote_python=sys.executable,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(workers, timeout=_LIMIT)
        return time.perf_counter() - began
