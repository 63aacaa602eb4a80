"""Several machines for one notebook: the head, where its kernel lives, and workers beside it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from .config import GpuRemote
from .errors import ConfigurationError, ConflictError, GpuRemoteError, NoCapacityError, QuotaError
from .fleet import Fleet
from .machine import LiveMachine
from .model import GpuRequest, Machine, MachineState
from .registry import Registry
from .tables import money

_LOOK = 0.1
_LEAVE = 'for leave in "$HOME"/.gpu-remote/cluster/*/leave; do if [ -x "$leave" ]; then "$leave"; fi; done'
_LEAVING = (MachineState.STOPPING, MachineState.STOPPED, MachineState.DELETING)

Report = Callable[[str, str], None]
"""Called with a phase and a text, for the status line; what it raises cancels what is going on."""


def workers_of(registry: Registry, head: str) -> list[Machine]:
    """Return the machines that work beside `head`, oldest first; those too that are being launched."""
    return [m for m in registry.machines() if head and m.head == head and m.state not in _LEAVING]


def asks_for_others(config: GpuRemote) -> bool:
    """Return whether a cell asks for more than the notebook's machine."""
    return bool(wanted(config) or config.launch or config.engine)


def wanted(config: GpuRemote) -> int:
    """Return how many machines are asked for; 0 for as many as there are."""
    return config.machines or (config.on.count(",") + 1 if "," in config.on else 0)


def grow(
    head: Machine, count: int, config: GpuRemote, registry: Registry, report: Report
) -> tuple[list[Machine], list[GpuRemoteError]]:
    """Launch workers, all at once, until there are `count` machines with the head.

    Interrupted, those that it has begun are deleted again.

    Returns:
        The new ones, and why others could not be had.
    """
    fleet = Fleet(config, registry)
    requests = _requests(head, count - 1 - len(workers_of(registry, head.name)), config, registry)
    phases: dict[int, str] = {}
    stopped = threading.Event()

    def launch(number: int) -> Machine:
        def told(phase: str, text: str) -> None:
            phases[number] = phase
            if stopped.is_set() and phase not in ("cancelled", "deleting"):
                raise KeyboardInterrupt

        prepare = functools.partial(_prepare, fleet, config, registry, told)
        return _launch(fleet, head, requests[number], told, prepare)

    with ThreadPoolExecutor(max(1, len(requests)), "launch") as pool:
        begun = [pool.submit(launch, number) for number in range(len(requests))]
        try:
            while not all(one.done() for one in begun):
                report("machines", f"{len(begun)} more: {_summary(phases)}")
                wait(begun, _LOOK)
        except BaseException:
            stopped.set()
            wait(begun)
            for machine in _results(begun)[0]:
                fleet.delete(machine.name, lambda phase, text: None)
            raise
    return _results(begun)


def _prepare(fleet: Fleet, config: GpuRemote, registry: Registry, told: Report, machine: Machine) -> None:
    live = LiveMachine(machine, config, registry, functools.partial(fleet.check, machine.name))
    try:
        live.open(told)
    finally:
        live.close()


def _launch(
    fleet: Fleet, head: Machine, request: GpuRequest, told: Report, prepare: Callable[[Machine], None]
) -> Machine:
    try:
        return fleet.launch(request, "", told, prepare, head.name)
    except (NoCapacityError, QuotaError):
        if not request.zone:
            raise
        # one network spans the region
        return fleet.launch(replace(request, zone=""), "", told, prepare, head.name)


def _results(begun: list[Future[Machine]]) -> tuple[list[Machine], list[GpuRemoteError]]:
    machines, errors = [], []
    for one in begun:
        error = one.exception()
        if error is None:
            machines.append(one.result())
        elif isinstance(error, GpuRemoteError):
            errors.append(error)
        elif not isinstance(error, KeyboardInterrupt):
            raise error
    return machines, errors


def _summary(phases: dict[int, str]) -> str:
    names = list(phases.values())
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


