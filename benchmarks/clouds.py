"""A launch on an emulated cloud: what is asked of it before a machine is, and how soon that is."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks.measure import Figures
from benchmarks.rig import Site, Skip

_LAUNCH = """
import sys, time
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import GpuRemoteError
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.model import GpuRequest
from jupyter_gpu_remote.registry import Registry

fleet = Fleet(GpuRemote(ingress="192.0.2.9"), Registry())
print(time.time(), flush=True)
machine = fleet.launch(GpuRequest(gpu="T4"), "", lambda phase, text: None, lambda machine: None)
fleet.delete(machine.name, lambda phase, text: None)
"""


def launches(site: Site, quick: bool) -> Figures:
    """Time launches in fresh processes, each of which knows what earlier ones have learnt."""
    try:
        from tests.emulators.ec2 import Ec2
    except ImportError as e:
        raise Skip(f"the emulator of EC2 needs {e.name}") from None
    ec2 = Ec2()
    started: list[float] = []
    run = ec2.hosts.boot

    def boot(what: object) -> str:
        started.append(time.time())
        return run(what)  # type: ignore[arg-type]

    ec2.hosts.boot = boot  # type: ignore[method-assign, assignment]
    env = {**os.environ, **ec2.environment, "JUPYTER_GPU_REMOTE_DIR": str(site.work / "clouds")}
    taken, asked = [], []
    try:
        for i in range(1 + (2 if quick else 7)):
            ec2.forget_calls()
            command = [sys.executable, "-c", _LAUNCH]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            calls = [call.action for call in ec2.calls()]
            if i:  # the first finds out what the others know
                asked.append(calls.index("RunInstances"))
                taken.append(started[-1] - float(done.stdout))
    finally:
        ec2.close()
    return {
        "launch_calls_before_first_create": max(asked),
        "launch_to_first_create_s": statistics.median(taken),
    }
