"""What happens on the machines beside a notebook's when its cells run.

They are launched, given the folder, and join its cluster; one that is lost is replaced.
"""

from __future__ import annotations

import html
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .config import GpuRemote
from .crew import TITLES, Crew
from .errors import ConfigurationError, GpuRemoteError
from .group import grow, resize, wanted, workers_of
from .model import Machine
from .notebook import Notebook
from .tables import Rich

if TYPE_CHECKING:
    from .others import Face

_LOOK = 1.0
"""Seconds between two looks at which machines there are."""
_REPLACED = 3
"""Machines of one notebook that are replaced without being asked for."""
_LOGS = "torchrun-logs"
_SHOWN = 200
"""Lines of a rank that are shown; its file has all."""


class Together:
    """The machines beside those of one notebook.

    Args:
        face: What runs its cells.
    """

    def __init__(self, face: Face) -> None:
        self._face = face
        self._crew: Crew | None = None
        self._jobs: list[Crew] = []
        self._heads: set[str] = set()
        self._config = face.desk().config
        self._lost = 0
        self._launched = ""
        self._starting = False
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def _notebook(self) -> Notebook:
        notebook = self._face.desk().notebook
        assert notebook is not None
        return notebook

    def before(self, config: GpuRemote, cell: str) -> str:
        """Have everything there that a cell needs which is about to run; return what is to be run.

        Raises:
            ConfigurationError: The options can't be meant so.
            GpuRemoteError: No machine that is asked for is to be had.
        """
        if config.launch not in ("", "torchrun"):
            raise ConfigurationError(
                f"There is no launcher {config.launch!r}.", hint="There is --launch torchrun."
            )
        if config.engine not in ("", "ray"):
            raise ConfigurationError(
                f"There is no engine {config.engine!r}.", hint="There is --engine ray, or else it is Dask."
            )
        if config.engine and (config.launch or config.sweep or config.detach):
            raise ConfigurationError(
                "--engine ray is for cells that use Ray, not for sweeps, launches and detached cells.",
                hint="Leave it out.",
            )
        desk, notebook = self._face.desk(), self._notebook
        assert notebook.live is not None and notebook.kernel is not None
        head = notebook.live.machine
        with self._lock:
            self._config = config
            self._adopt(head)
            there = workers_of(notebook.registry, head.name)
            if wanted(config) > 1 + len(there):
                said = resize(head, wanted(config), config, notebook.registry, desk.report)
                desk.report("", "")
                desk.say(said)
            crew = self._meet(config.detach)
            crew.push()
            crew.needs = self._face.needs(config.env)
            if config.launch:
                name = f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
                cell = crew.launch(cell, name, wanted(config) or 1 + len(crew.members))
                self._launched = "" if config.detach else name
            elif config.detach:
                crew.waits = crew.is_used
            else:
                self._start(crew, config, desk.report)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="machines beside", daemon=True)
            self._keeper.start()
        return cell

    def _adopt(self, head: Machine) -> None:
        """Have machines work beside a head whose own head was lost, if this notebook had that before."""
        registry, place = self._notebook.registry, (head.offer.provider, head.offer.region)
        lost = [name for name in self._heads - {head.name} if registry.get(name).state.final]
        self._heads.add(head.name)
        for machine in [m for name in lost for m in workers_of(registry, name)]:
            if (machine.offer.provider, machine.offer.region) == place:
                registry.update(machine.name, head=head.name)
                self._face.warn(f"{machine.name} goes on beside {head.name}.")

    def _start(self, crew: Crew, config: GpuRemote, report: Callable[[str, str], None]) -> None:
        """Have a cluster of all machines, if there is anybody to use it."""
        if config.engine or self._notebook.config.engine:
            crew.engine = "ray"
        if config.sweep:
            crew.engine = "distributed"
        if not (crew.members and crew.is_used) and not config.engine:
            return
        phase = f"starting {TITLES[crew.engine]}"
        if not crew.ticket():
            report(phase, "")
            self._starting = True
            try:
                self._face.carry(crew.start())
            finally:
                self._starting = False
        report(phase, f"on {1 + len(crew.members)} machines")
        crew.join()
        report("", "")

    def for_job(self) -> Crew:
        """Return the machines that were prepared for the job that is about to begin."""
        return self._jobs[-1]

    def at_rest(self) -> threading.RLock:
        """Return what keeps it from meeting machines as long as it is held."""
        return self._lock

    def after(self, sync: bool) -> None:
        """Do what follows a cell.

        Args:
            sync: Whether the folder is kept the same.
        """
        name, self._launched = self._launched, ""
        if self._crew is None or self._starting:
            return
        if name:
            self._crew.stop()  # what has not ended by now waits for one that has failed
        for warning in self._crew.pull() if sync else ():
            self._face.warn(warning)
        if name:
            self._show_logs(self._notebook.folder / _LOGS / name)

    def _show_logs(self, folder: Path) -> None:
        """Show what ranks other than 0 have written, folded away."""
        files = sorted(folder.glob("rank-*.txt"), key=lambda file: int(file.stem.rpartition("-")[2]))
        others = [file for file in files if file.stem != "rank-0"]
        if not others:
            return
        shown = []
        for file in others:
            lines = html.escape("\n".join(file.read_text(errors="replace").splitlines()[-_SHOWN:]))
            title = html.escape(file.stem.replace("-", " "))
            shown.append(f"<details><summary>{title}</summary><pre>{lines}</pre></details>")
        where = folder.relative_to(self._notebook.folder)
        text = Rich(f"What the other ranks wrote is in {where}: {', '.join(file.name for file in others)}")
        text.html = "".join(shown)
        self._face.desk().say(text)

    def close(self) -> None:
        """Let go of all machines; they go on."""
        self._over.set()
        for crew in (self._crew, *self._jobs):
            if crew is not None:
                crew.close()

    def _meet(self, job: bool) -> Crew:
        notebook = self._notebook
        assert notebook.live is not None and notebook.kernel is not None
        if self._crew is not None and self._crew.kernel is not notebook.kernel:
            self._crew.close()
            self._crew = None
        crew = None if job else self._crew
        if crew is None:
            where = notebook.live, notebook.kernel, notebook.folder, notebook.sync is not None
            name = f"job-{secrets.token_hex(6)}" if job else ""
            crew = Crew(*where, notebook.config, notebook.registry, self._face.warn, name)
            if job:
                self._jobs = [*(other for other in self._jobs if other.members), crew]
            else:
                self._crew = crew
        crew.meet()
        return crew

    # -- in a thread of its own -----------------------------------------------------------------------

    def _keep(self) -> None:
        """Look after the machines while cells run: others come and go."""
        while not self._over.wait(_LOOK):
            with suppress(GpuRemoteError, OSError):
                self._look()

    def _look(self) -> None:
        notebook = self._notebook
        if notebook.live is None or not self._lock.acquire(blocking=False):
            return
        try:
            head = notebook.live.machine
            crews = [
                crew for crew in (self._crew, *self._jobs) if crew is not None and crew.kernel is not None
            ]
            known = set[str]().union(*(crew.known for crew in crews))
            gone = [name for name in known if notebook.registry.get(name).state.final]
            for crew in crews:
                crew.known.difference_update(gone)
                with suppress(GpuRemoteError, OSError):
                    if new := crew.meet() or crew.rejoin_due():
                        crew.push()
                    if new or crew.waits:
                        crew.join()
        finally:
            self._lock.release()
        self._replace(head, gone)

    def _replace(self, head: Machine, gone: list[str]) -> None:
        """Launch machines in the place of those that ended by themselves."""
        registry = self._notebook.registry
        gone = [name for name in gone if registry.get(name).note != "deleted"][: _REPLACED - self._lost]
        if not gone:
            return
        self._lost += len(gone)
        self._face.warn(
            f"{', '.join(gone)} ended ({registry.get(gone[0]).note}); launching a machine in its place."
        )
        count = 1 + len(workers_of(registry, head.name)) + len(gone)
        new, errors = grow(head, count, self._config, registry, lambda phase, text: None)
        for machine in new:
            self._face.warn(f"{machine.name} ({machine.offer.title}) takes the place of {gone.pop(0)}.")
        for error in errors:
            self._face.warn(f"No machine takes the place of {gone[0]}: {error.message}")