def _requests(head: Machine, missing: int, config: GpuRemote, registry: Registry) -> list[GpuRequest]:
    """Return what is asked for the workers: machines like the head, beside it."""
    offer = head.offer
    alike = GpuRequest(
        gpu=offer.gpu or offer.stand_in_for,
        count=max(1, offer.count),
        cloud=offer.provider,
        region=offer.region,
        zone=offer.zone,
        spot=offer.spot if offer.region else None,
        max_price=config.max_price,
        on="" if offer.gpu or not offer.region else offer.machine_type,
        disk=config.disk,
    )
    if head.provider != "ssh":
        return [alike] * max(0, missing)
    named = [name.strip() for name in config.on.split(",")] if "," in config.on else list(config.ssh_hosts)
    used = {m.offer.machine_type for m in registry.machines() if m.provider == "ssh"}
    free = [name for name in dict.fromkeys(named) if name not in used]
    if len(free) < missing:
        raise ConfigurationError(
            f"{missing} more machines are asked for, and {len(free)} are named that are not in use.",
            hint="Name them: --on user@one,user@two, or set c.GpuRemote.ssh_hosts.",
        )
    return [replace(alike, on=name) for name in free[:missing]]


def shrink(head: Machine, count: int, config: GpuRemote, registry: Registry, report: Report) -> list[Machine]:
    """Delete the newest workers until there are `count` machines with the head; return those deleted.

    Raises:
        ConflictError: One that is to go computes; nothing was deleted.
    """
    fleet, extra = Fleet(config, registry), workers_of(registry, head.name)[max(0, count - 1) :]
    for machine in extra:
        report("asking", f"whether {machine.name} computes")
        if busy := _let_go(fleet, machine, config, registry):
            raise ConflictError(
                f"{machine.name} is at work on {busy} tasks; no machine was deleted.",
                billed="All machines still run.",
                hint=f"Wait until they are done. Or end them, and have them run elsewhere: "
                f"%remote down {machine.name}",
            )
    for machine in extra:
        report("deleting", machine.name)
        fleet.delete(machine.name, report)
    return extra


def _let_go(fleet: Fleet, machine: Machine, config: GpuRemote, registry: Registry) -> int:
    """Have what a machine holds of a cluster go to others; return how many tasks it is at work on."""
    live = LiveMachine(machine, config, registry, functools.partial(fleet.check, machine.name))
    try:
        live.open(lambda phase, text: None)
        said = live.transport.run(["sh", "-c", _LEAVE]).stdout.split()
        return sum(int(word) for word in said if word.isdigit())
    except GpuRemoteError:
        return 0  # what does not answer does not compute for anybody
    finally:
        live.close()


def resize(head: Machine, count: int, config: GpuRemote, registry: Registry, report: Report) -> str:
    """Launch or delete workers until there are `count` machines with the head; say what there is then.

    Raises:
        ConflictError: One that is to go computes; nothing was deleted.
        GpuRemoteError: Not even one more could be had.
    """
    gone = shrink(head, count, config, registry, report)
    new, errors = grow(head, count, config, registry, report)
    if errors and not new and count > 1:
        errors[0].billed = f"{head.name} still runs. {errors[0].billed}".strip()
        raise errors[0]
    text = summary(head, registry)
    if gone:
        text += f"\nDeleted: {', '.join(machine.name for machine in gone)}"
    for why in dict.fromkeys(e.message for e in errors):
        text += f"\n{count - 1 - len(workers_of(registry, head.name))} could not be had: {why}"
    return text


def summary(head: Machine, registry: Registry) -> str:
    """Say which machines there are, and what they cost."""
    workers = workers_of(registry, head.name)
    price = sum(m.offer.price for m in (head, *workers))
    costs = f"{money(price)}/h in all" if price else "free"
    beside = f", with {', '.join(m.name for m in workers)} beside it" if workers else ""
    return f"{1 + len(workers)} machines · {head.name}{beside} · {costs}"
