"""What the figures must reach, and how they are shown."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = Mapping[str, Any]

_PACKAGES = ("ipykernel", "jupyter_client", "sshpyk", "ipyparallel", "distributed")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"


@dataclass(frozen=True)
class Bar:
    """A figure, what it must be, and what it says.

    Attributes:
        sign: How the figure must compare to `limit`: ``<=``, ``>=`` or ``<``.
        raw: The medians it was made of: key and title of ours, key and title of the other's.
    """

    key: str
    sign: str
    limit: float
    unit: str
    what: str
    raw: tuple[str, ...] = ()

    def met(self, value: float) -> bool:
        """Return whether `value` is good enough."""
        if self.sign == "<=":
            return value <= self.limit
        return value >= self.limit if self.sign == ">=" else value < self.limit


BARS = (
    Bar("load_ext_ms", "<=", 60, "ms", "`%load_ext jupyter_gpu_remote`, imports included"),
    Bar("import_cloud_sdks", "<=", 0, "", "cloud SDK modules imported by it and by a first local cell"),
    Bar("launch_calls_before_first_create", "<=", 5, "calls",
        "what a launch, not the first one, asks of EC2 (emulated, answering at once) before a machine"),
    Bar("launch_to_first_create_s", "<=", 1, "s", "and the time to it, in a fresh process"),
    Bar("warm_pass_vs_direct", "<=", 2.5, "×", "a `%%remote` cell with `pass` against a plain cell, loopback",
        ("warm_pass_remote_ms", "warm_pass_direct_ms")),
    Bar("warm_pass_vs_px", "<", 1, "×", "the same against ipyparallel's `%%px`",
        ("px_pass_remote_ms", "px_pass_px_ms")),
    Bar("warm_pass_rtts_at_80ms", "<=", 1.2, "round trips", "a `%%remote` cell with `pass`, 80 ms away",
        ("far_pass_remote_ms", "far_round_trip_ms")),
    Bar("warm_start_vs_sshpyk_at_80ms", "<=", 0.2, "×",
        "new remote kernel to first cell done, connection up, 80 ms away, against sshpyk",
        ("warm_start_remote_ms", "warm_start_sshpyk_ms")),
    Bar("cold_start_vs_sshpyk_at_80ms", "<=", 0.5, "×", "the same from no connection",
        ("cold_start_remote_ms", "cold_start_sshpyk_ms")),
    Bar("pull_256mb_vs_ssh_cat", ">=", 0.85, "×", "256 MB back, speed against `ssh cat` with the same cipher",
        ("pull_256mb_remote_ms", "pull_256mb_ssh_cat_ms")),
    Bar("push_256mb_vs_ssh_cat", ">=", 0.85, "×", "256 MB out, speed against `ssh cat` with the same cipher",
        ("push_256mb_remote_ms", "push_256mb_ssh_cat_ms")),
    Bar("pull_64mb_at_80ms_vs_one_openssh_channel", ">=", 3, "×",
        "64 MB back from 80 ms away, speed against one OpenSSH channel",
        ("pull_64mb_at_80ms_remote_ms", "pull_64mb_at_80ms_ssh_cat_ms")),
    Bar("nochange_sync_vs_rsync", "<=", 0.1, "×",
        "what 10,000 unchanged files add to a cell, against one `rsync` (ours: the whole cell)",
        ("nochange_sync_with_files_ms", "nochange_sync_rsync_ms")),
    Bar("flood_200k_lines_vs_direct", "<=", 1.2, "×", "200,000 printed lines against a plain cell",
        ("flood_remote_ms", "flood_direct_ms")),
    Bar("lost_lines_on_cut", "<=", 0, "lines", "lost or doubled of 30,000 displays, link cut five times",
        ("lost_lines_on_cut", "lost_lines_on_cut_sshpyk")),
    Bar("slider_during_cell_ms", "<=", 15, "ms", "a slider's echo while a remote cell runs"),
    Bar("names_cases", ">=", 100, "%", "cells whose names are found right"),
    Bar("names_ms", "<=", 1, "ms", "finding the names of a cell"),
    Bar("send_69mb_again_ms", "<=", 50, "ms", "a cell that reads a frame of 69 MB which is there already",
        ("send_69mb_again_ms", "send_69mb_as_json_ms")),
    Bar("add_column_bytes_vs_column", "<=", 1.2, "×",
        "bytes that travel for one more column of it, against the column's"),
    Bar("push_200mb_vs_scp", "<=", 1.2, "×", "a cell that takes 200 MB along, against `scp`",
        ("push_200mb_remote_ms", "push_200mb_scp_ms")),
    Bar("pull_200mb_vs_scp", "<=", 1.2, "×", "200 MB back by `%remote get`, against `scp`",
        ("pull_200mb_remote_ms", "pull_200mb_scp_ms")),
    Bar("mount_write_128mb_vs_rclone_copy", "<=", 1.3, "×",
        "128 MB written to a mounted bucket and flushed, against `rclone copy`",
        ("mount_write_128mb_remote_ms", "mount_write_128mb_rclone_copy_ms")),
    Bar("mount_read_128mb_vs_rclone_copy", "<=", 1.3, "×",
        "128 MB read from a mounted bucket for the first time, against `rclone copy`",
        ("mount_read_128mb_remote_ms", "mount_read_128mb_rclone_copy_ms")),
    Bar("mount_128mb_vs_skypilot_flags", "<", 1, "×",
        "both against the same with SkyPilot's flags for `rclone mount`",
        ("mount_128mb_remote_ms", "mount_128mb_skypilot_flags_ms")),
    Bar("sweep_trial_vs_dask", "<=", 1.3, "×",
        "a trial that does nothing, against a task that does nothing on the same Dask cluster",
        ("sweep_trial_ms", "dask_task_ms")),
    Bar("sweep_500_live_updates_per_s", "<=", 5, "/s",
        "updates of the table with 500 trials that run and report",
        ("sweep_500_live_kb_per_update",)),
    Bar("kernel_ready_before_packages_s", "<=", 3, "s",
        "first cell of a bare machine, before the notebook's packages are there; uv's cache is warm",
        ("kernel_ready_before_packages_s", "packages_ready_s")),
    Bar("env_second_use_s", "<=", 0.3, "s", "a cell that needs packages of an earlier notebook"),
    Bar("loop_held_by_20_launches_ms", "<=", 20, "ms",
        "longest that 20 launches at a time hold the event loop of Jupyter Server"),
    Bar("list_100_machines_ms", "<=", 100, "ms", "the server's list of 100 machines"),
    Bar("list_1000_jobs_ms", "<=", 200, "ms", "the list of 1,000 jobs"),
    Bar("cluster_up_vs_sshcluster", "<=", 1.5, "×",
        "a Dask cluster on two machines, against Dask's `SSHCluster`",
        ("cluster_up_remote_ms", "cluster_up_sshcluster_ms")),
    Bar("agent_memory_mb", "<=", 60, "MB", "memory of the agent after the flood"),
)  # fmt: skip
KEYS = tuple(bar.key for bar in BARS)


def machine() -> dict[str, Any]:
    """Return what the figures were measured on and with, by key."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    about = {
        "machine_cpu": cpu[1] if cpu else platform.processor(),
        "machine_cores": os.cpu_count(),
        "machine_kernel": platform.release().partition("-")[0],
        "version_python": platform.python_version(),
        "version_openssh": _first_line("ssh", "-V"),
        "version_rsync": _first_line("rsync", "--version"),
    }
    return about | {f"version_{name}": _version(name) for name in ("jupyter_gpu_remote", *_PACKAGES)}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(*argv: str) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    except OSError:
        return None
    return (done.stdout or done.stderr).splitlines()[0].split(",")[0].strip()


