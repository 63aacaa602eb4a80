"""Cells on a machine on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import ours, peers
from benchmarks.frontend import CellFailed, Frontend, is_reply_to
from benchmarks.measure import Figures, interleaved, ms, timed
from benchmarks.rig import Site

_LOAD = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
shell.extension_manager.load_extension("jupyter_gpu_remote")
print(time.perf_counter() - start)
"""
_FLOOD = "for i in range(200_000): print('line', i)"
_COUNT_FILES = "from pathlib import Path\nprint(len([*Path().rglob('*.bin')]))"
_BUSY = """
import time
end = time.monotonic() + 60
while slider.value != 99_999 and time.monotonic() < end: time.sleep(0.001)
"""


def load(site: Site, quick: bool) -> Figures:
    """Time the extension's loading in fresh interpreters."""

    def once() -> float:
        done = subprocess.run([sys.executable, "-c", _LOAD], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CellFailed(done.stderr.strip().splitlines()[-1])
        return float(done.stdout)

    median = interleaved({"load": once}, 3 if quick else 15)
    return {"load_ext_ms": median["load"] * 1e3}


def set_up(site: Site, quick: bool) -> Figures:
    """Run the very first cell on a machine that has nothing but Python."""
    folder = _folder(site, "set-up")
    with Frontend(folder) as frontend:
        frontend.time(ours.LOAD)
        return {"first_cell_ever_s": frontend.time(ours.remote(site, "pass"), ours.SET_UP_LIMIT)}


def sdks(site: Site, quick: bool) -> Figures:
    """Count cloud SDK modules in a kernel that loaded the extension and ran a cell on the local machine."""
    pretended = site.work / "sdks"
    ours.pretend_sdks(pretended)
    # behind what is installed, so that a real SDK is found first
    with Frontend(_folder(site, "sdks-notebook")) as frontend:
        frontend.time(f"import sys; sys.path.append({str(pretended)!r})")
        frontend.time(ours.LOAD)
        loaded = ours.sdks_imported(frontend)
        frontend.time("%%remote --cloud local\npass", ours.SET_UP_LIMIT)
        return {"import_cloud_sdks": max(loaded, ours.sdks_imported(frontend))}


def warm_pass(site: Site, quick: bool) -> Figures:
    """Time the smallest remote cell against the smallest local one."""
    with ours.connected(site, _folder(site, "pass")) as frontend:
        cell = ours.remote(site, "pass")
        medians = interleaved(
            {"direct": lambda: frontend.time("pass"), "remote": lambda: frontend.time(cell)},
            30 if quick else 300,
            warm_up=10,
        )
    return {"warm_pass_vs_direct": medians["remote"] / medians["direct"], **ms(medians, "warm_pass")}


def px(site: Site, quick: bool) -> Figures:
    """Time the smallest remote cell against ipyparallel's."""
    with peers.px_frontend(site) as px, ours.connected(site, _folder(site, "px")) as frontend:
        cell = ours.remote(site, "pass")
        medians = interleaved(
            {"px": lambda: px.time("%%px\npass"), "remote": lambda: frontend.time(cell)},
            30 if quick else 300,
            warm_up=10,
        )
    return {"warm_pass_vs_px": medians["remote"] / medians["px"], **ms(medians, "px_pass")}


def nochange(site: Site, quick: bool) -> Figures:
    """Time what a folder of many unchanged files adds to a cell, against rsync finding out the same."""
    folder = _folder(site, "unchanged")
    for i in range(100):
        (folder / f"{i}").mkdir()
        for j in range(100):
            (folder / f"{i}" / f"{j}.bin").write_bytes(os.urandom(10_000))
    copy = site.work / "home" / "copy"
    peers.open_master(site)
    peers.rsync(site, folder, copy)
    with (
        ours.connected(site, folder) as synced,
        ours.connected(site, _folder(site, "empty"), "--no-sync") as alone,
    ):
        _expect_files(synced, site, 10_000)
        with_files, without = ours.remote(site, "pass"), ours.remote(site, "pass", "--no-sync")
        medians = interleaved(
            {
                "with_files": lambda: synced.time(with_files),
                "without": lambda: alone.time(without),
                "rsync": lambda: timed(lambda: peers.rsync(site, folder, copy)),
            },
            10 if quick else 60,
            warm_up=3,
        )
        (folder / "late.bin").touch()
        _expect_files(synced, site, 10_001)  # else what was timed was no sync
    # may be below nothing when it drowns in noise; the whole cell's figure is an upper bound beside it
    added = medians["with_files"] - medians["without"]
    return {
        "nochange_sync_vs_rsync": added / medians["rsync"],
        "nochange_whole_cell_vs_rsync": medians["with_files"] / medians["rsync"],
        **ms(medians, "nochange_sync"),
    }


def _expect_files(frontend: Frontend, site: Site, number: int) -> None:
    arrived = frontend.run(ours.remote(site, _COUNT_FILES)).check().text.strip()
    if arrived != str(number):
        raise CellFailed(f"{arrived} files are on the machine instead of {number}")


def flood(site: Site, quick: bool) -> Figures:
    """Time many printed lines against the same in the local kernel; then weigh the agent."""
    with ours.connected(site, _folder(site, "flood")) as frontend:

        def lines(cell: str) -> float:
            ran = frontend.run(cell).check()
            if ran.text.count("\n") != 200_000:
                raise CellFailed(f"{ran.text.count(chr(10))} lines came instead of 200,000")
            return ran.seconds

        medians = interleaved(
            {"direct": lambda: lines(_FLOOD), "remote": lambda: lines(ours.remote(site, _FLOOD))},
            1 if quick else 7,
        )
        memory = ours.agent_memory(site)
    ratio = medians["remote"] / medians["direct"]
    return {"flood_200k_lines_vs_direct": ratio, "agent_memory_mb": memory, **ms(medians, "flood")}


def slider(site: Site, quick: bool) -> Figures:
    """Time a slider's echo while a remote cell keeps its kernel busy."""
    with ours.connected(site, _folder(site, "slider")) as frontend:
        slider = ours.Slider(frontend, site)
        cell = frontend.send(ours.remote(site, _BUSY))
        frontend.messages(lambda m: m["msg_type"] == "execute_input", 20)
        moves = iter(range(1, 1000))
        median = interleaved({"echo": lambda: slider.move(next(moves))}, 10 if quick else 100, warm_up=5)
        # the cell sees this value only if callbacks ran while it was busy
        slider.move(99_999)
        frontend.messages(is_reply_to(cell), 30)
    return {"slider_during_cell_ms": median["echo"] * 1e3}


def _folder(site: Site, name: str) -> Path:
    folder = site.work / name
    folder.mkdir(exist_ok=True)
    return folder
