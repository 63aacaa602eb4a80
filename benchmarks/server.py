"""What the server extension costs everybody else on the same Jupyter Server."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Figures, timed
from benchmarks.rig import Site, Skip

if TYPE_CHECKING:
    from tests.server.served import Client, Server

_LAUNCHES = 20
_MACHINES = 100
_LIMIT = 60.0
_REQUEST = {"gpu": "T4", "cloud": "fake"}

_PROBE = """
import asyncio, json, os, time

HERE = os.path.dirname(__file__)
worst = 0.0
run = asyncio.events.Handle._run

def timed(handle):
    global worst
    start = time.perf_counter()
    run(handle)
    worst = max(worst, time.perf_counter() - start)

def tell(loop):
    global worst
    if os.path.exists(HERE + "/reset"):
        os.unlink(HERE + "/reset")
        worst = 0.0
    with open(HERE + "/worst.new", "w") as file:
        file.write(str(worst))
    os.replace(HERE + "/worst.new", HERE + "/worst")
    loop.call_later(0.1, tell, loop)

def _jupyter_server_extension_points():
    return [{"module": "loop_probe"}]

def _load_jupyter_server_extension(app):
    asyncio.events.Handle._run = timed
    loop = app.io_loop.asyncio_loop
    loop.call_soon(tell, loop)
"""
"""An extension that writes down how long the loop was held at most, by whatever it ran."""


def measure(site: Site, quick: bool) -> Figures:
    """Launch many machines on a slow cloud while somebody looks, then list many machines."""
    try:
        from tests.server.served import Server
    except ImportError as e:
        raise Skip(f"a server for tests needs {e.name}") from None
    server = Server(site.work / "server", options=("--ServerApp.jpserver_extensions=loop_probe=True",))
    plugin = server.folder / "plugin"
    (plugin / "loop_probe.py").write_text(_PROBE)
    (server.folder / "config").mkdir()
    settings = server.folder / "config" / "jupyter_gpu_remote_config.py"
    settings.write_text("c.GpuRemote.ingress = '192.0.2.9'\n")
    client = server.start().client()
    try:
        client.ask("GET", "machines")
        (plugin / "reset").touch()
        _until(lambda: not (plugin / "reset").exists())
        for _ in range(_LAUNCHES):
            client.ask("POST", "launches", _REQUEST)
        _until(lambda: _look(client) >= _LAUNCHES)
        held = _worst(plugin)
        for job in client.ask("GET", "jobs").body["jobs"]:
            client.ask("DELETE", f"jobs/{job['id']}")
        _until(lambda: _look(client) == 0)
        held = max(held, _worst(plugin))
        _pretend(server)
        listing = [timed(lambda: client.ask("GET", "machines")) for _ in range(10 if quick else 50)]
    finally:
        server.close()
    median = statistics.median(listing)
    return {"loop_held_by_20_launches_ms": held * 1e3, "list_100_machines_ms": median * 1e3}


def _look(client: Client) -> int:
    """Ask for what a sidebar asks for, and return how many machines there are."""
    asked = {path: client.ask("GET", path).body for path in ("machines", "status", "jobs", "spend")}
    return sum(m["state"] == "booting" for m in asked["machines"]["machines"])


def _worst(plugin: Path) -> float:
    time.sleep(0.3)  # it is told ten times a second
    return float((plugin / "worst").read_text())


def _pretend(server: Server) -> None:
    """Put machines into the registry, as if they ran."""
    from jupyter_gpu_remote.model import Machine, MachineState, Offer

    offer = Offer("aws", "g5.xlarge", "A10G", 1, 24, 4, 16, "us-east-1", "us-east-1a", True, 0.5)
    now = time.time()
    for i in range(_MACHINES):
        machine = Machine(f"m-{i}", "aws", offer, MachineState.READY, f"i-{i}", created_at=now, ready_at=now)
        server.registry.add(machine)


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _LIMIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the server did not get there")
        time.sleep(0.2)
