"""Renting one machine, so that nothing is left running whatever fails."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from .config import GpuRemote
from .errors import (
    ConflictError,
    GpuRemoteError,
    MachinePreemptedError,
    ProviderAuthError,
    ProviderError,
    RegistryError,
)
from .ingress import ingress
from .keys import make_key_pair
from .leases import Lease
from .limits import limits_for
from .model import Description, Machine, MachineSpec, MachineState, Offer, Presence
from .names import new_name
from .owner import installation
from .providers.base import Provider
from .refusals import Refusal, all_refused, ended_early, rules_out
from .registry import Registry
from .removal import (
    DELETE_LIMIT,
    NAME_TAG,
    OWNER_TAG,
    Report,
    delete_until_gone,
    end,
    find_id,
    key_folder,
    mark_deleting,
)

Prepare = Callable[[Machine], object]
"""Brings a machine from `CONNECTING` to `READY`."""

SETTLE_LIMIT = 3.0
"""Seconds after which a machine that was being created when we were interrupted is listed, if it exists."""

DESCRIBE_FAILURES = 5
"""Times in a row that a provider may fail to describe a new machine."""


class Rental:
    """One machine, from offers to ready; what fails or is interrupted on the way is undone.

    Args:
        config: The user's settings.
        registry: Told of every step before it is taken.
        report: Called with a phase and a text for the status line; what it raises cancels the launch.
        load: Returns the provider of a name.
        head: The machine that this one is to work beside; empty for none.
    """

    def __init__(
        self,
        config: GpuRemote,
        registry: Registry,
        report: Report,
        load: Callable[[str], Provider],
        head: str = "",
    ) -> None:
        self._config = config
        self._registry = registry
        self._report = report
        self._load = load
        self._head = head
        self._limit = config.launch_timeout
        self._end = time.monotonic() + self._limit
        self._refused: list[Refusal] = []
        # what there is to undo: a provider that was asked, and the id it gave
        self._provider: Provider | None = None
        self._provider_id = ""

    def run(self, offers: Sequence[Offer], prepare: Prepare) -> Machine:
        """Rent the first of `offers` that can be had, and return it prepared.

        One that is refused, or taken back before it is ready, is followed by the next.

        Raises:
            NoCapacityError, QuotaError, ProviderAuthError: None of them can be had.
            ProviderError: It did not come up.
            GpuRemoteError: What `prepare` raises. Each says in `billed` whether anything is.
        """
        name, lease = self._reserve(offers[0])
        with lease:
            try:
                spec = _spec(name, self._config)
                for offer in offers:
                    if any(rules_out(refusal, offer) for refusal in self._refused):
                        continue
                    if self._refused and time.monotonic() > self._end:
                        break
                    if self._try(offer, spec, lease, prepare):
                        return self._registry.get(name)
                raise all_refused(self._refused)
            except BaseException as e:
                self._undo(name, e)
                raise

    def _try(self, offer: Offer, spec: MachineSpec, lease: Lease, prepare: Prepare) -> bool:
        """Return whether a machine could be had and is prepared."""
        limits = limits_for(offer, self._config)
        if offer.region:
            spec = replace(spec, ingress=ingress(self._config), beside=bool(self._head))
        if not self._create(offer, replace(spec, max_seconds=limits.seconds), lease):
            return False
        try:
            seen = self._boot(spec.name)
            machine = self._registry.update(
                spec.name,
                lease=lease,
                state=MachineState.CONNECTING,
                address=seen.address,
                python=seen.python,
                poweroff=seen.poweroff,
                notice=seen.notice,
                ingress=spec.ingress,
                ends_at=limits.end(self._registry.get(spec.name).created_at),
            )
            prepare(machine)
            return True
        except MachinePreemptedError as e:
            if not offer.region:
                raise
            self._registry.note("refused", spec.name, f"{offer.title}: {e.message}")
            assert self._provider is not None
            delete_until_gone(self._provider, self._provider_id, spec.name, self._report)
            self._provider, self._provider_id = None, ""
            self._refused.append((offer, e))
            return False

    def _reserve(self, offer: Offer) -> tuple[str, Lease]:
        attempt = 0
        while True:
            name = new_name(attempt)
            # before the row, or others might take it for one that was left behind
            lease = self._registry.lease(name, 2 * self._limit + DELETE_LIMIT)
            try:
                now = time.time()
                self._registry.add(Machine(name, offer.provider, offer, created_at=now, head=self._head))
                return name, lease
            except ConflictError:
                lease.release()
                attempt += 1
                if attempt > 100:
                    raise
            except BaseException:
                lease.release()
                raise

    def _create(self, offer: Offer, spec: MachineSpec, lease: Lease) -> bool:
        """Ask for a machine; return whether there is one."""
        tried = f", after {len(self._refused)} others" if self._refused else ""
        self._report("creating", f"{offer.title}{tried}")
        # a token stands for one offer: the same one must never mean two different things
        spec = replace(spec, token=uuid.uuid4().hex)
        self._registry.update(
            spec.name,
            lease=lease,
            state=MachineState.CREATING,
            provider=offer.provider,
            provider_id="",
            address=None,
            offer=offer,
            token=spec.token,
            created_at=time.time(),
        )
        self._provider = self._load(offer.provider)
        try:
            self._provider_id = self._provider.create(offer, spec)
        except ProviderError as e:
            if e.rules_out is None:
                raise
            self._provider = None  # it said no, so there is nothing to undo
            self._registry.note("refused", spec.name, f"{offer.title}: {e.cloud_code or e.message}")
            self._refused.append((offer, e))
            return False
        self._registry.update(
            spec.name, lease=lease, state=MachineState.BOOTING, provider_id=self._provider_id
        )
        return True

    def _boot(self, name: str) -> Description:
        assert self._provider is not None
        began, pause, failures = time.monotonic(), 0.02, 0
        while True:
            try:
                seen = self._provider.describe(self._provider_id)
                failures = 0
            except ProviderAuthError:
                raise
            except ProviderError:
                failures += 1
                if failures == DESCRIBE_FAILURES:
                    raise
            else:
                if seen.presence is Presence.RUNNING and seen.address:
                    return seen
                if seen.presence is not Presence.PENDING:
                    raise ended_early(name, self._provider.name, seen.presence)
            waited = time.monotonic() - began
            if time.monotonic() > self._end:
                raise ProviderError(
                    f"{name} was not up {waited:.0f} s after {self._provider.name} began to start it.",
                    hint="Run the cell again, or set c.GpuRemote.launch_timeout higher.",
                )
            self._report("booting", f"waiting for {name} to start, {waited:.0f} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    def _undo(self, name: str, error: BaseException) -> None:
        """Leave nothing behind, and say in `error` what came of that."""
        asked, report = self._provider, _quietly(self._report)
        mark_deleting(self._registry, name)
        try:
            if asked is not None and not self._provider_id:
                self._provider_id = _wait_for_id(asked, name)
            if asked is not None and self._provider_id:
                delete_until_gone(asked, self._provider_id, name, report)
                billed = f"nothing any more, {name} was deleted."
            else:
                billed = "nothing was rented."
            if not self._registry.get(name).offer.price:
                billed = ""  # a computer of the user's own was not deleted, and never was for rent
        except BaseException as second:
            billed = f"{name} may still be billed, it could not be deleted ({str(second) or repr(second)})."
            if isinstance(error, GpuRemoteError):
                error.hint = f"`jupyter gpu-remote reap` deletes it. {error.hint}".strip()
        else:
            why = error.message if isinstance(error, GpuRemoteError) else repr(error)
            state = MachineState.FAILED if isinstance(error, Exception) else MachineState.GONE
            with suppress(RegistryError):  # the row stays `DELETING`, which reaping looks at
                end(self._registry, name, state, why, rented=bool(self._provider_id))
        if isinstance(error, GpuRemoteError):
            error.billed = billed
        report("cancelled", billed)


def _spec(name: str, config: GpuRemote) -> MachineSpec:
    folder = key_folder(name)
    user_key = make_key_pair(folder / "user", f"gpu-remote {name}")
    make_key_pair(folder / "host", f"gpu-remote {name} host")
    tags = {OWNER_TAG: installation(), NAME_TAG: name}
    return MachineSpec(name, "", user_key, folder / "user", folder / "host", tags, disk=config.disk)


def _wait_for_id(provider: Provider, name: str) -> str:
    # a create that was cut short may come to be listed a moment later
    limit = time.monotonic() + SETTLE_LIMIT
    while not (found := find_id(provider, name)) and time.monotonic() < limit:
        time.sleep(0.1)
    return found


def _quietly(report: Report) -> Report:
    """Return `report` for use while undoing, which nothing it raises may stop."""

    def quiet(phase: str, text: str) -> None:
        with suppress(BaseException):
            report(phase, text)

    return quiet
