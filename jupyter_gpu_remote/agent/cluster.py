"""The Dask cluster of a kernel: what `remote_client` gives, and what machines beside the kernel's join.

Runs in the kernel's process. Scheduler and workers run in processes of their own, so that a cell that
computes does not silence them; `clusterhost` is their program. They listen with TLS under a key that this
cluster alone has: Dask executes what the network brings.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipykernel.connect import get_connection_file

from . import imports
from .clusterhost import security
from .load import read_gpus

if TYPE_CHECKING:
    from distributed import Client

MACHINE = "GPU_REMOTE_MACHINE"
"""The environment variable that tells kernels the name of their machine."""
ADDRESS = "GPU_REMOTE_ADDRESS"
"""Likewise the address under which the other machines of a notebook reach it, where it can't tell itself."""
_UP_LIMIT = 60.0
"""Seconds for the workers of a machine to be there; importing `distributed` takes most of it."""
_END_LIMIT = 5.0
_LOOK = 0.2
"""Seconds between two looks whether a cluster has ended."""
_lock = threading.Lock()


def remote_client() -> Client:
    """Return the `distributed.Client` of this kernel's cluster, which is started when it is first asked for.

    What can be relied on:

    - A plain, synchronous client, the same one each time, also Dask's default one. After
      ``client.shutdown()`` or ``client.close()`` the next call gives another.
    - One worker for each GPU, which sees that GPU alone (``CUDA_VISIBLE_DEVICES``); on a machine without
      GPUs one for each core. Each is a process of its own, and runs one task at a time.
    - All workers of this machine are there when it returns; those of other machines come and go. A worker's
      name is ``MACHINE:NUMBER``, so ``name.rpartition(":")[0]`` is its machine; ``client.scheduler_info(-1)``
      has the names.
    - Workers have the kernel's packages, those too that are installed later, and the notebook's folder as
      working folder and on `sys.path`. What a worker has imported it keeps.
    - A worker that crashes is started again, with nothing of what it held; its tasks run again, up to
      ``distributed.scheduler.allowed-failures`` (3) times, then they fail with `KilledWorker`. A machine that
      is silent for eleven seconds is taken for dead.
    - All ends with the kernel.

    Raises:
        ImportError: There is no `distributed` here: the notebook says ``--env none``, or installing failed.
        RuntimeError: The cluster did not come up; the message ends in what it said.
    """
    with _lock:
        return _head().client()


