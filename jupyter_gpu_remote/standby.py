"""Machines that are switched off and on again: their disk stays, and is paid for."""

from __future__ import annotations

import time

from .config import GpuRemote
from .errors import ConflictError, ProviderError
from .ingress import ingress
from .leases import Lease
from .limits import check_budget, limits_for
from .model import Description, MachineState, Presence
from .providers.base import Provider
from .registry import Registry
from .removal import Report, disconnect
from .rental import Prepare

_S = MachineState
LIMIT = 300.0
"""Seconds that switching off or on may take; GPU machines take minutes."""


def stop(registry: Registry, provider: Provider, name: str, report: Report) -> None:
    """Switch a machine off and wait until it is.

    Raises:
        ConfigurationError: Its cloud can't, or not this one.
        ConflictError: It is not running, or another process works on it.
        ProviderError: It did not stop in time.
    """
    with registry.lease(name, 2 * LIMIT) as lease:
        machine = registry.get(name)
        if machine.state not in (_S.READY, _S.BUSY, _S.STOPPING):
            raise ConflictError(f"{name} is {machine.state.value} and can't be stopped now.")
        provider.stop(machine.provider_id)
        registry.update(name, lease=lease, state=_S.STOPPING)
        if machine.address:
            disconnect(machine.address)
        _wait(provider, machine.provider_id, Presence.STOPPED, f"waiting for {name} to stop", report)
        registry.update(name, lease=lease, state=_S.STOPPED, address=None)


def start(
    registry: Registry, provider: Provider, config: GpuRemote, name: str, report: Report, prepare: Prepare
) -> None:
    """Switch a stopped machine on and bring it to ready; what fails on the way switches it off again.

    Raises:
        ConflictError: It is not stopped, or another process works on it.
        NoCapacityError, QuotaError: It can't be had now.
        BudgetError: A limit of the user's forbids it.
        ProviderError: It did not start in time.
    """
    with registry.lease(name, 2 * LIMIT + config.launch_timeout) as lease:
        machine = registry.get(name)
        if machine.state is not _S.STOPPED:
            raise ConflictError(f"{name} is {machine.state.value}, not stopped.")
        check_budget(machine.offer, config, registry)
        limits = limits_for(machine.offer, config)
        report("starting", name)
        began = time.time()
        registry.update(name, lease=lease, state=_S.BOOTING)
        try:
            if machine.ingress and (now := ingress(config)) != machine.ingress:
                provider.admit(machine.provider_id, now)
                registry.update(name, lease=lease, ingress=now)
            provider.start(machine.provider_id)
            seen = _wait(provider, machine.provider_id, Presence.RUNNING, f"waiting for {name}", report)
            # its agent is to be started again, on a machine that has another address
            prepare(
                registry.update(
                    name,
                    lease=lease,
                    state=_S.CONNECTING,
                    address=seen.address,
                    agent_socket="",
                    ends_at=limits.end(began),
                )
            )
        except BaseException:
            _switch_off(registry, provider, name, lease)
            raise


def _switch_off(registry: Registry, provider: Provider, name: str, lease: Lease) -> None:
    machine = registry.get(name)
    if machine.state is _S.BOOTING or machine.state is _S.CONNECTING or machine.state is _S.PREPARING:
        provider.stop(machine.provider_id)
        registry.update(name, lease=lease, state=_S.STOPPED, address=None)


def _wait(provider: Provider, provider_id: str, presence: Presence, what: str, report: Report) -> Description:
    began, pause = time.monotonic(), 0.05
    while True:
        seen = provider.describe(provider_id)
        if seen.presence is presence and (seen.address or presence is Presence.STOPPED):
            return seen
        waited = time.monotonic() - began
        if waited > LIMIT or seen.presence in (Presence.GONE, Presence.PREEMPTED):
            raise ProviderError(
                f"{provider.name} says that the machine is {seen.presence.value}, {waited:.0f} s after"
                f" it was to be {presence.value}.",
                billed="It may still run and be billed.",
                hint="`list` shows it; `down` deletes it.",
            )
        report("waiting", f"{what}, {waited:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)
