"""Verbs that need a machine to answer."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from ..errors import ConfigurationError, GpuRemoteError, KernelError, MachineNotFoundError
from ..model import Machine, MachineState
from ..removal import key_folder
from ..sync import FolderSync
from ..synced import remote_folder_of, synced_folders
from ..tables import duration
from .desk import Desk
from .visit import Visit
from .words import NAME, SHARED, argument, number

_LOG_LINES = 200
_CONNECT_LIMIT = 30.0

verb = SHARED.verb


def visit(desk: Desk, machine: Machine) -> Visit:
    """Return a connection to a machine."""
    return Visit(machine, desk.config, desk.registry)


@verb("Send what changed in this folder to the machine.", NAME)
def push(desk: Desk, name: str = "") -> None:
    """Bring over there what changed here."""
    _move(desk, name, FolderSync.push)


@verb("Fetch what changed in the machine's copy of this folder.", NAME)
def pull(desk: Desk, name: str = "") -> None:
    """Bring here what changed there."""
    machine = desk.machine(name)
    known = synced_folders(machine.name)
    if desk.folder not in known:
        there = ", ".join(map(str, known)) or "none"
        raise ConfigurationError(
            f"{machine.name} has no copy of {desk.folder}. Folders it has: {there}.",
            hint=f"Go to one of those folders, or send this one: {desk.prog} push {machine.name}",
        )
    _move(desk, machine.name, FolderSync.pull)


def _move(desk: Desk, name: str, move: Callable[[FolderSync], Any]) -> None:
    with visit(desk, desk.machine(name)) as there, closing(there.sync(desk.folder, desk.progress)) as sync:
        sync.remote_changed()
        report = move(sync)
    desk.report("", "")
    for warning in report.warnings():
        desk.say(warning)
    desk.say(str(report))


@verb("Show what happened to a machine, and what its agent wrote.", NAME)
def logs(desk: Desk, name: str = "") -> None:
    """Show the events of a machine and the end of the agent's log."""
    machine = desk.registry.get(name) if name else _latest(desk)
    desk.say(f"{machine.name}: {machine.offer.title}, {machine.state.value}")
    for event in desk.registry.events(limit=5000):
        if event.machine == machine.name and event.kind != "changed":
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
            desk.say(f"{at}  {event.kind:8} {event.text}")
    if machine.state.final or not machine.ready_at:
        return
    try:
        with visit(desk, machine) as there:
            log = there.request("status")["log"]
            tail = there.live.transport.run(["tail", "-n", str(_LOG_LINES), log]).stdout
    except GpuRemoteError as e:
        desk.say(f"The agent's log cannot be read: {e}")
        return
    desk.say(f"Agent: {tail.decode(errors='replace').strip() or 'nothing was logged'}")


def _latest(desk: Desk) -> Machine:
    """Return the machine that somebody who asks for the log without a name means."""
    try:
        return desk.machine()
    except MachineNotFoundError:
        known = desk.registry.machines(ended=True)
        if not known:
            raise
        return known[-1]  # a launch that failed, perhaps


@verb("Open a terminal on the machine, or run a command there; in a notebook, show how.", NAME, command=True)
def ssh(desk: Desk, name: str = "", command: list[str] | None = None) -> None:
    """Show the command that opens a terminal on a machine."""
    desk.say(shlex.join(ssh_command(desk.machine(name), command or [])))


def ssh_command(machine: Machine, command: list[str]) -> list[str]:
    """Return the ``ssh`` that logs in on a machine as we do, with its host key pinned."""
    from ..transport.login import Login

    address = machine.address
    if address is None or machine.state in (MachineState.STOPPED, MachineState.DELETING):
        raise MachineNotFoundError(
            f"{machine.name} is {machine.state.value}; there is nothing to log in to.",
            hint="`list` shows when it is ready.",
        )
    keys = key_folder(machine.name)
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = Login(address).argv(_CONNECT_LIMIT, keys / "known_hosts")
    terminal = [] if command else ["-t"]
    return [*argv, *terminal, "--", address.host, *([shlex.join(command)] if command else [])]


@verb("End the kernel over there and start a fresh one; its variables are lost.", NAME)
def restart(desk: Desk, name: str = "") -> None:
    """Replace the kernel's process."""
    with visit(desk, desk.machine(name)) as there:
        there.request("restart", kernel=kernel_of(desk, there))
    desk.say("A fresh kernel is running.")


@verb("Interrupt the cell that runs over there.", NAME)
def interrupt(desk: Desk, name: str = "") -> None:
    """Interrupt what the kernel runs."""
    with visit(desk, desk.machine(name)) as there:
        there.request("interrupt", kernel=kernel_of(desk, there))
    desk.say("Interrupted.")


def kernel_of(desk: Desk, there: Visit) -> str:
    """Return the name of the kernel that is meant.

    In a notebook its own; on a command line the one of this folder, or the only one.

    Raises:
        KernelError: There is none, or it is not clear which.
    """
    kernels = there.request("status")["kernels"]
    name = there.live.machine.name
    if desk.notebook is not None:
        mine = [k for k in kernels if k["id"] == desk.notebook.kernel_id]
    else:
        here = remote_folder_of(there.live, desk.folder)
        mine = [k for k in kernels if k["cwd"] == here] or kernels
    if not mine:
        raise KernelError(f"No kernel is running on {name} for this notebook.", hint="Run a cell first.")
    if len(mine) > 1:
        folders = ", ".join(sorted({k["cwd"] for k in mine}))
        raise KernelError(
            f"{len(mine)} kernels are running on {name}, in: {folders}.",
            hint="Say it in the notebook itself, with %remote; or go to the folder of the notebook.",
        )
    return str(mine[0]["id"])


@verb(
    "Keep a machine for some minutes from now, used or not.",
    argument("minutes", type=number, metavar="MINUTES", help="how long"),
    NAME,
)
def extend(desk: Desk, minutes: float, name: str = "") -> None:
    """Keep a machine from ending itself for a while."""
    machine = desk.machine(name)
    with visit(desk, machine) as there:
        there.request("extend", minutes=minutes)
        left = there.request("status").get("ends_in")
    if left is None:
        desk.say(f"{machine.name} does not end by itself.")
    else:
        desk.say(f"{machine.name} stays for at least {duration(left)}.")


@verb("Take variables from a machine that is your own, though it was not made here.", NAME)
def trust(desk: Desk, name: str = "") -> None:
    """Let variables come back from a machine, which runs here what it sends."""
    machine = desk.machine(name)
    desk.registry.update(machine.name, trusted=True)
    desk.say(f"Variables are taken from {machine.name} from now on.")
