"""The list of jobs, when there are many."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Figures
from benchmarks.rig import Site

_JOBS = 1000


def measure(site: Site, quick: bool) -> Figures:
    """Time what `jobs` does when none of them runs: read them, and make the table."""
    from jupyter_gpu_remote.jobtable import JobState
    from jupyter_gpu_remote.registry import Registry
    from jupyter_gpu_remote.verbs.jobs import as_table

    taken = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "registry.sqlite"
        registry = Registry(path)
        for number in range(_JOBS):
            row = registry.jobs.add("/a/notebook.ipynb", "calm-otter", f"job-{number}", "train()", "/a")
            registry.jobs.end(row.id, JobState.DONE)
        registry.close()
        for _ in range(3 if quick else 15):
            start = time.perf_counter()
            fresh = Registry(path)
            shown = as_table(fresh.jobs.all(), [])
            taken.append(1000 * (time.perf_counter() - start))
            fresh.close()
            if shown.count("\n") != _JOBS:
                raise RuntimeError("the list is not complete")
    return {"list_1000_jobs_ms": statistics.median(taken)}
