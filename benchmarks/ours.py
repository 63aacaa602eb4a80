"""This package, driven only through what its users have."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.frontend import CellFailed, Frontend, Message, is_idle
from benchmarks.rig import Site

LOAD = "%load_ext jupyter_gpu_remote"
SET_UP_LIMIT = 600
"""Seconds for the very first cell on a machine, which builds its environment."""

_SDKS = ("boto3", "botocore", "google.cloud")
_SLIDER = """
import ipywidgets
slider = ipywidgets.IntSlider(max=100_000)
slider
"""
_COUNT_SDKS = f"""
import sys
print(sum(m == sdk or m.startswith(sdk + ".") for m in sys.modules for sdk in {_SDKS!r}))
"""


def remote(site: Site, body: str, *options: str) -> str:
    """Return a cell that runs `body` on the site."""
    return f"%%remote --cloud ssh --on {site.destination} {' '.join(options)}\n{body}"


@contextlib.contextmanager
def connected(site: Site, cwd: Path, *options: str, run: Path | None = None) -> Iterator[Frontend]:
    """Give a frontend in whose kernel a first cell has run on the site.

    Args:
        cwd: The notebook's folder; made if need be.
        options: More options of that cell.
        run: Where shared connections are kept, if not where the others keep them.
    """
    cwd.mkdir(exist_ok=True)
    with Frontend(cwd, env={"XDG_RUNTIME_DIR": str(run)} if run else None) as frontend:
        frontend.time(LOAD)
        frontend.time(remote(site, "pass", *options), SET_UP_LIMIT)
        yield frontend


def pretend_sdks(folder: Path) -> None:
    """Put empty cloud SDKs into `folder` for those not installed, so that importing one shows."""
    for sdk in _SDKS:
        package = folder / sdk.replace(".", "/")
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()


def sdks_imported(frontend: Frontend) -> int:
    """Return how many modules of cloud SDKs the local kernel has imported."""
    return int(frontend.run(_COUNT_SDKS).check().text)


def agent_memory(site: Site) -> float:
    """Return the resident memory of the site's agent, in MB.

    Raises:
        CellFailed: No agent runs there.
    """
    total = 0
    for process in psutil.process_iter(["cmdline"]):
        argv = process.info["cmdline"] or []
        if "jupyter_gpu_remote.agent" in argv and any(str(site.work) in arg for arg in argv):
            total += process.memory_info().rss
    if not total:
        raise CellFailed("no agent of ours runs on the machine")
    return total / 1e6


class Slider:
    """An IntSlider that lives on the site.

    Args:
        frontend: Whose kernel has the extension loaded.
        site: Where the slider is made.
    """

    def __init__(self, frontend: Frontend, site: Site) -> None:
        self.frontend = frontend
        made = frontend.run(remote(site, _SLIDER))
        opened = [m["content"] for m in made.check().outputs if m["msg_type"] == "comm_open"]
        (self.comm_id,) = (
            c["comm_id"] for c in opened if c["data"]["state"].get("_model_name") == "IntSliderModel"
        )

    def move(self, value: int) -> float:
        """Return the seconds from moving the slider to its echo, waiting for the idle after it as well."""
        update = {"method": "update", "state": {"value": value}, "buffer_paths": []}
        start = time.perf_counter()
        request = self.frontend.send_comm(self.comm_id, update)
        echoed = 0.0

        def done(message: Message) -> bool:
            nonlocal echoed
            if message["parent_header"].get("msg_id") == request:
                if message["msg_type"] == "comm_msg" and not echoed:
                    state = message["content"]["data"].get("state", {})
                    echoed = time.perf_counter() - start if state.get("value") == value else 0.0
                return is_idle(message) and bool(echoed)
            return False

        self.frontend.messages(done, 20)
        return echoed


def start(site: Site, warm: bool) -> float:
    """Return the seconds of the first cell of a new notebook, which gets a new kernel over there.

    Args:
        warm: Whether the connection that notebooks share is there before.
    """
    folder = site.work / "start"
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        # where shared connections are kept: nobody has been in a new folder
        run = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=site.work)))
        if warm:
            stack.enter_context(connected(site, folder, run=run))
        frontend = stack.enter_context(Frontend(folder, env={"XDG_RUNTIME_DIR": str(run)}))
        frontend.time(LOAD)
        return frontend.time(remote(site, "pass"))
