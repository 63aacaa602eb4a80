"""What every request works with: the registry, the settings, the jobs and the connections."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from traitlets.config import Config

from .. import options
from ..config import GpuRemote, load_settings
from ..errors import ConflictError, GpuRemoteError
from ..fleet import Fleet
from ..model import Machine
from ..providers.base import load_provider
from ..registry import Registry
from ..storage.urls import parse_mount
from ..synced import synced_folders
from ..verbs import Desk, down, standby, there
from ..verbs import mount as mounting
from ..verbs.visit import Visit, attach_to
from .clouds import Clouds
from .interrupted import Launches
from .jobs import Job, Jobs
from .kernelspecs import PERMANENT, spec_name
from .offered import Offered
from .runs import Runs
from .visits import Visits

_PROG = "jupyter gpu-remote"


@dataclass
class Hub:
    """One for each server.

    Attributes:
        root: The folder that paths of notebooks are relative to.
        folder_of: Returns the folder in which a kernel starts for a notebook's path.
        kernels: Returns the names of the installed kernelspecs.
        given: Settings of the server's command line.
        tell: Called with a job of the server that has something new, from any thread.
        tell_of_run: Called with a `RunNotice` of a job of the user, from any thread.
    """

    root: Path
    folder_of: Callable[[str], str]
    kernels: Callable[[], Mapping[str, Any]]
    given: Config
    tell: Callable[[Job], None]
    tell_of_run: Callable[[dict[str, Any]], None]
    registry: Registry = field(default_factory=Registry)
    jobs: Jobs = field(init=False)
    visits: Visits = field(init=False)
    runs: Runs = field(init=False)
    offered: Offered = field(init=False)
    clouds: Clouds = field(init=False)
    launches: Launches = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.tell)
        self.visits = Visits(self.registry, self.settings)
        self.runs = Runs(self.registry, self.settings, self.visits, self.path_of, self.tell_of_run)
        self.offered = Offered(self.registry, self.settings)
        self.clouds = Clouds(self.settings)
        self.launches = Launches(self.registry)

    def settings(self, **given: Any) -> GpuRemote:
        """Return the user's settings as they are now, with those `given` on top.

        Raises:
            ConfigurationError: They can't be used.
        """
        config = deepcopy(self.given)  # merging changes what is within, too
        config.merge(Config({"GpuRemote": given}))
        return load_settings(config)

    def look(self) -> None:
        """See what happened that is no event of the registry."""
        self.runs.look()

    def tidy(self) -> None:
        """Do what is to be done now and then: ask for jobs, let go of what nobody asks for."""
        self.visits.prune()
        self.runs.prune()
        self.runs.ask()

    def close(self) -> None:
        """Let go of machines; they go on."""
        self.runs.close()
        self.visits.close()

    # -- notebooks ------------------------------------------------------------------------------------

    def key_of(self, path: str) -> str:
        """Return what tells a notebook from others, as its kernels have it (`notebook.notebook_key`)."""
        return os.path.join(self.folder_of(path), path.rpartition("/")[2])  # noqa: PTH118  # as the server does

    def path_of(self, key: str) -> str:
        """Return the path of a notebook; of one that the server does not serve, its key."""
        with contextlib.suppress(ValueError):
            return Path(key).relative_to(self.root).as_posix()
        return key

    def switch(self, path: str) -> dict[str, Any]:
        """Return which machine a notebook uses, and the kernel to change it to."""
        key = self.key_of(path)
        name = self.registry.binding(key)
        if name is None or self.registry.get(name).state.final:
            return {"notebook": path, "machine": None, "kernel": None}
        return {"notebook": path, "machine": name, "kernel": self._kernel_for(key, name)}

    def _kernel_for(self, key: str, name: str) -> str:
        """Return the permanent kernel where it leads to that machine: the notebook may outlive it."""
        with contextlib.suppress(GpuRemoteError):
            settings = self.settings()
            found = Fleet(settings, self.registry).find(options.request(settings), key)
            if found is not None and found.name == name and PERMANENT in self.kernels():
                return PERMANENT
        return spec_name(name)

    # -- jobs -----------------------------------------------------------------------------------------

    def launch(self, asked: Mapping[str, Any]) -> Job:
        """Begin a launch.

        Raises:
            ConfigurationError: There is no such GPU or cloud.
        """
        config = self.settings(**{name: value for name, value in asked.items() if name != "notebook"})
        if options.request(config).cloud:
            load_provider(config.cloud, config)
        for text in config.mount:
            parse_mount(text)
        notebook = asked.get("notebook", "")
        work = functools.partial(self._launch, config, self.key_of(notebook) if notebook else "")
        return self.jobs.start("launch", work, request=asked)

    def _launch(self, config: GpuRemote, notebook: str, job: Job) -> None:
        def bring_up(machine: Machine) -> None:
            with contextlib.closing(attach_to(machine, config, self.registry)) as live:
                live.open(job.report)

        request = options.request(config)
        with (
            self.launches.under_way(job) as known,
            contextlib.closing(_Listening(self.registry, job, known)) as registry,
        ):
            fleet = Fleet(config, registry)
            machine = fleet.find(request, "")
            if machine is None:
                machine = fleet.launch(request, notebook, job.report, bring_up)
                try:
                    failed = self._mount_all(machine, config, job)
                    job.settle()
                except BaseException:
                    fleet.delete(machine.name, job.report)
                    raise
            else:  # the one that is asked for by its name
                job.machine = machine.name
                bring_up(machine)
                if notebook:
                    registry.bind(notebook, machine.name)
                failed = self._mount_all(machine, config, job)
        if failed is not None:
            raise failed
        job.report("ready", machine.offer.title)

    def _mount_all(self, machine: Machine, config: GpuRemote, job: Job) -> GpuRemoteError | None:
        """Mount what the launch names; a bucket that cannot be is no reason to give the machine back."""
        if config.mount:
            try:
                with Visit(self.registry.get(machine.name), config, self.registry) as there:
                    there.mounts.ensure(config, job.report)
            except GpuRemoteError as e:
                return e
        return None

    def delete(self, name: str, anyway: bool) -> Job:
        """Begin to delete a machine; one that this server is launching is cancelled."""
        machine = self.registry.get(name)
        launch = self.jobs.on_machines().get(name)
        if launch is not None and launch.kind == "launch" and self.jobs.cancel_or_dismiss(launch.id):
            return launch
        if machine.state.final:
            raise ConflictError(f"{name} has ended already: {machine.note or machine.state.value}.")
        return self._do("delete", name, lambda desk: down.down(desk, name, yes=anyway))

    def stop(self, name: str, anyway: bool) -> Job:
        """Begin to switch a machine off."""
        return self._do("stop", name, lambda desk: standby.stop(desk, name, yes=anyway))

    def start(self, name: str) -> Job:
        """Begin to switch a machine on."""
        return self._do("start", name, lambda desk: standby.start(desk, name))

    def pull(self, name: str) -> Job:
        """Begin to fetch a machine's files."""

        def pull(desk: Desk) -> None:
            for folder in synced_folders(name):
                there.pull(replace(desk, folder=folder), name)

        return self._do("pull", name, pull)

    def mount(self, name: str, what: str, create: bool) -> Job:
        """Begin to mount a bucket on a machine.

        Raises:
            ConfigurationError: It does not say what to mount, and where.
        """
        parse_mount(what)
        return self._do("mount", name, lambda desk: mounting.mount(desk, what, name, create))

    def unmount(self, name: str, path: str, anyway: bool) -> Job:
        """Begin to unmount a bucket, once all is in it."""
        return self._do("unmount", name, lambda desk: mounting.unmount(desk, path, name, yes=anyway))

    def flush(self, name: str) -> Job:
        """Begin to bring all that was written to its buckets."""
        return self._do("flush", name, lambda desk: mounting.flush(desk, name))

    def _do(self, kind: str, name: str, act: Callable[[Desk], object]) -> Job:
        def work(job: Job) -> None:
            act(self._desk(job))

        return self.jobs.start(kind, work, self.registry.get(name).name)

    def _desk(self, job: Job) -> Desk:
        return Desk(
            prog=_PROG,
            config=self.settings(),
            registry=self.registry,
            folder=self.root,
            notebook=None,
            say=job.say,
            report=job.report,
            progress=job.progress,
            launch=lambda request, config: None,  # no verb used here launches
        )


class _Listening(Registry):
    """The registry, which tells a launch the name of its machine as soon as there is one."""

    def __init__(self, registry: Registry, job: Job, known: Callable[[], None]) -> None:
        super().__init__(registry.path)
        self._job, self._known = job, known

    def add(self, machine: Machine) -> None:
        """Write down a new machine."""
        self._job.machine = machine.name
        self._known()
        super().add(machine)
