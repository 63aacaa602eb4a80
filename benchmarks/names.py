"""Finding the names of a cell: how many cases are right, and how long one takes."""

from __future__ import annotations

import statistics
import sys
import types

from benchmarks.measure import Figures, timed
from benchmarks.rig import Site
from jupyter_gpu_remote.variables import names_text
from jupyter_gpu_remote.variables.names import Names, names_of, needed
from tests.names_cases import CELLS, NOTEBOOKS, Notebook

_ROUNDS = 21


def measure(site: Site | None = None, quick: bool = False) -> Figures:
    """Return the percentage of cases that are right, their number, and the median milliseconds for a cell."""
    right = [_names(cell.reads, cell.binds) == _plain(names_of(cell.source)) for cell in CELLS]
    right += [frozenset(notebook.needs.split()) == _needed(notebook) for notebook in NOTEBOOKS]
    sources = [cell.source for cell in CELLS]
    medians = [statistics.median(_seconds(source) for _ in range(_ROUNDS)) for source in sources]
    return {
        "names_cases": 100 * sum(right) / len(right),
        "names_cases_counted": len(right),
        "names_ms": statistics.median(medians) * 1e3,
        "names_slowest_ms": max(medians) * 1e3,
    }


def _names(reads: str, binds: str) -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(reads.split()), frozenset(binds.split())


def _plain(names: Names) -> tuple[frozenset[str], frozenset[str]]:
    return names.reads, names.binds


def _needed(notebook: Notebook) -> frozenset[str]:
    main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    namespace = vars(sys.modules["__main__"])
    try:
        exec(notebook.before, namespace)
        return needed(notebook.source, namespace)
    finally:
        sys.modules["__main__"] = main


def _seconds(source: str) -> float:
    names_text.parse.cache_clear()
    return timed(lambda: names_of.__wrapped__(source))


if __name__ == "__main__":
    for key, value in measure().items():
        print(f"{key}: {value:.4g}")
