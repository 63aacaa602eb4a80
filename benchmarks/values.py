"""Variables out with a cell and back, against the plain tools and the peers, on loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks import ours, peers
from benchmarks.frontend import Frontend
from benchmarks.measure import Figures, interleaved, ms, timed
from benchmarks.rig import Site

_LARGE = 25_000_000
"""Numbers of 8 bytes: 200 MB that no compression makes smaller."""
_ROWS = 1_000_000
_FRAME = f"""
import numpy as np, pandas as pd
rng = np.random.default_rng(0)
n = {_ROWS}
df = pd.DataFrame({{
    "a": rng.normal(size=n), "b": rng.integers(0, 100, n), "c": rng.choice(["alpha", "beta", "gamma"], n),
    "ts": pd.date_range("2024", periods=n, freq="s"),
    "t": [f"user {{i % 5000}} said {{i}}" for i in range(n)],
}})
"""
_EXCHANGE = "__import__('jupyter_gpu_remote.magic').magic.cells().exchange"
_PACKAGES_LIMIT = 300


def frames(site: Site, quick: bool) -> Figures:
    """Send a frame of 69 MB, again, and with one more column; once as JSON, as notebook bridges do."""
    folder = _folder(site, "frames")
    cell = ours.remote(site, "len(df)")
    with ours.connected(site, folder) as frontend:
        frontend.time(_FRAME)
        first = frontend.time(cell, _PACKAGES_LIMIT)
        again = interleaved({"again": lambda: _after(frontend, "pass", cell)}, 3 if quick else 15)["again"]
        before = _moved(frontend)
        frontend.time("df['d'] = rng.normal(size=n)")
        column = frontend.time(cell)
        moved = _moved(frontend) - before
        as_json = frontend.run(_JSON.format(file=str(folder / "frame.json"))).check()
    peers.open_master(site)
    over = timed(lambda: peers.cat_push(site, folder / "frame.json", folder / "frame.there"))
    return {
        "send_69mb_again_ms": again * 1e3,
        "send_69mb_first_ms": first * 1e3,
        "add_column_bytes_vs_column": moved / (8 * _ROWS),
        "add_column_ms": column * 1e3,
        "send_69mb_as_json_ms": (float(as_json.text.splitlines()[-1]) + over) * 1e3,
    }


_JSON = """
import io, time
start = time.perf_counter()
text = df.drop(columns="d").to_json(orient="records", date_format="iso")
made = time.perf_counter() - start
open({file!r}, "w").write(text)
start = time.perf_counter()
pd.read_json(io.StringIO(text), orient="records")
print(made + time.perf_counter() - start)
"""


def large(site: Site, quick: bool) -> Figures:
    """Send a new array of 200 MB, and bring one back, against scp and ipyparallel."""
    folder = _folder(site, "large")
    make = f"import numpy as np\nbig = np.random.default_rng().normal(size={_LARGE})"
    put = ours.remote(site, "len(big)", "--in big")
    # not in the notebook's folder, with which it would go along
    source, target = site.work / "array.bin", site.work / "array.there"
    with ours.connected(site, folder) as frontend, peers.px_frontend(site) as px:
        frontend.time(make + f"\nbig.tofile({str(source)!r})\ndel big")
        frontend.time(ours.remote(site, "import numpy"), _PACKAGES_LIMIT)
        frontend.time("%remote trust")
        px.time("view = client[:]\nview.block = True\n" + make)
        rounds = 2 if quick else 7
        pushed = interleaved(
            {
                "remote": lambda: _after(frontend, make, put),
                "scp": lambda: _scp(site, str(source), f"{site.SHARED}:{target}", target),
                "ipyparallel": lambda: px.time("view.push({'big': big})"),
            },
            rounds,
        )
        pulled = interleaved(
            {
                "remote": lambda: _after(frontend, ours.remote(site, make), "%remote get big"),
                "scp": lambda: _scp(site, f"{site.SHARED}:{target}", str(source), source),
                "ipyparallel": lambda: px.time("back = view.pull('big')"),
            },
            rounds,
        )
    return {
        "push_200mb_vs_scp": pushed["remote"] / pushed["scp"],
        "pull_200mb_vs_scp": pulled["remote"] / pulled["scp"],
        **ms(pushed, "push_200mb"),
        **ms(pulled, "pull_200mb"),
    }


def _scp(site: Site, source: str, target: str, made: Path) -> float:
    """Return the seconds that scp takes, over the connection and with the cipher that all others use here.

    What it makes is new, as with the others: a file that is there has its memory already.
    """
    made.unlink(missing_ok=True)
    argv = ["scp", "-q", "-F", str(site.ssh_config), source, target]
    return timed(lambda: subprocess.run(argv, check=True, timeout=300))


def _after(frontend: Frontend, code: str, cell: str) -> float:
    """Return the seconds of a cell that runs after other code."""
    frontend.time(code)
    return frontend.time(cell)


def _moved(frontend: Frontend) -> int:
    return int(frontend.run(f"print({_EXCHANGE}.moved)").check().text)


def _folder(site: Site, name: str) -> Path:
    folder = site.work / name
    folder.mkdir(exist_ok=True)
    return folder
