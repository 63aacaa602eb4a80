"""Scheduler and workers of a cluster on one machine: the program that `cluster.Host` starts.

The first line of its input says what to do; it ends where its input ends. Each worker's process has it as its
main module, too. ``clusterhost.py leave FOLDER`` takes a machine out of a cluster, unless it computes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEEPALIVE = "11s"
"""A connection whose other end is silent for so long is dead: the least that Dask allows. The systems ask
each other, so a task that never lets go of the interpreter is no silence."""
_PORT = 27000
"""The port of a scheduler that is reached through `crossing`, the first of those that such a machine has."""
_SCHEDULER_LIMIT = 300.0
"""Seconds for which workers look for a scheduler that is gone."""
_CLOSE_LIMIT = 2.0
_LINE = 1 << 20
_FOLDER = "GPU_REMOTE_CLUSTER"


def security(ticket: Mapping[str, Any]) -> Any:
    """Return what opens a cluster: one key for all, which nobody else has."""
    from distributed.security import Security

    roles = ("client", "scheduler", "worker")
    keys = {f"tls_{role}_{what}": ticket[what] for role in roles for what in ("key", "cert")}
    return Security(require_encryption=True, tls_ca_file=ticket["cert"], **keys)


async def serve(settings: Mapping[str, Any], over: Any) -> None:
    """Run what `settings` say until `over` is done, or the cluster has ended otherwise."""
    import dask
    from distributed import Scheduler

    timeouts = dict.fromkeys(("tcp", "connect"), KEEPALIVE)
    dask.config.set({f"distributed.comm.timeouts.{name}": limit for name, limit in timeouts.items()})
    ticket = settings["ticket"]
    keys = security(ticket)
    scheduler, told = None, {}
    first = _PORT if settings["crossing"] else 0
    if first:
        await _open_crossing(settings["crossing"], 1 + 2 * len(settings["workers"]))
    if not ticket["address"]:
        at = {"host": settings["host"], "port": first, "dashboard_address": "127.0.0.1:0"}
        scheduler = await Scheduler(protocol="tls", security=keys, **at)
        told = {"address": scheduler.address}
        await _open_dashboard(settings["dashboard"], scheduler.http_server.port)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what tasks print goes to the log
    answers.write(json.dumps(told) + "\n")
    nanny = _patient()
    nannies = [
        nanny(
            told.get("address") or ticket["address"],
            name=f"{settings['machine']}:{number}",
            nthreads=1,
            env={**environment, _FOLDER: settings["folder"]},
            preload=["__mp_main__"],
            security=keys,
            host=settings["host"],
            port=first and first + 1 + 2 * number,
            worker_port=first and first + 2 + 2 * number,
            death_timeout=None if scheduler else _SCHEDULER_LIMIT,
            dashboard=False,
        )
        for number, environment in enumerate(settings["workers"])
    ]
    running = asyncio.ensure_future(_run(nannies, scheduler, answers))
    await asyncio.wait([over, running], return_when=asyncio.FIRST_COMPLETED)
    if running.done() and (error := running.exception()):
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    running.cancel()
    closing = asyncio.gather(*(nanny.close(timeout=1) for nanny in nannies), return_exceptions=True)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(closing, _CLOSE_LIMIT)
    if scheduler is not None:
        await scheduler.close()


def _patient() -> type:
    """Return a nanny whose worker looks for a scheduler that is cut off, where Dask's would end with it."""
    from distributed import Nanny

    class Patient(Nanny):  # type: ignore[misc]
        def close_gracefully(self, reason: str = "") -> None:
            if not reason.endswith("connection-broken"):  # the worker is begun anew, as after a crash
                super().close_gracefully(reason)

    return Patient


async def _run(nannies: Sequence[Any], scheduler: Any, answers: Any) -> None:
    await asyncio.gather(*nannies)
    answers.write("up\n")
    await asyncio.gather(*(one.finished() for one in ([scheduler] if scheduler else nannies)))


