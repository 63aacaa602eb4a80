"""One notebook and the machine it uses: what every face does between a request and a result."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .config import GpuRemote
from .errors import GpuRemoteError, MachineNotFoundError, MachinePreemptedError
from .exchange import Exchange
from .exchange.ledger import Ledger
from .exchanging import exchange_with
from .fleet import Fleet
from .kernel import Early, Listener, RemoteKernel
from .machine import LiveMachine
from .model import GpuRequest, Machine
from .reaper import reap_in_background
from .registry import Registry
from .storage.kept import bring, note_place, place_of
from .storage.mounts import Mounts
from .storage.told import left_behind
from .sync import FolderSync
from .synced import open_sync, remote_folder_of, short_hash, too_wide
from .tables import duration

Report = Callable[[str, str], None]
OnKernel = Callable[[RemoteKernel, FolderSync | None], Early | None]

_KEEP = " · `%remote extend 30` keeps it"


def notebook_key(connection_file: str = "") -> str:
    """Return what tells this notebook from others, also after its kernel was restarted.

    The path of the notebook where the frontend says it (Jupyter Server: JPY_SESSION_NAME), else the name
    of the kernel's connection file, which a restart keeps.
    """
    return os.environ.get("JPY_SESSION_NAME") or f"{Path.cwd()}:{Path(connection_file).stem}"


class Notebook:
    """A notebook on this side.

    Args:
        config: The user's settings.
        key: What tells it from others; see `notebook_key`.
        folder: The folder that is kept the same on both sides.
        listener: Gets the messages of its remote kernel.
        progress: Told how far a transfer is: bytes done, bytes in all, what.
        warn: Told that the machine will end, from any thread; empty when it will not any more.
        on_kernel: Called with a new remote kernel, before it is attached, and the folder that goes along; may
            return a cell for it to start with.
    """

    def __init__(
        self,
        config: GpuRemote,
        key: str,
        folder: Path,
        listener: Listener,
        progress: Callable[[int, int, str], None],
        warn: Callable[[str], None],
        on_kernel: OnKernel = lambda kernel, sync: None,
    ) -> None:
        self.config = config
        self.key = key
        self.folder = folder
        self.registry = Registry()
        reap_in_background(self.registry)
        self.live: LiveMachine | None = None
        self.kernel: RemoteKernel | None = None
        self.sync: FolderSync | None = None
        self.mounts: Mounts | None = None
        self._listener = listener
        self._progress = progress
        self._warn = warn
        self._on_kernel = on_kernel
        self._fitting: set[GpuRequest] = set()
        self._taken_back: MachinePreemptedError | None = None

    @property
    def fleet(self) -> Fleet:
        """All machines, under the settings of now: each cell may have its own."""
        return Fleet(self.config, self.registry)

    @property
    def kernel_id(self) -> str:
        """The name of this notebook's kernel on any machine."""
        return short_hash(platform.node(), self.key)

    @property
    def unsynced(self) -> str:
        """Why the folder is not kept the same on both sides; empty when it is."""
        return too_wide(self.folder)

    def is_ready(self, request: GpuRequest) -> bool:
        """Return whether a cell that asks for this can be sent at once."""
        kernel = self.kernel
        is_up = kernel is not None and kernel.is_open and not kernel.untold
        return is_up and not self._taken_back and request in self._fitting

    def prepare(self, request: GpuRequest, report: Report) -> Machine:
        """Find or launch a machine for the request and attach this notebook's kernel on it.

        Interrupted or failed, a machine that was launched for it is deleted again.

        Raises:
            GpuRemoteError: It cannot be done; or the kernel was lost since the last cell, with its variables,
                which is told once.
        """
        if self.kernel is not None and (lost := self.kernel.untold):
            self.kernel.untold = None
            raise lost
        if self._taken_back and self.live is not None:
            if not self.registry.get(self.live.machine.name).state.final:
                raise self._taken_back
            self.detach()
        machine = self.fleet.find(request, self.key)
        if machine is None:
            self.detach()
            self.fleet.launch(request, self.key, report, lambda new: self._attach(new, report))
        else:
            if self.live is not None and self.live.machine.name != machine.name:
                self.detach()
            self._attach(machine, report)
            self.registry.bind(self.key, machine.name)
        self._fitting.add(request)
        assert self.live is not None
        return self.live.machine

    def _attach(self, machine: Machine, report: Report) -> None:
        try:
            self._open(machine, report)
        except BaseException:
            self.detach()
            raise

    def _open(self, machine: Machine, report: Report) -> None:
        if self.live is not None and not (self.kernel and self.kernel.is_open):
            self.detach()  # what happened to it meanwhile is for the registry to say
        if self.live is None:
            check = functools.partial(self.fleet.check, machine.name)
            self.live = LiveMachine(machine, self.config, self.registry, check)
        self.live.open(report)
        if self.kernel is not None and self.kernel.is_open:
            return
        if self.kernel is not None:
            self.kernel.close()
        report("starting the kernel", "")
        remote_folder = remote_folder_of(self.live, self.folder)
        self.kernel = self.live.kernel(self.kernel_id, remote_folder, self._listener, {})
        self.kernel.on_end = functools.partial(self._ends, self.live.machine)
        self.kernel.on_loss = functools.partial(self._lost, self.live.machine, self.kernel)
        if not self.unsynced:
            self.sync = open_sync(self.live, self.kernel, self.folder, self._progress)
        known = self.kernel.open(early=self._on_kernel(self.kernel, self.sync))
        if self.sync is not None:
            self.sync.meet(known["folder"], in_step=known["began"])
        where = self.kernel, self.live.transport
        on_kept = functools.partial(note_place, self.registry, machine.name, self.folder)
        self.mounts = Mounts(*where, self.config, known["mounts"], remote_folder, on_kept)

    def _ends(self, machine: Machine, event: Mapping[str, Any]) -> None:
        """Tell that the machine will end, and save what is on it meanwhile."""
        if (left := event.get("leaving")) is not None:
            at = f"{datetime.now():%H:%M}"
            self._taken_back = MachinePreemptedError(
                f"{machine.name} ({machine.offer.title}) is being taken back by {machine.provider}.",
                billed="It is deleted as soon as its files are here.",
                hint="Run the cell again in a minute: it launches another machine.",
            )
            self._warn(f"{machine.provider} takes {machine.name} back in {left:.0f} s · saving files")
            self._in_thread(lambda: self._leave(machine, at, time.monotonic() + left))
        elif ending := event["ending"]:
            kept = "" if machine.ends_at and time.time() + ending["in"] >= machine.ends_at - 1 else _KEEP
            self._warn(f"{machine.name} ends in {duration(ending['in'])}: {ending['why']}{kept}")
            self._in_thread(self._save_all)
        else:
            self._warn("")

    def _lost(self, machine: Machine, kernel: RemoteKernel, error: GpuRemoteError) -> None:
        """Show what cells put out that a machine which is gone has kept in a bucket; `error` tells of it."""
        gone = isinstance(error, (MachineNotFoundError, MachinePreemptedError))
        if gone and (place := place_of(self.registry, machine.name, self.folder)):
            self._listener.connection(f"{machine.name} is gone, looking into {place}")
            error.message += f" {bring(place, kernel.id, kernel.position, self._listener)}"
            error.hint = f"`%remote cp {place} .` fetches its files. {error.hint}"
            self._listener.connection("")

    def _save(self) -> str:
        """Fetch changed files; return what came of it."""
        if self.sync is None:
            return "its folder was not kept in step"
        self.sync.remote_changed()
        report = self.sync.pull()
        return "all files are here" if not report.warnings() else " ".join(report.warnings())

    def _save_all(self, until: float = math.inf) -> str:
        """Fetch changed files, and have what is on its way to buckets uploaded; return what came of it."""
        try:
            saved = [self._save()]
        except GpuRemoteError as e:
            saved = [f"its files could not be fetched ({e.message})"]
        try:
            left = self.mounts.flush(self._progress, until - time.monotonic()) if self.mounts else []
            saved += left_behind(left)
        except GpuRemoteError as e:
            saved.append(f"what was on its way to buckets is not known ({e.message})")
        return "; ".join(saved)

    def _leave(self, machine: Machine, at: str, until: float) -> None:
        """Save what is on a machine that is taken back, and end it."""
        kernel = self.kernel
        saved = self._save_all(until)
        note = f"taken back by {machine.provider} at {at}; {saved}"
        self._warn(f"{machine.name} was {note}")
        self.fleet.preempted(machine.name, note)
        if kernel is not None:
            kernel.close(
                MachinePreemptedError(
                    f"{machine.name} ({machine.offer.title}) was {note}. Its variables are lost.",
                    billed="It costs nothing any more.",
                    hint="Run the cells again; with --gpu or --cloud another machine is launched.",
                )
            )

    def _in_thread(self, work: Callable[[], object]) -> None:
        # the kernel's thread must go on, for the files come through it
        def run() -> None:
            with contextlib.suppress(GpuRemoteError, OSError):
                work()

        threading.Thread(target=run, name="saving files", daemon=True).start()

    def open_exchange(self, namespace: MutableMapping[str, Any], ledger: Ledger) -> Exchange:
        """Return what moves the variables of `namespace` to and from this notebook's kernel."""
        assert self.live is not None and self.kernel is not None
        cwd = remote_folder_of(self.live, self.folder)
        where = self.live, self.kernel, cwd, self.registry, self.config, self._progress
        return exchange_with(*where, namespace, ledger)

    def detach(self) -> None:
        """Let go of kernel and machine; both go on."""
        if self.sync is not None:
            self.sync.close()
        if self.mounts is not None:
            self.mounts.close()
        if self.kernel is not None:
            self.kernel.close()
        if self.live is not None:
            self.live.close()
        self.live = self.kernel = self.sync = self.mounts = self._taken_back = None
        self._fitting.clear()
