"""All machines: find one, launch one, delete one, and clean up after processes that died."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from . import standby
from .config import GpuRemote
from .errors import (
    ConfigurationError,
    ConflictError,
    GpuRemoteError,
    MachineNotFoundError,
    NoCapacityError,
    ProviderError,
    QuotaError,
)
from .ingress import ingress
from .limits import check_budget
from .market import ask, nothing_found
from .model import GpuRequest, Machine, MachineState, Offer, Presence
from .offers import rank
from .providers.base import Provider, load_provider, provider_names
from .reaping import Reaping, launching, silent
from .refusals import ended_early
from .registry import Registry
from .removal import Report, delete_until_gone, end, find_id, mark_deleting
from .rental import Prepare, Rental

_S = MachineState
_LEAVING = (_S.STOPPING, _S.STOPPED, _S.DELETING)


class Fleet:
    """The machines of this user, over all clouds.

    Args:
        config: The user's settings.
        registry: What is known of them here.
    """

    def __init__(self, config: GpuRemote, registry: Registry) -> None:
        self._config = config
        self._registry = registry

    def find(self, request: GpuRequest, notebook: str) -> Machine | None:
        """Return the machine to use, or None when one is to be launched.

        That is the one `request` names, or else the one `notebook` is bound to, if it fits.

        Raises:
            MachineNotFoundError: There is no machine of that name; or the notebook's rented one has ended,
                and nothing says what to rent instead.
            ConfigurationError: It is not what the other options ask for.
            ConflictError: It is still being launched, or on its way out.
        """
        if request.on:
            return self._named(request)
        name = self._registry.binding(notebook)
        machine = self._registry.get(name) if name else None
        if machine is not None and machine.state.final and machine.offer.price and not request.costs_money:
            # this computer in its place would be a surprise, and so would another bill
            raise ended(machine)
        if machine is not None and machine.state in (_S.STOPPING, _S.STOPPED) and _fits(machine, request):
            raise ConflictError(
                f"{machine.name}, the machine of this notebook, is {machine.state.value}.",
                hint=f"`%remote start {machine.name}` brings it back; after `%remote down {machine.name}`"
                " another one is used.",
            )
        if machine is None or machine.state.final or machine.state in _LEAVING or not _fits(machine, request):
            return None
        return machine

    def _named(self, request: GpuRequest) -> Machine | None:
        for machine in self._registry.machines():
            if machine.name == request.on or (
                machine.provider_id == request.on and request.cloud in ("", machine.provider)
            ):
                break
        else:
            if request.cloud:
                return None  # the name of something that its provider can reach, perhaps
            try:
                machine = self._registry.get(request.on)
            except MachineNotFoundError as e:
                e.hint += " For an SSH destination add --cloud ssh."
                raise
            raise MachineNotFoundError(f"{request.on} has ended: {machine.note or machine.state.value}.")
        if machine.state in _LEAVING or launching(machine):
            raise ConflictError(
                f"{machine.name} is {machine.state.value} and cannot be used now.",
                hint="Wait until it is ready, or leave out --on.",
            )
        if not _fits(machine, request):
            raise ConfigurationError(
                f"{machine.name} is not what the options ask for: it is {machine.offer.title}.",
                hint=f"Keep --on {machine.name} alone, or leave it out.",
            )
        return machine

    def offers(self, request: GpuRequest) -> list[Offer]:
        """Return what can be had for `request` now, cheapest first; errors as in `look`."""
        return self.look(request)[0]

    def look(self, request: GpuRequest) -> tuple[list[Offer], dict[str, GpuRemoteError]]:
        """Return what can be had for `request` now, cheapest first, and why clouds have nothing to say.

        Without a cloud and a GPU that is this computer. A cloud that fails does not hide the others.

        Raises:
            ConfigurationError: No cloud lets us in; the message lists what was looked at.
            NoCapacityError: Nothing fits.
            ProviderError: The one cloud asked for failed.
        """
        names = [request.cloud] if request.cloud else provider_names() if request.gpu else ["local"]
        answers = ask(names, self._provider, request)
        failed = {name: a for name, a in answers.items() if isinstance(a, GpuRemoteError)}
        if request.cloud and failed:
            raise failed[request.cloud]
        found = [o for answer in answers.values() if not isinstance(answer, GpuRemoteError) for o in answer]
        ranked = [
            o
            for o in rank(found, request)
            # a stand-in is for those who ask for it, and money is only spent on what was asked for
            if (not o.stand_in_for or request.cloud)
            and (not o.price or request.costs_money)
            and (not request.on or o.machine_type == request.on)
        ]
        if not ranked:
            raise nothing_found(request, answers)
        return ranked, failed

    def plan(self, request: GpuRequest) -> list[Offer]:
        """Return what a launch tries, in that order: spot machines, where nothing else was asked for.

        Raises:
            NoCapacityError: There is none; the message says what one on demand costs.
            GpuRemoteError: As `offers`.
        """
        if request.spot is not None or self._config.spot_or_on_demand:
            return self.offers(request)
        try:
            return self.offers(replace(request, spot=True))  # what is on demand need not be waited for
        except (NoCapacityError, QuotaError, ConfigurationError) as e:
            try:
                other = self.offers(replace(request, spot=False))[0]
            except GpuRemoteError:
                raise e from None
            raise NoCapacityError(
                f"No spot machine with {request.gpu or 'what was asked for'} is offered now.",
                hint=f"One on demand can be had: {other.title}. Take it with --on-demand, or take either with"
                " --spot-or-on-demand.",
            ) from e

    def launch(
        self, request: GpuRequest, notebook: str, report: Report, prepare: Prepare, head: str = ""
    ) -> Machine:
        """Rent the cheapest machine that fits, bring it to ready, and bind `notebook` to it.

        A failure or an interrupt at any point deletes what there is; the error says whether anything is
        still billed.

        Args:
            request: What is wanted.
            notebook: Path of the notebook; empty for none.
            report: Called with a phase and a text for the status line; what it raises cancels the launch.
            prepare: Called with the machine in `CONNECTING`; brings it to `READY`.
            head: The machine that it is to work beside; empty for none.

        Raises:
            NoCapacityError, QuotaError, ProviderAuthError: Nothing could be had.
            BudgetError: A limit of the user's forbids it.
            GpuRemoteError: Something failed on the way.
        """
        report("offers", "looking for offers")
        offers = self.plan(request)
        check_budget(offers[0], self._config, self._registry)
        rental = Rental(self._config, self._registry, report, self._provider, head)
        machine = rental.run(offers, prepare)
        if notebook:
            self._registry.bind(notebook, machine.name)
        return machine

    def delete(self, name: str, report: Report) -> None:
        """Delete a machine, whatever it is doing, and wait until it is gone; no notebook uses it any more.

        Raises:
            MachineNotFoundError: There is no machine of that name.
            ProviderError: It could not be deleted in time; the message says that it may still be billed.
        """
        machine = self._registry.get(name)
        if machine.state.final:
            return
        mark_deleting(self._registry, name)
        self._registry.unbind_all(name)
        provider = self._provider(machine.provider)
        if provider_id := machine.provider_id or find_id(provider, name):
            delete_until_gone(provider, provider_id, name, report)
        end(self._registry, name, _S.GONE, "deleted", rented=bool(provider_id))

    def stop(self, name: str, report: Report) -> None:
        """Switch a machine off, keeping its disk; errors as `standby.stop`."""
        provider = self._provider(self._registry.get(name).provider)
        standby.stop(self._registry, provider, name, report)

    def start(self, name: str, report: Report, prepare: Prepare) -> None:
        """Switch a stopped machine on and bring it to ready; errors as `standby.start`."""
        provider = self._provider(self._registry.get(name).provider)
        standby.start(self._registry, provider, self._config, name, report, prepare)

    def check(self, name: str) -> None:
        """Make sure that a machine which does not answer still exists, and lets this computer in.

        Raises:
            MachinePreemptedError: It ended while it was being launched.
            MachineNotFoundError: It has ended; the registry knows now.
            ProviderError: Its provider does not answer either.
        """
        machine = self._registry.get(name)
        if launching(machine):
            presence = self._provider(machine.provider).describe(machine.provider_id).presence
            if presence not in (Presence.PENDING, Presence.RUNNING):
                raise ended_early(name, machine.provider, presence)
            return
        if not machine.state.final and machine.state is not _S.DELETING:
            self._reaping().end_if_gone(machine)
            machine = self._registry.get(name)
        if machine.state.final or machine.state is _S.DELETING:
            raise ended(machine)
        self._admit(machine)

    def _admit(self, machine: Machine) -> None:
        """Let this computer in under the address that it has now."""
        if machine.ingress and (now := ingress(self._config, fresh=True)) != machine.ingress:
            self._provider(machine.provider).admit(machine.provider_id, now)
            self._registry.update(machine.name, ingress=now)

    def preempted(self, name: str, note: str) -> None:
        """Write down that a machine is taken back, and have what is left of it deleted.

        Args:
            name: The machine.
            note: What became of what was on it.
        """
        machine = self._registry.get(name)
        if machine.state.final:
            return
        with suppress(ProviderError):  # it goes by itself, too
            self._provider(machine.provider).delete(machine.provider_id)
        end(self._registry, name, _S.PREEMPTED, note)

    def reap(self) -> list[str]:
        """Bring the registry and the clouds together, and say in sentences what was done; see `Reaping`."""
        return self._reaping().run()

    def _reaping(self) -> Reaping:
        names = provider_names()
        return Reaping(self._registry, names, self._provider, lambda name: self.delete(name, silent))

    def _provider(self, name: str) -> Provider:
        return load_provider(name, self._config)


def ended(machine: Machine) -> MachineNotFoundError:
    """Return the error that tells a user of `machine` that it has ended."""
    return MachineNotFoundError(
        f"The machine {machine.name} ({machine.offer.title}) has ended:"
        f" {machine.note or machine.state.value}.",
        billed="It costs nothing any more.",
        hint="Run the cell again; with --gpu or --cloud it launches another machine.",
    )


def _fits(machine: Machine, request: GpuRequest) -> bool:
    if request.cloud not in ("", machine.provider):
        return False
    # more GPUs than asked for are no reason to pay for a second machine
    count = max(request.count, machine.offer.count)
    return bool(rank([machine.offer], replace(request, count=count)))
