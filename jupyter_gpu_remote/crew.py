"""The machines beside a notebook's own, connected: the folder goes to them, and they join its cluster."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from .agent import wire
from .config import GpuRemote
from .errors import GpuRemoteError, KernelError
from .exchange.ledger import Ledger
from .fleet import Fleet
from .group import workers_of
from .kernel import RemoteKernel
from .machine import LiveMachine
from .messages import Execution, Message
from .model import Machine
from .notebook import exchange_with, open_sync, remote_folder_of
from .registry import Registry

_UP_LIMIT = 120.0
"""Seconds for a machine to join a cluster, its packages being there."""
_AGAIN = 60.0
"""Seconds after which a machine that could not be reached is tried again."""
_READ = 'cat "$HOME/.gpu-remote/cluster/$1"-*/ticket.json'
_WRITE = 'umask 077; mkdir -p "$HOME/.gpu-remote/cluster"; cat > "$HOME/.gpu-remote/cluster/$1.json"'
_FREE = """
import socket, sys
free = socket.create_server(("", 0))
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    probe.connect(("10.255.255.255", 1))
    own = probe.getsockname()[0]
except OSError:
    own = "127.0.0.1"
print(own, free.getsockname()[1])
"""
_NOTE = 'umask 077; mkdir -p "$HOME/.gpu-remote/cluster"; cat > "$HOME/.gpu-remote/cluster/$1.failed"'
_LAUNCH = "__import__('_gpu_remote.agent.launch', fromlist=['*']).torchrun"
_MODULE = "__import__('_gpu_remote.agent.cluster', fromlist=['*'])"
START = f"{_MODULE}.start()"
"""The cell that has a kernel start a cluster."""


def _silent(done: int, total: int, what: str) -> None:
    pass


class Member:
    """One machine of a crew.

    Args:
        machine: It, ready.
        kernel_id: The name of its kernel there.
        folder: The notebook's folder here; None where it is not kept the same.
    """

    def __init__(
        self,
        machine: Machine,
        kernel_id: str,
        folder: Path,
        synced: bool,
        config: GpuRemote,
        registry: Registry,
    ) -> None:
        self.name = machine.name
        self.execution: Execution | None = None
        self.on_leaving: Callable[[Member], None] = lambda member: None
        """Told that the machine is taken back."""
        self.said = ""
        self.spoke = threading.Event()
        """Set when a cell there has put something out, or ended."""
        self._joined = ""
        check = functools.partial(Fleet(config, registry).check, machine.name)
        self.live = LiveMachine(machine, config, registry, check)
        try:
            self.live.open(lambda phase, text: None)
            cwd = remote_folder_of(self.live, folder)
            self.kernel = self.live.kernel(kernel_id, cwd, self, {})
            self.kernel.on_end = self._ends
            self.sync = open_sync(self.live, self.kernel, folder, _silent) if synced else None
            known = self.kernel.open()
            if self.sync is not None:
                self.sync.meet(known["folder"], in_step=False)
            self._namespace: dict[str, Any] = {}
            where = self.live, self.kernel, cwd, registry, config, _silent
            self._exchange = exchange_with(*where, self._namespace, Ledger(self._namespace))
        except BaseException:
            self.live.close()
            raise

    @property
    def lives(self) -> bool:
        """Whether its kernel is attached, or about to be again."""
        return self.kernel.is_open

    def _ends(self, event: Mapping[str, Any]) -> None:
        if "leaving" in event:  # the kernel's thread must go on, for the files come through it
            threading.Thread(target=self.on_leaving, args=(self,), daemon=True).start()

    def message(self, message: Message) -> None:
        """Take a message of its kernel."""
        if message.channel == wire.IOPUB and message.type == "stream":
            self.said += message.content["text"]
            self.spoke.set()

    def connection(self, text: str) -> None:
        """Nothing is said of a connection: what it breaks is told when it is needed."""

    def run(self, code: str, needs: Any) -> None:
        """Start a cell that says something as soon as it is at work; wait for that.

        Raises:
            GpuRemoteError: It has failed.
        """
        while True:
            self.said = ""
            self.spoke.clear()
            outgoing = self._exchange.pack("", auto=False, needs=lambda modules: needs)
            execution = self.execution = self.kernel.execute(
                code,
                buffers=outgoing.parts,
                allow_stdin=False,
                store_history=False,
                gpu_remote=outgoing.wish,
            )
            execution.future.add_done_callback(lambda _: self.spoke.set())
            if not self.spoke.wait(_UP_LIMIT):
                raise KernelError(f"{self.name} was not at work after {_UP_LIMIT:.0f} s.")
            if not execution.future.done():
                return
            reply = execution.future.result()
            if not (reply.get("gpu_remote") or {}).get("refused"):
                if reply["status"] != "ok":
                    raise KernelError(f"{reply['ename']}: {reply['evalue']}")
                return
            self._exchange.settle(outgoing, reply)

    def stop(self) -> None:
        """Interrupt what it runs, and wait for its end."""
        if self.execution is not None and not self.execution.future.done():
            self.kernel.interrupt()
            with suppress(GpuRemoteError, TimeoutError):
                self.execution.future.result(10)

    def join(self, ticket: bytes, needs: Any) -> None:
        """Have it work for a cluster, with the notebook's packages of now."""
        key = f"{json.loads(ticket)['id']} {needs.key if needs else ''}"
        if key == self._joined and self.execution is not None and not self.execution.future.done():
            return
        self.stop()
        name = f"{self.kernel.id}-ticket"
        self.live.transport.run(["sh", "-c", _WRITE, "sh", name], input=ticket).check()
        self.run(
            f"{_MODULE}.join(__import__('os').path.expanduser('~/.gpu-remote/cluster/{name}.json'))", needs
        )
        self._joined = key

    def close(self) -> None:
        """Let go of the machine; what it does goes on."""
        if self.sync is not None:
            self.sync.close()
        self.kernel.close()
        self.live.close()


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
    ) -> None:
        self._head, self.kernel = head, kernel
        self._folder, self._synced, self._config, self._registry = folder, synced, config, registry
        self._warn = warn
        self.members: dict[str, Member] = {}
        self._failed: dict[str, float] = {}

    def meet(self) -> bool:
        """Connect to those that are new, let go of those that are gone; return whether there are new ones."""
        there = {m.name: m for m in workers_of(self._registry, self._head.machine.name) if m.ready_at}
        for name in list(self.members):
            if name not in there or not self.members[name].lives:
                self.members.pop(name).close()
        waits = {name for name, at in self._failed.items() if time.monotonic() - at < _AGAIN}
        new = [m for name, m in there.items() if name not in self.members and name not in waits]

        def connect(machine: Machine) -> Member:
            kernel_id = f"beside-{self.kernel.id}"
            where = self._folder, self._synced, self._config, self._registry
            member = Member(machine, kernel_id, *where)
            member.on_leaving = self._leave
            return member

        met = self._each(new, connect)
        self.members.update(met)
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
        self._each(self.members.values(), lambda member: member.sync and member.sync.push())

    def pull(self) -> list[str]:
        """Bring here what changed there; return what is to be told."""
        said: list[str] = []
        for member in list(self.members.values()):  # one after the other: two may have changed one file
            if member.sync is not None:
                with suppress(GpuRemoteError):  # what is gone is told of when it is noticed
                    member.sync.remote_changed()
                    said += member.sync.pull().warnings()
        return said

    def join(self, needs: Any) -> None:
        """Have all machines work for the cluster of the notebook's kernel, if there is one.

        Args:
            needs: The packages that the notebook needs.
        """
        if ticket := self.ticket():
            self._each(self.members.values(), lambda member: member.join(ticket, needs))

    def ticket(self) -> bytes:
        """Return what opens the cluster of the notebook's kernel; empty where there is none."""
        pid = str(self.kernel.facts["pid"])
        done = self._head.transport.run(["sh", "-c", _READ, "sh", pid])
        return done.stdout if not done.returncode else b""

    def launch(self, script: str, name: str, count: int, needs: Any) -> str:
        """Run a script on `count` machines as ``torchrun`` does.

        Args:
            script: Its source.
            name: What the launch is called.
            count: How many machines take part; the first is the notebook's own.
            needs: The packages that the notebook needs.

        Returns:
            The cell to run in the notebook's kernel; it fails when a machine fails.
        """
        members = list(self.members.values())[: count - 1]
        machine = self._head.machine
        address, port = (
            self._head.transport.run([machine.python, "-c", _FREE]).check().stdout.decode().split()
        )
        if machine.provider == "local":
            address = "127.0.0.1"

        def code(number: int) -> str:
            return f"{_LAUNCH}({script!r}, {name!r}, {number}, {1 + len(members)}, {address!r}, {port})"

        def take_part(number: int, member: Member) -> None:
            try:
                member.stop()
                member.run(code(number), needs)
                assert member.execution is not None
                reply = member.execution.future.result()
                failed = reply["evalue"] if reply["status"] == "error" else ""
                interrupted = reply.get("ename") == "KeyboardInterrupt"
            except GpuRemoteError as e:
                failed, interrupted = f"{member.name} takes no part any more: {e.message}", False
            if failed and not interrupted:
                with suppress(GpuRemoteError):
                    self._head.transport.run(["sh", "-c", _NOTE, "sh", name], input=failed.encode())

        for number, member in enumerate(members, 1):
            threading.Thread(target=take_part, args=(number, member), daemon=True).start()
        return code(0)

    def stop(self) -> None:
        """Interrupt what runs on all, and wait for its end."""
        self._each(self.members.values(), Member.stop)

    def close(self) -> None:
        """Let go of all; what they do goes on."""
        while self.members:
            self.members.popitem()[1].close()

    def _each(self, of: Iterable[Any], do: Callable[[Any], Any]) -> dict[str, Any]:
        """Do something with each machine, at the same time; tell of those that fail, and go on without."""
        names = {one.name: one for one in of}
        done: dict[str, Any] = {}
        with ThreadPoolExecutor(max(1, len(names)), "machines") as pool:
            begun = {name: pool.submit(do, one) for name, one in names.items()}
        for name, future in begun.items():
            try:
                done[name] = future.result()
            except GpuRemoteError as e:
                self._warn(f"{name} is left out: {e.message}")
        return done
