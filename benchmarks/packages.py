"""A notebook's packages on a machine: what runs before they are there, and the second notebook with them."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import ours, workplace
from benchmarks.frontend import CellFailed, Frontend
from benchmarks.measure import Figures, interleaved
from benchmarks.rig import Site

_REQUIREMENTS = "pandas\nscikit-learn\ntabulate\n"


def first_and_second(site: Site, quick: bool) -> Figures:
    """Time a bare machine's first cell, then its packages, then a notebook that needs the same ones."""
    _run(site, "packages-warm", {"fill": "import tabulate"})  # fills uv's cache
    workplace.end_machines(site.work)
    shutil.rmtree(site.work / "home" / ".gpu-remote")
    first = _run(site, "packages-first", {"kernel": "pass", "packages": "import tabulate"})
    if not list((site.work / "home" / ".gpu-remote" / "packages").glob("*/bin/python")):
        raise CellFailed("no packages were installed")
    second = interleaved(
        {
            "second": lambda: _run(site, "packages-second", {"kernel": "pass", "use": "import tabulate"})[
                "use"
            ]
        },
        1 if quick else 5,
        warm_up=0,
    )
    return {
        "kernel_ready_before_packages_s": first["kernel"],
        "packages_ready_s": first["kernel"] + first["packages"],
        "env_second_use_s": second["second"],
    }


def _run(site: Site, name: str, cells: dict[str, str]) -> dict[str, float]:
    """Return the seconds that cells of a notebook take which declares packages."""
    folder = site.work / name
    folder.mkdir(exist_ok=True)
    Path(folder, "requirements.txt").write_text(_REQUIREMENTS)
    with Frontend(folder) as frontend:
        frontend.time(ours.LOAD)
        return {
            what: frontend.time(ours.remote(site, code), ours.SET_UP_LIMIT) for what, code in cells.items()
        }
