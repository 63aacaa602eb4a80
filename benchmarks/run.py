"""Measure everything and say whether it is good enough.

Each part runs in a process of its own, in the namespace its machine is in, so that none finds the imports,
connections or threads of another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    bulk,
    clouds,
    cluster,
    far,
    jobs,
    mounts,
    names,
    near,
    ours,
    packages,
    report,
    rig,
    server,
    sweeps,
    values,
    workplace,
)
from benchmarks.measure import Figures  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "latest.json"


@dataclass(frozen=True)
class Part:
    """Figures that are measured together.

    Attributes:
        measure: Returns them, given the machine and whether to be quick; may raise `rig.Skip`.
        keys: Which they are.
        mtu: Packet size of the long cable; 0 measures on loopback.
        cells: Whether it runs cells on the site, which must be set up first.
        limit: Seconds it may take.
    """

    measure: Callable[[rig.Site, bool], Figures]
    keys: tuple[str, ...]
    mtu: int = 0
    cells: bool = True
    limit: float = 300


PARTS = {
    "load": Part(near.load, ("load_ext_ms",), cells=False),
    "sdks": Part(near.sdks, ("import_cloud_sdks",), cells=False, limit=ours.SET_UP_LIMIT),
    "set-up": Part(near.set_up, (), limit=ours.SET_UP_LIMIT),
    "pass": Part(near.warm_pass, ("warm_pass_vs_direct",)),
    "px": Part(near.px, ("warm_pass_vs_px",)),
    "flood": Part(near.flood, ("flood_200k_lines_vs_direct", "agent_memory_mb")),
    "slider": Part(near.slider, ("slider_during_cell_ms",)),
    "nochange": Part(near.nochange, ("nochange_sync_vs_rsync",)),
    "bulk": Part(bulk.loopback, ("pull_256mb_vs_ssh_cat", "push_256mb_vs_ssh_cat"), cells=False),
    "packages": Part(
        packages.first_and_second,
        ("kernel_ready_before_packages_s", "env_second_use_s"),
        limit=ours.SET_UP_LIMIT,
    ),
    "clouds": Part(
        clouds.launches, ("launch_calls_before_first_create", "launch_to_first_create_s"), cells=False
    ),
    "server": Part(server.measure, ("loop_held_by_20_launches_ms", "list_100_machines_ms"), cells=False),
    "jobs": Part(jobs.measure, ("list_1000_jobs_ms",), cells=False),
    "cluster": Part(cluster.up, ("cluster_up_vs_sshcluster",), cells=False, limit=600),
    "mounts": Part(
        mounts.measure,
        (
            "mount_write_128mb_vs_rclone_copy",
            "mount_read_128mb_vs_rclone_copy",
            "mount_128mb_vs_skypilot_flags",
        ),
        cells=False,
        limit=600,
    ),
    "sweeps": Part(sweeps.measure, ("sweep_trial_vs_dask", "sweep_500_live_updates_per_s"), cells=False),
    "names": Part(names.measure, ("names_cases", "names_ms"), cells=False),
    "frames": Part(values.frames, ("send_69mb_again_ms", "add_column_bytes_vs_column"), limit=600),
    "large": Part(values.large, ("push_200mb_vs_scp", "pull_200mb_vs_scp"), limit=600),
    "far-pass": Part(far.warm_pass, ("warm_pass_rtts_at_80ms",), mtu=1500),
    "far-start": Part(far.starts, ("warm_start_vs_sshpyk_at_80ms", "cold_start_vs_sshpyk_at_80ms"), mtu=1500),
    "far-bulk": Part(bulk.long_link, ("pull_64mb_at_80ms_vs_one_openssh_channel",), mtu=9000, cells=False),
    "far-cuts": Part(far.cuts, ("lost_lines_on_cut",), mtu=1500, limit=400),
}


class PartFailed(Exception):
    """A part did not come to its end; says why in a line."""


def _measure(name: str, site: rig.Site, quick: bool) -> Figures:
    """Run one part in its own process and return its figures.

    Raises:
        rig.Skip: It cannot run here.
        PartFailed: Anything else.
    """
    answer, log = site.work / f"{name}.json", site.work / f"{name}.log"
    argv = [*site.enter, sys.executable, __file__, "--part", name, site.dump(), str(answer)]
    argv += ["--quick"] * quick
    with (
        log.open("w") as out,
        workplace.ending(
            argv, stdout=out, stderr=out, cwd=ROOT, env=workplace.environment(site.work)
        ) as process,
    ):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PARTS[name].limit)
        code = process.poll()
    if code == 0:
        said: dict[str, Any] = json.loads(answer.read_text())
        if "skipped" not in said:
            return said
        raise rig.Skip(said["skipped"])
    print(log.read_text(errors="replace"), file=sys.stderr)
    if code is None:
        raise PartFailed(f"not done after {PARTS[name].limit:g} s")
    raise PartFailed(json.loads(answer.read_text())["failed"] if answer.exists() else f"exit code {code}")


def _part(name: str, site: rig.Site, answer: Path, quick: bool) -> None:
    """Measure one part: what the process of a part does."""
    try:
        said: dict[str, Any] = PARTS[name].measure(site, quick)
    except rig.Skip as e:
        said = {"skipped": str(e)}
    except Exception as e:
        answer.write_text(json.dumps({"failed": f"{type(e).__name__}: {e}"}))
        raise
    answer.write_text(json.dumps(said))


def measure(keys: set[str], quick: bool) -> dict[str, Any]:
    """Measure the parts that give `keys` and return all that was found out, flat."""
    figures: dict[str, Any] = {**report.machine(), "quick": quick, "date": time.strftime("%Y-%m-%d")}
    problems: dict[str, dict[str, str]] = {"skipped": {}, "failed": {}}
    chosen = {name for name, part in PARTS.items() if keys & set(part.keys)}
    if any(PARTS[name].cells for name in chosen):
        chosen.add("set-up")
    with workplace.workplace() as work, rig.near(work) as loopback:
        for name in (name for name in PARTS if name in chosen):
            part, start = PARTS[name], time.monotonic()
            try:
                with rig.far(work, part.mtu) if part.mtu else contextlib.nullcontext(loopback) as site:
                    figures.update(_measure(name, site, quick))
                how = "done"
            except (rig.Skip, PartFailed) as e:
                how = "skipped" if isinstance(e, rig.Skip) else "failed"
                problems[how].update(dict.fromkeys(part.keys or (name,), str(e)))
            finally:
                workplace.end_clients(work)
            print(f"{name}: {how} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return {**figures, **problems}


def _end(signum: int, _: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the results as JSON, the table on stderr")
    parser.add_argument(
        "--only", metavar="KEY,…", help=f"measure only what gives these: {', '.join(report.KEYS)}"
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions: to see that it works")
    parser.add_argument("--readme", action="store_true", help="rewrite the README's table from the results; "
                        "without --json, from those of the last run, measuring nothing")  # fmt: skip
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, site, answer = options.part
        return _part(name, rig.Site.load(site), Path(answer), options.quick)
    keys = set(options.only.split(",")) if options.only else set(report.KEYS)
    if unknown := keys - set(report.KEYS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(report.KEYS)}")
    signal.signal(signal.SIGTERM, _end)
    if options.json or not options.readme:
        figures = measure(keys, options.quick)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
        print(report.text(figures), file=sys.stderr if options.json else sys.stdout)
        if options.json:
            print(json.dumps(figures, indent=2))
    if options.readme:
        if not RESULTS.exists():
            parser.error("nothing was measured yet: run with --json")
        report.into_readme(ROOT / "README.md", json.loads(RESULTS.read_text()))
    if options.json or not options.readme:
        sys.exit(1 if figures["failed"] else 0)


if __name__ == "__main__":
    main()
