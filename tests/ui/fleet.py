"""Machines that stand in the registry as if they had been rented, for what a panel shows of many."""

from __future__ import annotations

import time
from pathlib import Path

from jupyter_gpu_remote.jobtable import JobState
from jupyter_gpu_remote.model import Address, Machine, MachineState, Offer
from jupyter_gpu_remote.registry import Registry

_S = MachineState
_WAY = (_S.REQUESTED, _S.CREATING, _S.BOOTING, _S.CONNECTING, _S.PREPARING, _S.READY)
A100 = Offer(
    "aws",
    "p4de.24xlarge",
    "A100",
    8,
    80,
    96,
    1152,
    "us-east-1",
    "us-east-1a",
    True,
    12.29,
    stopped_price=0.11,
)
L4 = Offer("gcp", "g2-standard-8", "L4", 1, 24, 8, 32, "europe-west4", "europe-west4-b", True, 0.31)
T4 = Offer("aws", "g4dn.xlarge", "T4", 1, 16, 4, 16, "us-east-2", "us-east-2c", True, 0.18)


def put_jobs(state: Path, machine: str) -> None:
    """Write a job down in each state that it can end in."""
    registry = Registry(state / "registry.sqlite")
    for end in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
        job = registry.jobs.add("", machine, "kernel", "python train.py --with a-rather-long-title", "/")
        registry.jobs.end(job.id, end, "ValueError" if end is JobState.FAILED else "")
    registry.close()


def put(state: Path, name: str, offer: Offer, last: MachineState, note: str = "") -> None:
    """Write a machine down and lead it to a state, as its launch would."""
    registry = Registry(state / "registry.sqlite")
    address = Address("192.0.2.1", user="ubuntu", key_file=state / "key", host_key="ssh-ed25519 AAAA")
    made = time.time() - 2500
    registry.add(
        Machine(
            name,
            offer.provider,
            offer,
            provider_id=f"{offer.region}/i-0123456789abcdef0",
            address=address,
            created_at=made,
        )
    )
    for step in _WAY[1:]:
        if registry.get(name).state is last:
            break
        ready = {"ready_at": time.time() - 2400} if step is _S.READY else {}
        registry.update(name, state=step, **ready)
    if registry.get(name).state is not last:
        registry.update(name, state=last, note=note)
    registry.close()
