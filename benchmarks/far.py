"""Cells on a machine 80 ms away, and through a link that breaks."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import threading
import time
from collections import Counter

from benchmarks import cable, ours, peers
from benchmarks.frontend import CellFailed, Frontend, Message, ends
from benchmarks.measure import Figures, interleaved, ms, timed
from benchmarks.rig import Site, Skip

DISPLAYS = 30_000
CUTS = 5
_LOOK = 3.0
"""Seconds between two looks of Jupyter Server whether a kernel lives."""
_CUT_FOR = 1.5
"""Seconds the link is dead each time."""


def warm_pass(site: Site, quick: bool) -> Figures:
    """Count the round trips of the smallest remote cell."""
    with ours.connected(site, site.work / "far-pass") as frontend:
        cell = ours.remote(site, "pass")
        medians = interleaved(
            {"remote": lambda: frontend.time(cell), "direct": lambda: frontend.time("pass")},
            10 if quick else 60,
            warm_up=3,
        )
    round_trip = statistics.median(_round_trip(site) for _ in range(10))
    return {
        "warm_pass_rtts_at_80ms": medians["remote"] / round_trip,
        "far_round_trip_ms": round_trip * 1e3,
        **ms(medians, "far_pass"),
    }


def _round_trip(site: Site) -> float:
    def connect() -> None:
        socket.create_connection((site.host, site.port), timeout=10).close()

    return timed(connect)


def starts(site: Site, quick: bool) -> Figures:
    """Time a new remote kernel up to its first cell, with and without a connection that is up."""
    sshpyk = peers.Sshpyk(site)
    rounds = 2 if quick else 7
    warm = interleaved(
        {"remote": lambda: ours.start(site, warm=True), "sshpyk": lambda: sshpyk.start(warm=True)}, rounds
    )
    cold = interleaved(
        {"remote": lambda: ours.start(site, warm=False), "sshpyk": lambda: sshpyk.start(warm=False)}, rounds
    )
    return {
        "warm_start_vs_sshpyk_at_80ms": warm["remote"] / warm["sshpyk"],
        "cold_start_vs_sshpyk_at_80ms": cold["remote"] / cold["sshpyk"],
        **ms(warm, "warm_start"),
        **ms(cold, "cold_start"),
    }


def cuts(site: Site, quick: bool) -> Figures:
    """Display many things while the link is cut again and again, ours and sshpyk over the same link."""
    pause = 4.0 if quick else 8.0
    displays = 3_000 if quick else DISPLAYS
    length = (CUTS + 1) * pause
    # a pause each time ten have been shown, so that the cuts fall in the middle
    code = (
        "import time\nfrom IPython.display import display\n"
        f"for i in range({displays}):\n"
        "    display({'text/plain': str(i)}, raw=True)\n"
        f"    if i % 10 == 0: time.sleep({length / (displays / 10):.5f})\n"
    )
    with contextlib.ExitStack() as stack:
        frontend = stack.enter_context(ours.connected(site, site.work / "far-cuts"))
        watched = {"remote": _Watch(frontend, ours.remote(site, code), length + 60)}
        peer = None
        with contextlib.suppress(Skip):
            peer = stack.enter_context(peers.Sshpyk(site).kernel())
            watched["sshpyk"] = _Watch(peer, code, length + 60)
        cutting = threading.Thread(target=_cut_again_and_again, args=(site, pause), daemon=True)
        for thread in (*watched.values(), cutting):
            thread.start()
        while any(thread.is_alive() for thread in watched.values()):
            if peer:
                peers.Sshpyk.look_after(peer)
            watched["remote"].join(_LOOK)
        cutting.join()
        wrong = {name: watch.wrong(displays) for name, watch in watched.items()}
    figures: Figures = {"lost_lines_on_cut": wrong["remote"], "displays_on_cut": displays}
    if "sshpyk" in wrong:
        figures["lost_lines_on_cut_sshpyk"] = wrong["sshpyk"]
    return figures


def _cut_again_and_again(site: Site, pause: float) -> None:
    for _ in range(CUTS):
        time.sleep(pause - _CUT_FOR)
        os.kill(site.cable_pid, cable.CUT)
        try:
            time.sleep(_CUT_FOR)
        finally:
            os.kill(site.cable_pid, cable.MEND)


class _Watch(threading.Thread):
    """Run a cell and count what it displays, until its reply and idle or until the limit."""

    def __init__(self, frontend: Frontend, cell: str, limit: float) -> None:
        super().__init__(daemon=True)
        self.frontend, self.cell, self.limit = frontend, cell, limit
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        request = self.frontend.send(self.cell)
        done = ends(request)

        def count(message: Message) -> bool:
            if message["msg_type"] == "display_data" and message["parent_header"].get("msg_id") == request:
                self.seen[message["content"]["data"]["text/plain"]] += 1
            return done(message)

        with contextlib.suppress(CellFailed):  # what did not come is what is counted
            self.frontend.messages(count, self.limit)

    def wrong(self, displays: int) -> int:
        """Return how many displays are missing, or came more than once."""
        return sum(self.seen[str(i)] != 1 for i in range(displays))
