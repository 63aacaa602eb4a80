"""The verb that deletes machines, after everything that can be saved is saved."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

from ..errors import (
    ConfigurationError,
    ConflictError,
    GpuRemoteError,
    MachineNotFoundError,
    StorageError,
    SyncError,
    TransportError,
)
from ..model import Machine
from ..registry import Registry
from ..storage.told import left_behind
from ..synced import synced_folders
from .desk import Desk
from .there import visit
from .visit import Visit
from .words import NAME, SHARED, argument

_LOOK = 0.1


@SHARED.verb(
    "Delete a machine; first its files are fetched.",
    NAME,
    argument("--all", action="store_true", help="every machine"),
    argument("--yes", action="store_true", help="ask nothing, also when something is lost by it"),
)
def down(desk: Desk, name: str = "", all: bool = False, yes: bool = False) -> None:
    """Delete machines.

    Raises:
        SyncError: There are files that cannot be fetched; nothing was deleted.
        ProviderError: It could not be deleted; the message says that it may still be billed.
    """
    if all and name:
        raise ConfigurationError(f"Both --all and {name} are given.", hint="Keep one of the two.")
    machines = desk.registry.machines() if all else with_workers(desk.registry, desk.machine(name))
    if not machines:
        desk.say("No machine is running.")
        return
    for machine in machines:
        for loss in what_is_lost(desk, machine, yes):
            desk.say(f"{machine.name}: {loss}")
    if desk.confirm is not None and not yes:
        names = ", ".join(f"{machine.name} ({machine.offer.title})" for machine in machines)
        if not desk.confirm(f"Delete {names}?"):
            raise GpuRemoteError("Nothing was deleted.", billed=f"{names}: still running.")
    delete(desk, machines)


def with_workers(registry: Registry, machine: Machine) -> list[Machine]:
    """Return a machine, and those that work beside it."""
    return [machine, *(m for m in registry.machines() if m.head == machine.name)]


def what_is_lost(desk: Desk, machine: Machine, anyway: bool) -> list[str]:
    """Fetch a machine's files, and return what will be lost nevertheless.

    Raises:
        SyncError: It answers, and files cannot be fetched; not raised when `anyway`.
        StorageError: Something has not reached its bucket; not raised when `anyway`.
    """
    if not machine.ready_at:
        return []
    try:
        with visit(desk, machine) as there:
            running = sum(kernel["running"] for kernel in there.request("status")["kernels"])
            losses = [f"{running} running {'cell' if running == 1 else 'cells'}"] if running else []
            losses = [f"{loss} will be ended" for loss in losses] + _fetch(desk, there, anyway)
            return losses + _drain(desk, there, anyway)
    except MachineNotFoundError as e:
        return [e.message]
    except (TransportError, ConflictError) as e:
        return [f"it does not answer, so what was not fetched before is lost ({e.message})"]


def _fetch(desk: Desk, there: Visit, anyway: bool) -> list[str]:
    lost = []
    for folder in synced_folders(there.live.machine.name):
        if not folder.is_dir():
            lost.append(f"{folder} is not here any more, its copy there will be lost")
            continue
        try:
            with closing(there.sync(folder, desk.progress)) as sync:
                sync.remote_changed()
                report = sync.pull()
        except SyncError as e:
            if not anyway:
                e.hint = f"{e.hint} Or delete the machine with its files: add --yes.".strip()
                e.billed = e.billed or "The machine still runs; nothing was deleted."
                raise
            lost.append(f"files of {folder} could not be fetched: {e.message}")
            continue
        if report:
            desk.say(f"{folder}: {report}")
        lost += report.warnings()
    desk.report("", "")
    return lost


def _drain(desk: Desk, there: Visit, anyway: bool) -> list[str]:
    """Have all that waits brought to its buckets; return what is not there."""
    lost = left_behind(there.mounts.flush(desk.progress))
    desk.report("", "")
    if lost and not anyway:
        raise StorageError(
            f"Not all that was written has reached its bucket: {'; '.join(lost)}.",
            hint="See what holds it up: `%remote mounts`. Or let it be lost: add --yes.",
            billed="The machine still runs; nothing was deleted.",
        )
    return lost


def delete(desk: Desk, machines: Sequence[Machine]) -> None:
    """Delete machines, all at the same time, and wait until they are gone."""
    notebook, names = desk.notebook, [machine.name for machine in machines]
    if notebook is not None and notebook.live is not None and notebook.live.machine.name in names:
        notebook.detach()
    with ThreadPoolExecutor(len(machines), "delete") as pool:
        ended = {name: pool.submit(desk.fleet.delete, name, lambda phase, text: None) for name in names}
        while wait(ended.values(), _LOOK).not_done:
            desk.report("deleting", ", ".join(name for name in names if not ended[name].done()))
    desk.report("", "")
    for name, one in ended.items():
        one.result()
        desk.say(f"{name} is deleted; it costs nothing any more.")