async def _open_dashboard(path: str, port: int) -> None:
    """Have a socket that this user alone may use lead to the dashboard: it is reached through SSH."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            back, forth = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_copy(reader, forth), _copy(back, writer))

    with contextlib.suppress(OSError):  # its folder is gone, as when everything temporary is cleaned up
        await asyncio.start_unix_server(pass_on, path)


async def _open_crossing(path: str, ports: int) -> None:
    """Have connections to other machines go through a socket of this user, which whoever knows a way is at.

    A line of JSON says what the one who connects to it wants.
    """
    listening: dict[tuple[str, int], Any] = {}
    waiting: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def go_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("sockname")[:2]
        while True:
            back, forth = await waiting.get()
            with contextlib.suppress(OSError):
                if not back.at_eof():
                    forth.write(f"{host} {port}\n".encode())
                    await forth.drain()
                    break
        await asyncio.gather(_copy(reader, forth), _copy(back, writer))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wish = json.loads(await reader.readline() or "{}")
        if "next" in wish:
            return waiting.put_nowait((reader, writer))
        with contextlib.suppress(OSError), contextlib.closing(writer):
            if "to" in wish:
                back, forth = await asyncio.open_connection(*wish["to"])
                await asyncio.gather(_copy(reader, forth), _copy(back, writer))
            elif "listen" in wish:
                asked = {
                    (at, _PORT + number) for at, count in wish["listen"].items() for number in range(count)
                }
                for host, port in sorted(asked - listening.keys()):
                    listening[host, port] = await asyncio.start_server(go_out, host, port)
                writer.write(f"{ports}\n".encode())
                await writer.drain()

    Path(path).unlink(missing_ok=True)
    listening[path, 0] = await asyncio.start_unix_server(serve, path)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_LINE):
            writer.write(data)
            await writer.drain()
    writer.close()


async def leave(folder: Path) -> int:
    """Have what this machine's workers hold go to others; return how many tasks they have, then it stays."""
    settings = json.loads((folder / "host.json").read_text())
    sys.path[:] = settings["path"]
    from distributed.core import rpc

    keys = security(settings["ticket"]).get_connection_args("client")
    async with rpc(settings["ticket"]["address"], connection_args=keys) as scheduler:
        known = (await scheduler.identity(n_workers=-1))["workers"]
        name = f"{settings['machine']}:"
        ours = [address for address, worker in known.items() if str(worker["name"]).startswith(name)]
        tasks = await scheduler.processing(workers=ours)
        if not (busy := sum(map(len, tasks.values()))) and ours:
            await scheduler.retire_workers(workers=ours, close_workers=False, remove=True)
        return busy


async def main() -> None:
    """Do what the first line says."""
    lines = asyncio.StreamReader(_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    settings = json.loads(await lines.readline())
    sys.path[:] = settings["path"]
    over = asyncio.ensure_future(lines.read())
    try:
        await serve(settings, over)
    finally:
        if over.done():  # or else the kernel is there, and says what is in the log
            shutil.rmtree(settings["folder"], ignore_errors=True)
        if not settings["ticket"]["address"]:
            Path(settings["dashboard"]).unlink(missing_ok=True)


class LaterPackages:
    """A finder that finds nothing: it keeps `sys.path` as that of the kernel beside it.

    Args:
        file: Where the kernel writes that.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed_at = 0

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Look whether the kernel can import more by now."""
        if path is not None:
            return
        with contextlib.suppress(OSError):  # the kernel ends
            changed_at = self._file.stat().st_mtime_ns
            if changed_at != self._changed_at:
                sys.path[:] = json.loads(self._file.read_text())
                self._changed_at = changed_at


def dask_setup(worker: Any) -> None:
    """Prepare a worker's process."""
    sys.meta_path.insert(0, LaterPackages(Path(os.environ[_FOLDER]) / "path.json"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["leave"]:
        print(asyncio.run(leave(Path(sys.argv[2]))))
    else:
        asyncio.run(main())
