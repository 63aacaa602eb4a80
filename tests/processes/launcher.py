"""Launches machines in processes of their own that are killed at a given point; run as ``python -m``.

Reads a line of JSON for each launch: the state folder, the cloud, and the number of the point at which to be
killed (0: at none, then the points are counted). Answers with a line: that number, or how many there were.
A point is each moment around a change of the registry and a call to the cloud.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from typing import Any

import boto3  # noqa: F401  # once, rather than in each process
from google.cloud import compute_v1  # noqa: F401

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import GpuRequest, Machine, MachineState
from jupyter_gpu_remote.registry import Registry
from jupyter_gpu_remote.statefile import StateFile


class Points:
    """Counts the points of a launch, and ends this process at one of them."""

    def __init__(self, last: int) -> None:
        self.last, self.passed = last, 0
        self._lock = threading.Lock()

    def reach(self) -> None:
        with self._lock:
            self.passed += 1
            if self.passed == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Put a point before and after each call of a method."""
        original = getattr(owner, name)

        def reaching(*args: Any, **options: Any) -> Any:
            self.reach()
            result = original(*args, **options)
            self.reach()
            return result

        setattr(owner, name, reaching)


def launch(cloud: str, last: int) -> int:
    """Launch a machine and return how many points there were."""
    points, registry = Points(last), Registry()
    points.around(StateFile, "_current")
    points.around(http.client.HTTPConnection, "endheaders")
    points.around(http.client.HTTPConnection, "getresponse")

    def prepare(machine: Machine) -> None:
        for state in (MachineState.PREPARING, MachineState.READY):
            registry.update(machine.name, state=state, ready_at=time.time())

    request = GpuRequest(gpu="T4", cloud=cloud)
    Fleet(GpuRemote(ingress="192.0.2.9"), registry).launch(request, "nb", lambda phase, text: None, prepare)
    return points.passed


def main() -> None:
    """Do what standard input says, each launch in a fork of this process."""
    for line in sys.stdin:
        wanted = json.loads(line)
        read, write = os.pipe()
        if not (pid := os.fork()):
            os.close(read)
            os.environ["JUPYTER_GPU_REMOTE_DIR"] = wanted["state"]
            try:
                passed = launch(wanted["cloud"], wanted["point"])
                os.write(write, f"{passed}".encode())
            except BaseException as e:
                os.write(write, f"{type(e).__name__}: {e}".encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as answer:
            said = answer.read()
        os.waitpid(pid, 0)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
