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
    NoCapacityError,
    ProviderAuthError,
    ProviderError,
    RegistryError,
    RulesOut,
)
from .keys import make_key_pair
from .model import Description, Machine, MachineSpec, MachineState, Offer, Presence
from .names import new_name
from .owner import installation
from .providers.base import Provider
from .registry import Lease, Registry
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
    """

    def __init__(
        self, config: GpuRemote, registry: Registry, report: Report, load: Callable[[str], Provider]
    ) -> None:
        self._registry = registry
        self._report = report
        self._load = load
        self._limit = config.launch_timeout
        self._end = time.monotonic() + self._limit
        # what there is to undo: a provider that was asked, and the id it gave
        self._provider: Provider | None = None
        self._provider_id = ""

    def run(self, offers: Sequence[Offer], prepare: Prepare) -> Machine:
        """Rent the first of `offers` that can be had, and return it prepared.

        Raises:
            NoCapacityError, QuotaError, ProviderAuthError: None of them can be had.
            ProviderError: It did not come up.
            GpuRemoteError: What `prepare` raises. Each says in `billed` whether anything is.
        """
        name, lease = self._reserve(offers[0])
        with lease:
            try:
                spec = _spec(name)
                self._create(offers, spec, lease)
                seen = self._boot(name)
                machine = self._registry.update(
                    name,
                    lease=lease,
                    state=MachineState.CONNECTING,
                    address=seen.address,
                    python=seen.python,
                    poweroff=seen.poweroff,
                )
                prepare(machine)
                return self._registry.get(name)
            except BaseException as e:
                self._undo(name, e)
                raise

    def _reserve(self, offer: Offer) -> tuple[str, Lease]:
        attempt = 0
        while True:
            name = new_name(attempt)
            # before the row, or others might take it for one that was left behind
            lease = self._registry.lease(name, 2 * self._limit + DELETE_LIMIT)
            try:
                self._registry.add(Machine(name, offer.provider, offer, created_at=time.time()))
                return name, lease
            except ConflictError:
                lease.release()
                attempt += 1
                if attempt > 100:
                    raise
            except BaseException:
                lease.release()
                raise

    def _create(self, offers: Sequence[Offer], spec: MachineSpec, lease: Lease) -> None:
        refused: list[tuple[Offer, ProviderError]] = []
        for offer in offers:
            if any(_rules_out(e, o, offer) for o, e in refused):
                continue
            if refused and time.monotonic() > self._end:
                break
            self._report("creating", offer.title)
            # a token stands for one offer: the same one must never mean two different things
            spec = replace(spec, token=uuid.uuid4().hex)
            began = time.time()
            self._registry.update(
                spec.name,
                lease=lease,
                state=MachineState.CREATING,
                provider=offer.provider,
                offer=offer,
                token=spec.token,
                created_at=began,
            )
            self._provider = self._load(offer.provider)
            try:
                self._provider_id = self._provider.create(offer, spec)
            except ProviderError as e:
                if e.rules_out is None:
                    raise
                self._provider = None  # it said no, so there is nothing to undo
                self._registry.note("refused", spec.name, f"{offer.title}: {e.message}")
                refused.append((offer, e))
                continue
            self._registry.update(
                spec.name, lease=lease, state=MachineState.BOOTING, provider_id=self._provider_id
            )
            return
        raise _all_refused(refused)

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
                if seen.presence is Presence.PREEMPTED:
                    raise MachinePreemptedError(
                        f"{name} was taken back by {self._provider.name} while it started.",
                        hint="Run the cell again, or use --on-demand.",
                    )
                if seen.presence in (Presence.GONE, Presence.STOPPED):
                    raise ProviderError(
                        f"{name} ended while it started.", hint="Run the cell again, or try another --zone."
                    )
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


def _spec(name: str) -> MachineSpec:
    folder = key_folder(name)
    user_key = make_key_pair(folder / "user", f"gpu-remote {name}")
    make_key_pair(folder / "host", f"gpu-remote {name} host")
    tags = {OWNER_TAG: installation(), NAME_TAG: name}
    return MachineSpec(name, "", user_key, folder / "user", folder / "host", tags)


def _rules_out(error: ProviderError, failed: Offer, other: Offer) -> bool:
    if failed.provider != other.provider:
        return False
    same_region, same_gpu = failed.region == other.region, failed.gpu == other.gpu
    return {
        RulesOut.OFFER: failed == other,
        RulesOut.MARKET: same_region and same_gpu and failed.spot == other.spot,
        RulesOut.REGION: same_region,
        RulesOut.GPU: same_gpu,
        RulesOut.CLOUD: True,
    }[error.rules_out or RulesOut.OFFER]


def _all_refused(refused: Sequence[tuple[Offer, ProviderError]]) -> ProviderError:
    if len(refused) == 1:
        return refused[0][1]
    kinds = {type(e) for _, e in refused}
    kind = kinds.pop() if len(kinds) == 1 else NoCapacityError
    shown = [f"\n  {offer.title}: {e.message}" for offer, e in refused[:5]]
    more = f"\n  and {len(refused) - 5} more" if len(refused) > 5 else ""
    return kind(
        f"None of {len(refused)} offers could be had:{''.join(shown)}{more}",
        hint=refused[0][1].hint or "Try again later, another --gpu or --region, or a higher --max-price.",
    )


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
