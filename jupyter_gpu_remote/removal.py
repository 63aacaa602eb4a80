"""Giving machines back: deleted until nothing is there, and only then written off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .config import state_dir
from .errors import ConflictError, MachineNotFoundError, ProviderAuthError, ProviderError, RegistryError
from .keys import key_folder as key_folder
from .model import Address, MachineState, Presence
from .owner import installation
from .providers.base import Provider
from .registry import Registry
from .transport import open_transport

Report = Callable[[str, str], None]
"""Called with a phase and a text for the status line. What it raises cancels the work."""

OWNER_TAG = "gpu-remote-owner"
NAME_TAG = "gpu-remote-name"

DELETE_LIMIT = 180.0
"""Seconds to go on deleting a machine until its provider says that it is gone."""


def mark_deleting(registry: Registry, name: str) -> None:
    """Write down that a machine is being deleted, if that can be; the deletion must not depend on it."""
    with suppress(RegistryError):
        registry.update(name, state=MachineState.DELETING)


def delete_until_gone(provider: Provider, provider_id: str, name: str, report: Report) -> None:
    """Delete a machine, again and again, until its provider says that it is gone.

    Raises:
        ProviderError: It was still there after `DELETE_LIMIT`, or the provider does not let us in.
    """
    began, pause, last = time.monotonic(), 0.02, ""
    while True:
        try:
            provider.delete(provider_id)
            if provider.describe(provider_id).presence in (Presence.GONE, Presence.PREEMPTED):
                return
        except MachineNotFoundError:
            return
        except ProviderAuthError as e:
            e.billed = e.billed or f"{name} ({provider_id}) may still be billed."
            raise
        except ProviderError as e:
            last = f": {e.message}"
        waited = time.monotonic() - began
        if waited > DELETE_LIMIT:
            raise ProviderError(
                f"{name} was still there {waited:.0f} s after it was deleted{last}.",
                billed=f"{name} may still be billed by {provider.name}, as {provider_id}.",
                hint=f"Try again: jupyter gpu-remote down {name}. Or look for it in the console of"
                f" {provider.name}.",
            )
        report("deleting", f"waiting for {name} to go, {waited:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)


def find_id(provider: Provider, name: str) -> str:
    """Return the id of our machine called `name`, or nothing when the provider lists none."""
    ours = installation()
    ids = (d.provider_id for d in provider.machines() if d.name == name and d.tags.get(OWNER_TAG) == ours)
    return next(ids, "")


def end(
    registry: Registry, name: str, state: MachineState, note: str, *, rented: bool = True, at: float = 0.0
) -> None:
    """Write down that nothing of a machine exists any more; remove its connection, keys and sync records.

    Args:
        registry: Where to.
        name: The machine.
        state: What has become of it.
        note: How.
        rented: Whether it ever was; what never was cost nothing.
        at: When it ended; 0 for now.
    """
    machine = registry.get(name)
    try:
        registry.update(name, state=state, note=note, ended_at=at if rented else machine.created_at)
    except ConflictError:
        if not registry.get(name).state.final:
            raise
    if machine.address:
        disconnect(machine.address)
    shutil.rmtree(key_folder(name), ignore_errors=True)
    shutil.rmtree(sync_folder(name), ignore_errors=True)
    shutil.rmtree(blob_folder(name), ignore_errors=True)


def disconnect(address: Address) -> None:
    """Close the shared connection to a machine that is going."""
    # the first connection was made before the host key was pinned, and goes by another name
    for known_as in {address, replace(address, host_key="")}:
        with suppress(Exception):  # the machine is gone, whatever stays behind of the way there
            open_transport(known_as).disconnect()


def sync_folder(name: str) -> Path:
    """Return where the syncs with a machine keep what they know, while it exists."""
    return state_dir() / "sync" / name


def blob_folder(name: str) -> Path:
    """Return where data is kept that variables brought from a machine, while it exists."""
    return state_dir() / "blobs" / name
