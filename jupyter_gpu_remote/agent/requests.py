"""What a client may ask of the agent: each function here is one request.

Arguments are those of the request's JSON. What is returned is the answer; an `OSError`, `LookupError`,
`TypeError` or `ValueError` is told to the client; a `Future` is answered when it is done.
"""

from __future__ import annotations

import base64
import os
import resource
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..variables.key import make_key
from . import wire
from .clients import Client
from .folder import answer

if TYPE_CHECKING:
    from .server import Agent


def ping(agent: Agent, client: Client) -> str:
    """Answer, to show that the agent lives."""
    return "pong"


def status(agent: Agent, client: Client) -> dict[str, Any]:
    """Tell the version, the kernels, the load, and the memory the agent has needed at most, in KiB."""
    left, why = agent.prospects.ends()
    return {
        "version": agent.version,
        "pid": os.getpid(),
        "log": str(agent.root / "agent.log"),
        "ends_in": left,
        "ends_why": why,
        "load": agent.load.facts(),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "kernels": [
            {
                **k.facts,
                "id": k.id,
                "alive": k.process.alive(),
                "running": len(k.cells.running),
                "active": k.active_at,
            }
            for k in agent.kernels.values()
        ],
    }


def extend(agent: Agent, client: Client, minutes: float) -> float | None:
    """Keep the machine for some minutes from now, used or not; tell the seconds it has left."""
    agent.prospects.extend(minutes * 60)
    return agent.prospects.ends()[0]


def attach(
    agent: Agent,
    client: Client,
    kernel: str,
    since: int | None = None,
    name: str = "",
    start: dict[str, Any] | None = None,
    birth: str | None = None,
    unacknowledged: Sequence[str] = (),
    early: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the client a tail of a kernel's journal.

    Args:
        agent: Us.
        client: Who asks.
        kernel: The kernel's name.
        since: Record to begin with; None for what comes from now on.
        name: The client's own; an earlier connection of that name is dead, it just does not know.
        start: How to start the kernel if there is none of that name.
        birth: What tells the kernel the client knows from another one of that name.
        unacknowledged: Ids of messages that it has sent and that may not have arrived.
        early: The ``message`` that runs a cell, passed on if the ``folder`` has this id, or any for None.
    """
    if client.tail:
        raise ValueError("this connection is attached already")
    found = agent.kernels.get(kernel)
    if found is not None and birth not in (None, found.facts["birth"]):
        raise LookupError("its place was taken by another one of that name")
    if found is None:
        if start is None:
            raise LookupError(f"there is no kernel {kernel}")
        found = agent.keeper.start(kernel, **start)
    for other in list(agent.clients.values()):
        if name and other is not client and other.name == name and other.kernel is found:
            agent.drop(other)
    journal = found.journal
    if birth and since is not None:
        journal.go_on_at(since)
    since = journal.next if since is None else min(since, journal.next)
    client.kernel, client.name, client.tail = found, name, journal.tail(since)
    ident = found.work.ident() if found.work else ""
    began = early is not None and early["folder"] in (None, ident) and agent.mounts.up()
    if early and began:
        found.send(wire.SHELL, [part.encode() for part in early["message"]])
    return {
        "version": agent.version,
        "next": since,
        "missed": max(0, journal.first - since),
        "end": journal.next,
        "running": list(found.cells.running),
        "known": [m for m in unacknowledged if m in found.cells.seen],
        "executions": list(found.cells.executions),
        "folder": ident,
        "began": began,
        "prospects": agent.prospects.known(),
        "mounts": bool(agent.mounts),
        "kernel": {**found.facts, "id": found.id},
        "store": {
            "folder": str(agent.root / "store"),
            "key": base64.b64encode(make_key(agent.root / "store.key")).decode(),
        },
    }


def outcomes(agent: Agent, client: Client, cells: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Tell what became of one cell of each kernel; nothing of those that are not known."""
    told: dict[str, dict[str, Any]] = {}
    for kernel, cell in cells.items():
        if (found := agent.kernels.get(kernel)) is None:
            continue
        if cell in found.cells.running:
            told[kernel] = {"status": "running"}
        elif cell in found.cells.outcomes:
            told[kernel] = found.cells.outcomes[cell]
    return told


def interrupt(agent: Agent, client: Client, kernel: str, cell: str = "") -> None:
    """Interrupt what the kernel runs; given a cell, only if it is that one."""
    found = agent.keeper.kernel(kernel)
    if not cell or cell == next(iter(found.cells.running), ""):
        found.process.signal(signal.SIGINT)


def restart(agent: Agent, client: Client, kernel: str) -> None:
    """Replace the kernel's process; its journal goes on."""
    agent.keeper.respawn(agent.keeper.kernel(kernel), "it was restarted")


def stop(agent: Agent, client: Client, kernel: str) -> None:
    """End a kernel and forget it."""
    found = agent.keeper.kernel(kernel)
    agent.later.append(lambda: agent.keeper.end(found, "it was shut down"))  # after the answer


def folder(agent: Agent, client: Client, path: str, question: str, data: str) -> Future[Any]:
    """Answer what `sync` asks about a folder, and put changes to it in place; bytes travel as base64."""
    work = agent.keeper.folder(path)
    asked = base64.b64decode(data)
    return agent.worker.submit(lambda: base64.b64encode(answer(work, question, asked)).decode())


def missing(agent: Agent, client: Client, blobs: Sequence[str]) -> list[str]:
    """Tell which blobs the store of variables lacks."""
    folder = agent.root / "store"
    return [name for name in blobs if not ((folder / name).exists() or (folder / f"{name}.zst").exists())]


def mount(agent: Agent, client: Client, **wanted: Any) -> Future[dict[str, Any]]:
    """Mount a bucket, or give one that is mounted new credentials; see `Mounts.begin`."""
    return agent.mounts.begin(**wanted)


def unmount(agent: Agent, client: Client, path: str, anyway: bool = False) -> Future[dict[str, Any]]:
    """Unmount what is mounted at a path, unless something on it is not in its bucket yet; or `anyway`."""
    return agent.mounts.end(path, anyway)


def mounts(
    agent: Agent, client: Client, hurry: bool = False, queues: bool = True
) -> Future[list[dict[str, Any]]]:
    """Tell what is mounted and, with `queues`, what is on its way, which is to `hurry`; see `Mount.look`."""
    return agent.mounts.look(hurry, queues)


def pause(agent: Agent, client: Client, marks: dict[str, str]) -> None:
    """Take no more requests from anybody else: a newer agent is about to take over.

    Args:
        marks: What each kernel will publish to part what is ours from what is the newer agent's.
    """
    agent.pause(client, marks)


def release(agent: Agent, client: Client) -> Future[list[str]]:
    """Journal what each kernel publishes before its mark, then stop; tell whose mark did not come."""
    return agent.release()


def quit(agent: Agent, client: Client) -> None:
    """End every kernel and stop."""
    agent.later.append(agent.quit)


OPERATIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        ping,
        status,
        extend,
        attach,
        outcomes,
        interrupt,
        restart,
        stop,
        folder,
        missing,
        mount,
        unmount,
        mounts,
        pause,
        release,
        quit,
    )
}