class Host:
    """The processes of a cluster on this machine; they end with this one.

    Args:
        ticket: Where the scheduler is and what opens it; None: it is to run here.
        crossing: Where others find it that can't reach this machine: ``host``, and the ``socket`` to use.
    """

    def __init__(
        self, ticket: Mapping[str, Any] | None = None, crossing: Mapping[str, str] | None = None
    ) -> None:
        # the name tells whose it is: what stands in it is read from outside
        self.folder = Path.home() / ".gpu-remote" / "cluster" / f"{os.getpid()}-{secrets.token_hex(4)}"
        self.folder.mkdir(mode=0o700, parents=True)
        self.ticket: dict[str, Any] = dict(ticket or {"address": "", **_keys()})
        self.workers = environments()
        self._client: Client | None = None
        self.tell_path()
        imports.on_switch.append(self.tell_path)
        settings = {
            "ticket": self.ticket,
            "path": _path(),
            "folder": str(self.folder),
            # beside the kernel's sockets: a socket's name must be short
            "dashboard": str(Path(get_connection_file()).with_name(f"dask-{os.getpid()}")),
            "machine": os.environ.get(MACHINE) or os.uname().nodename,
            "workers": self.workers,
            "host": crossing["host"] if crossing else os.environ.get(ADDRESS) or own_address(),
            "crossing": crossing["socket"] if crossing else "",
        }
        program = str(Path(__file__).with_name("clusterhost.py"))
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # a cell's interrupt is not for its workers; the end of its input tells it that we are gone
                start_new_session=True,
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(settings) + "\n")
            self.process.stdin.flush()
        if not (answer := self.answer()):
            raise RuntimeError(self.why_not("The cluster did not start"))
        self.ticket.update(json.loads(answer))
        if ticket is None:
            self._write("ticket.json", json.dumps({**self.ticket, "id": self.folder.name}))
        self._write("host.json", json.dumps(settings))
        command = shlex.join([sys.executable, program, "leave", str(self.folder)])
        self._write("leave", f"#!/bin/sh\nexec {command}\n", 0o700)

    def answer(self) -> str:
        """Return the next thing that the processes say; empty when they end before, also for lack of time."""
        limit = threading.Timer(_UP_LIMIT, self.process.kill)
        limit.daemon = True
        limit.start()
        assert self.process.stdout is not None
        try:
            return self.process.stdout.readline()
        finally:
            limit.cancel()

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        file = self.folder / name
        file.touch(mode)
        file.write_text(text)

    @property
    def runs(self) -> bool:
        """Whether its processes are there."""
        return self.process.poll() is None

    def tell_path(self) -> None:
        """Tell the workers what this process can import."""
        new = self.folder / "path.new"
        new.write_text(json.dumps(_path()))
        new.replace(self.folder / "path.json")

    def client(self) -> Client:
        """Return the client, once the workers of this machine are there."""
        from distributed import Client

        if self._client is None or self._client.status != "running":
            client = Client(self.ticket["address"], security=security(self.ticket))
            try:
                client.wait_for_workers(len(self.workers), timeout=_UP_LIMIT)
            except TimeoutError:
                client.close()
                raise RuntimeError(self.why_not("The workers did not start")) from None
            self._client = client
        return self._client

    def why_not(self, what: str) -> str:
        """Return an error's message, with what the processes have said."""
        said = (self.folder / "log").read_text(errors="replace").strip()[-2000:]
        return f"{what}: {said or 'they said nothing'}"

    def close(self) -> None:
        """End its processes."""
        imports.on_switch.remove(self.tell_path)
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


_here: Host | None = None


def _head(crossing: Mapping[str, str] | None = None) -> Host:
    """Return the cluster whose scheduler runs here; it is started if it does not run."""
    global _here
    if _here is None or not _here.runs:
        import distributed  # noqa: F401  # waits for it, where the packages are still being installed

        if _here is not None:
            _here.close()
        _here = Host(crossing=crossing)
    return _here


def start(crossing: Mapping[str, str] | None = None) -> None:
    """Have a cluster whose scheduler runs here, for other machines to join.

    Args:
        crossing: Where they find it that can't reach this machine.
    """
    with _lock:
        _head(crossing)


def join(file: str) -> None:
    """Work for the cluster that the ticket in `file` leads to, until it ends or this is interrupted.

    The file is removed.

    Called again with the same ticket, it goes on with the processes of before.

    Raises:
        RuntimeError: The workers of this machine did not come up.
    """
    import distributed  # noqa: F401  # waits for it, where the packages are still being installed

    ticket = json.loads(Path(file).read_text())
    Path(file).unlink()
    host = _joined.get(ticket["id"])
    if host is None or not host.runs:
        for other in _joined.values():
            other.close()
        _joined.clear()
        host = _joined[ticket["id"]] = Host(ticket, ticket.pop("crossing", None))
        if not host.answer():
            raise RuntimeError(host.why_not("The workers did not start"))
    print(f"{len(host.workers)} workers", flush=True)
    while host.runs:
        time.sleep(_LOOK)


_joined: dict[str, Host] = {}


def own_address() -> str:
    """Return the address of this machine in its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # nothing is sent
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _keys() -> dict[str, str]:
    from distributed.security import Security

    made = Security.temporary()
    return {"key": made.tls_client_key, "cert": made.tls_client_cert}


def _path() -> list[str]:
    """Return what `sys.path` has, the notebook's folder by its name."""
    return [entry or str(Path.cwd()) for entry in sys.path]


def environments() -> list[dict[str, str]]:
    """Return what the environment of each worker of this machine has: a GPU for each, if there are any."""
    if gpus := visible_gpus():
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]
    from dask.system import CPU_COUNT

    return [{} for _ in range(max(1, CPU_COUNT))]


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in visible.split(",") if name.strip()] if read_gpus() else []
    return [str(index) for index in range(len(read_gpus() or ()))]