def number(value: float, unit: str = "") -> str:
    """Return a figure with three significant digits and its unit."""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip().replace(" ×", "×")


def _verdict(bar: Bar, figures: Figures) -> tuple[str, str]:
    if bar.key in figures:
        return number(figures[bar.key], bar.unit), "pass" if bar.met(figures[bar.key]) else "miss"
    for how in ("skipped", "failed"):
        if bar.key in figures.get(how, {}):
            return "", f"{how}: {figures[how][bar.key].splitlines()[0]}"
    return "", "not measured"


def text(figures: Figures) -> str:
    """Return the table for a terminal, with the machine above it."""
    lines = [about(figures), ""]
    for bar in BARS:
        value, verdict = _verdict(bar, figures)
        if verdict != "not measured":
            limit = f"{bar.sign} {bar.limit:g}"
            lines.append(f"{bar.key:42} {value:>18} {limit:>8}  {verdict}")
    return "\n".join(lines)


def about(figures: Figures) -> str:
    """Return one sentence about the machine and the versions."""
    versions = ", ".join(
        f"{name} {figures[f'version_{name}']}" for name in _PACKAGES if figures.get(f"version_{name}")
    )
    quick = " A quick run: few repetitions." if figures.get("quick") else ""
    return (
        f"{figures['machine_cores']} cores of {figures['machine_cpu']}, Linux {figures['machine_kernel']}, "
        f"Python {figures['version_python']}, {figures['version_openssh']}, {versions}.{quick}"
    )


def markdown(figures: Figures) -> str:
    """Return the table for the README."""
    lines = ["| What | Measured | Must be | Ours | The other |", "|---|---|---|---|---|"]
    for bar in BARS:
        value, verdict = _verdict(bar, figures)
        shown = f"**{value}**" if verdict == "pass" else f"{value} ({verdict})" if value else verdict
        sides = [_side(figures, key) for key in bar.raw] or ["", ""]
        limit = f"{bar.sign} {bar.limit:g}".replace("<", "&lt;").replace(">", "&gt;")
        lines.append(f"| {bar.what} | {shown} | {limit} | {' | '.join(sides)} |")
    return "\n".join([*lines, "", f"Medians, both sides in one run on {about(figures)}"])


def _side(figures: Figures, key: str) -> str:
    return number(figures[key], "ms" if key.endswith("_ms") else "") if key in figures else ""


def into_readme(readme: Path, figures: Figures) -> None:
    """Put the table between the README's two marks.

    Raises:
        SystemExit: The marks are not there.
    """
    whole = readme.read_text()
    head, start, rest = whole.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"{readme} has no {START} … {END}: put the two lines where the table belongs.")
    readme.write_text(f"{head}{START}\n{markdown(figures)}\n{END}{tail}")
