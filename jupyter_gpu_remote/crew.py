"""The machines beside a notebook's own, connected: the folder goes to them, they compute with it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from .config import GpuRemote
from .crossing import Crossing, apart
from .errors import GpuRemoteError, KernelError
from .fleet import Fleet
from .group import workers_of
from .kernel import RemoteKernel
from .machine import LiveMachine
from .member import MODULES, Member
from .model import Machine
from .ranks import launch
from .registry import Registry

_AGAIN = 60.0
"""Seconds after which a machine that could not be reached is tried again."""
_REJOIN = 10.0
"""Seconds between two attempts to have machines join again that have fallen out."""
_READ = 'cat "$(ls -t -d "$HOME/.gpu-remote/cluster/$1"-*/"$2" | head -n 1)" </dev/null'
_TICKETS = {"distributed": "ticket.json", "ray": "ray.json"}
TITLES = {"distributed": "Dask", "ray": "Ray"}
"""What clusters are called, by the package that makes them."""


class Crew:
    """The machines beside a notebook's.

    Args:
        head: The notebook's machine.
        kernel: The notebook's kernel there.
        folder: Its folder here.
        synced: Whether that is kept the same.
        config: The user's settings.
        registry: Where the machines are written down.
        warn: Told what becomes of machines, from any thread.
        job: A name, where they are to work for a job of the notebook, whose kernel is known later.
    """

    def __init__(
        self,
        head: LiveMachine,
        kernel: RemoteKernel,
        folder: Path,
        synced: bool,
        config: GpuRemote,
        registry: Registry,
        warn: Callable[[str], None],
        job: str = "",
    ) -> None:
        self._head, self._notebook_s = head, kernel
        self.kernel: RemoteKernel | None = None if job else kernel
        """The kernel there that they work for."""
        self.id = job or kernel.id
        self._folder, self._synced, self._config, self._registry = folder, synced, config, registry
        self._warn = warn
        self.members: dict[str, Member] = {}
        self.known: set[str] = set()
        """All that were ever met and have not been found to have ended."""
        self._failed: dict[str, float] = {}
        self._seen: set[str] = set()
        self._apart: list[tuple[str, str]] = []
        self._crossing: Crossing | None = None
        self._silent: set[str] = set()
        self.engine = "distributed"
        """The package that its cluster is made by."""
        self.needs: Any = None
        """The packages that the notebook needs."""
        self.waits = False
        """Whether there may soon be a cluster that nobody has told of."""
        self._rejoined = 0.0
        self._used = False

    @property
    def is_used(self) -> bool:
        """Whether the notebook has a use for a cluster."""
        return bool(self.needs and self.engine in self.needs.names)

    def meet(self) -> bool:
        """Connect to those that are new, let go of those that are gone; return whether there are new ones."""
        there = {m.name: m for m in workers_of(self._registry, self._head.machine.name) if m.ready_at}
        for name in list(self.members):
            if name not in there or not self.members[name].lives:
                self.members.pop(name).close()
        waits = {name for name, at in self._failed.items() if time.monotonic() - at < _AGAIN}
        new = [m for name, m in there.items() if name not in self.members and name not in waits]

        def connect(machine: Machine) -> Member:
            kernel_id = f"beside-{self.id}"
            where = self._folder, self._synced, self._config, self._registry
            member = Member(machine, kernel_id, *where)
            member.on_leaving = self._leave
            return member

        met = self._each(new, connect)
        self.members.update(met)
        self.known.update(met)
        now = time.monotonic()
        self._failed.update({machine.name: now for machine in new if machine.name not in met})
        return bool(met)

    def _leave(self, member: Member) -> None:
        """Save what is on a machine that is taken back, and end it."""
        self._warn(f"{member.name} is being taken back; its files are fetched.")
        with suppress(GpuRemoteError):
            if member.sync is not None:
                member.sync.remote_changed()
                member.sync.pull()
        with suppress(GpuRemoteError):
            Fleet(self._config, self._registry).preempted(member.name, "taken back by its cloud")

    def push(self) -> None:
        """Bring to all what changed here."""
        self._answering(lambda member: member.sync and member.sync.push())

    def pull(self) -> list[str]:
        """Bring here what changed there; return what is to be told."""
        said: list[str] = []
        for name in self._answering(
            lambda member: None
        ):  # one after the other: two may have changed one file
            member = self.members[name]
            if member.sync is not None:
                with suppress(GpuRemoteError):  # what is gone is told of when it is noticed
                    member.sync.remote_changed()
                    said += member.sync.pull().warnings()
        return said

    def start(self) -> str:
        """Return the cell that starts a cluster in the notebook's kernel.

        Raises:
            KernelError: Machines can't reach each other, which they must for that.
        """
        self._seen = set()  # by now it may be otherwise
        place = {}
        if self._pairs(TITLES[self.engine]):
            self._crossing = self._crossing or Crossing(self.id)
            place = self._crossing.place(self._head)
        return f"{MODULES[self.engine]}.start({place or ''})"

    def _pairs(self, what: str) -> list[tuple[str, str]]:
        """Return which machines can't reach which others; fail where nothing else will do."""
        there = [self._head, *(m.live for m in self.members.values() if m.name not in self._silent)]
        names = {live.machine.name for live in there}
        if self._head.machine.provider == "ssh" and not names <= self._seen:
            self._seen, self._apart = names, apart(there)
        pairs = [(one, other) for one, other in self._apart if {one, other} <= names]
        if pairs and what != "Dask":
            raise KernelError(
                f"{pairs[0][0]} can't reach {pairs[0][1]} directly, as {what} needs it.",
                billed="All machines still run.",
                hint="Use machines of one network that let each other in on all ports. "
                "Dask's clusters do without: what they say goes through this computer.",
            )
        return pairs

    def join(self) -> None:
        """Have all machines work for the cluster of the notebook's kernel, if there is one."""
        ticket = self.ticket()
        for member in [] if ticket else self.members.values():
            member.forget()
        if not ticket:
            return
        self.waits = False
        pairs, through = self._pairs(TITLES[self.engine]), None
        if self.engine == "distributed":
            crossing = self._crossing or Crossing(self.id)
            if f"//{crossing.place(self._head)['host']}:" in json.loads(ticket)["address"]:
                self._crossing = through = crossing
                crossing.keep([self._head, *(member.live for member in self.members.values())])
            elif pairs:
                raise KernelError(
                    f"{pairs[0][0]} can't reach {pairs[0][1]} directly, as the Dask cluster expects it.",
                    billed="All machines still run.",
                    hint="End that: `%remote restart`. One that is started now goes through this computer.",
                )
        self._answering(
            lambda member: member.join(
                self.engine,
                ticket,
                self.needs,
                through.place(member.live) if through else None,
                self._used,
            )
        )

    def rejoin_due(self) -> bool:
        """Return whether a machine has fallen out of the cluster, and some time has passed since the last."""
        now = time.monotonic()
        if now - self._rejoined < _REJOIN or not any(m.fell_out for m in self.members.values()):
            return False
        self._rejoined = now
        return True

    def ticket(self) -> bytes:
        """Return what opens the cluster of the notebook's kernel; empty where there is none."""
        kernels = self.kernel.request("status")["kernels"] if self.kernel else ()
        for kernel in (one for one in kernels if self.kernel and one["id"] == self.kernel.id):
            pid, self._used = str(kernel["pid"]), kernel["running"] > 0
            done = self._head.transport.run(["sh", "-c", _READ, "sh", pid, _TICKETS[self.engine]])
            return done.stdout if not done.returncode else b""
        return b""

    def launch(self, script: str, name: str, count: int) -> str:
        """Run a script on `count` machines; see `ranks.launch`."""
        members = [m for m in self.members.values() if m.name not in self._silent][: count - 1]
        if 1 + len(members) < count:
            raise KernelError(
                f"{count} machines are asked for, and {1 + len(members)} answer.",
                billed="They all still run.",
                hint="Run the cell again in a minute: a machine that is lost is replaced. Or ask for fewer.",
            )
        self._pairs("torchrun")
        return launch(self._head, self._notebook_s, members, script, name, self.needs)

    def stop(self) -> None:
        """Interrupt what runs on all, and wait for its end."""
        self._answering(Member.stop)

    def end(self, sync: bool) -> None:
        """End what a job had on all, after fetching their files if the folder is kept the same."""
        self.stop()
        for warning in self.pull() if sync else ():
            self._warn(warning)
        self._answering(lambda member: member.kernel.request("stop", kernel=member.kernel.id))
        self.close()

    def close(self) -> None:
        """Let go of all; what they do goes on."""
        self.kernel = None
        if self._crossing is not None:
            self._crossing.close()
        while self.members:
            self.members.popitem()[1].close()

    def _answering(self, do: Callable[[Member], Any]) -> dict[str, Any]:
        """Do something with each machine that answers; others are told of once, and not waited for."""
        members = list(self.members.values())
        with ThreadPoolExecutor(max(1, len(members)), "machines") as pool:
            silent = {
                m.name
                for m, answers in zip(members, pool.map(Member.answers, members), strict=True)
                if not answers
            }
        for name in sorted(silent - self._silent):
            self._warn(f"{name} does not answer: it is left out until it does.")
        self._silent = silent
        return self._each([m for m in members if m.name not in silent], do)

    def _each(self, of: Iterable[Any], do: Callable[[Any], Any]) -> dict[str, Any]:
        """Do something with each machine, at the same time; tell of those that fail, and go on without."""
        names = {one.name: one for one in of}
        done: dict[str, Any] = {}
        pool = ThreadPoolExecutor(max(1, len(names)), "machines")
        begun = {name: pool.submit(do, one) for name, one in names.items()}
        pool.shutdown(wait=False)  # whoever interrupts does not wait either
        for name, future in begun.items():
            try:
                done[name] = future.result()
            except GpuRemoteError as e:
                self._warn(f"{name} is left out: {e.message}")
        return done
