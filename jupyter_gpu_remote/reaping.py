"""Bringing the registry and the clouds together, after processes and machines that died."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from .errors import ConfigurationError, ConflictError, GpuRemoteError, ProviderAuthError
from .model import Description, Machine, MachineState, Presence
from .owner import installation
from .providers.base import Provider
from .registry import Registry
from .removal import DELETE_LIMIT, OWNER_TAG, delete_until_gone, end, mark_deleting

_S = MachineState
_KEPT = 300.0
"""Seconds that machines wait for another head when theirs was lost."""


class Reaping:
    """One look at everything that exists, here and there.

    A launch whose process died is undone, a start is taken back. A machine that is gone ends here too; one
    that carries our tags and that nobody here knows is deleted. One that was ready is left alone: it ends
    itself when nobody uses it.

    Args:
        registry: What is known here.
        names: The providers.
        load: Returns the provider of a name.
        delete: Deletes a machine of the registry.
    """

    def __init__(
        self,
        registry: Registry,
        names: Sequence[str],
        load: Callable[[str], Provider],
        delete: Callable[[str], None],
    ) -> None:
        self._registry = registry
        self._names = names
        self._load = load
        self._delete = delete

    def run(self) -> list[str]:
        """Look, put right what is wrong, and say in sentences what was done."""
        # what is listed was in the registry before, so the registry must be read later
        listed = {name: self._listed(name) for name in self._names}
        said = [problem for problem in listed.values() if isinstance(problem, str)]
        known = {machine.name: machine for machine in self._registry.machines()}
        for machine in known.values():
            said += self._tidy(machine)
        for provider, descriptions in listed.items():
            for description in descriptions if not isinstance(descriptions, str) else ():
                if description.name not in known:
                    said.append(self._delete_unknown(provider, description))
            if any(map(launching, self._registry.machines())):
                continue  # it is about to use what no machine uses yet
            with suppress(GpuRemoteError):  # it costs nothing, and is tried again
                self._load(provider).tidy()
        for sentence in said:
            self._registry.note("reaped", sentence.partition(":")[0], sentence)
        return said

    def _listed(self, name: str) -> list[Description] | str:
        ours = installation()
        try:
            return [d for d in self._load(name).machines() if d.tags.get(OWNER_TAG) == ours]
        except (ProviderAuthError, ConfigurationError):
            return []  # a cloud that is not used
        except GpuRemoteError as e:
            return f"{name} did not list its machines: {e}"

    def _tidy(self, machine: Machine) -> list[str]:
        try:
            if unfinished(machine):
                return self._end_if_left(machine.name)
            if machine.state in (_S.STOPPING, _S.BOOTING):
                return self._stop_if_left(machine.name)
            if machine.head and _is_over(self._registry.get(machine.head)):
                return self._end_without_head(machine)
            return self.end_if_gone(machine)
        except GpuRemoteError as e:
            return [f"{machine.name}: {e}"]

    def _end_without_head(self, machine: Machine) -> list[str]:
        self._delete(machine.name)
        return [f"{machine.name}: deleted, {machine.head}, which it worked beside, has ended."]

    def _end_if_left(self, name: str) -> list[str]:
        try:
            lease = self._registry.lease(name, 2 * DELETE_LIMIT)
        except ConflictError:
            return []  # its launch goes on
        with lease:
            machine = self._registry.get(name)
            if not unfinished(machine):
                return []
            self._delete(name)
        return [f"{name}: deleted, nobody was at work on it any more ({machine.state.value})."]

    def _stop_if_left(self, name: str) -> list[str]:
        """Bring a stop to its end, and take a start back, whose process died: the disk is worth keeping."""
        try:
            lease = self._registry.lease(name, 2 * DELETE_LIMIT)
        except ConflictError:
            return []
        with lease:
            machine = self._registry.get(name)
            if machine.state not in (_S.STOPPING, _S.BOOTING):
                return []
            provider = self._load(machine.provider)
            presence = provider.describe(machine.provider_id).presence
            if presence in (Presence.RUNNING, Presence.PENDING):
                provider.stop(machine.provider_id)
            elif presence is not Presence.STOPPED:
                return self.end_if_gone(machine)
            self._registry.update(name, state=_S.STOPPED, address=None)
        return [f"{name}: stopped, nobody was at work on it any more ({machine.state.value})."]

    def end_if_gone(self, machine: Machine) -> list[str]:
        """Write a machine off that its provider says has ended, and say so."""
        provider = self._load(machine.provider)
        seen = provider.describe(machine.provider_id)
        presence = seen.presence
        if presence is Presence.STOPPED and machine.state not in (_S.STOPPING, _S.STOPPED):
            # it has switched itself off, as it should; what is left is a disk that is billed
            self._delete(machine.name)
            return [f"{machine.name}: deleted, it had switched itself off."]
        if presence not in (Presence.GONE, Presence.PREEMPTED):
            return []
        provider.delete(machine.provider_id)  # what may be left of it: a disk, a folder
        if presence is Presence.GONE:
            mark_deleting(self._registry, machine.name)
        end(self._registry, machine.name, _S(presence.value), f"found {presence.value}", at=seen.ended_at)
        return [f"{machine.name}: {machine.provider} says that it is {presence.value}."]

    def _delete_unknown(self, provider: str, found: Description) -> str:
        try:
            delete_until_gone(self._load(provider), found.provider_id, found.name, silent)
        except GpuRemoteError as e:
            return f"{found.name}: {e}"
        return f"{found.name}: deleted, {provider} had it and nobody here knew it."


def silent(phase: str, text: str) -> None:
    """Report nothing."""


def _is_over(head: Machine) -> bool:
    """Return whether a machine has ended, and nobody will want those that worked beside it."""
    return head.state.final and (head.note == "deleted" or time.time() > head.ended_at + _KEPT)


def launching(machine: Machine) -> bool:
    """Return whether a machine is on its way to be ready for the first time."""
    early = (_S.REQUESTED, _S.CREATING, _S.BOOTING, _S.CONNECTING, _S.PREPARING)
    return machine.state in early and not machine.ready_at


def unfinished(machine: Machine) -> bool:
    """Return whether a machine is on its way in or out, so that somebody should be at work on it."""
    return launching(machine) or machine.state is _S.DELETING
