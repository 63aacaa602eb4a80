"""Machines: what they are and do, and what is done with them."""

from __future__ import annotations

import time
from typing import Any

from ...errors import ConflictError, GpuRemoteError
from ...model import Machine
from ...spend import rate
from ..folders import agent_log, changed_files
from ..hub import Hub
from ..jobs import Job
from ..kernelspecs import usable
from ..problems import problem
from ..views import activity, machine_views
from .table import route


@route("GET", "machines", "MachineList", takes="MachinesQuery")
def machines(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return the machines that exist, and those that ended after a time."""
    found = hub.registry.machines(ended="ended_after" in query)
    shown = [m for m in found if not m.state.final or m.ended_at > query["ended_after"]]
    now = time.time()
    return {"at": now, "machines": _views(hub, shown), "rate": sum(map(rate, shown))}


@route("GET", "machines/{name}", "Machine")
def machine(hub: Hub, name: str) -> dict[str, Any]:
    """Return one machine, also when it has ended."""
    return _views(hub, [hub.registry.get(name)])[0]


@route("DELETE", "machines/{name}", "Job", takes="AnywayQuery", status=202)
def delete(hub: Hub, name: str, query: dict[str, Any]) -> Job:
    """Begin to delete a machine."""
    return hub.delete(name, query.get("anyway", False))


@route("POST", "machines/{name}/stop", "Job", takes="AnywayQuery", status=202)
def stop(hub: Hub, name: str, query: dict[str, Any]) -> Job:
    """Begin to switch a machine off."""
    return hub.stop(name, query.get("anyway", False))


@route("POST", "machines/{name}/start", "Job", status=202)
def start(hub: Hub, name: str) -> Job:
    """Begin to switch a machine on."""
    return hub.start(name)


@route("POST", "machines/{name}/pull", "Job", status=202)
def pull(hub: Hub, name: str) -> Job:
    """Begin to fetch a machine's files."""
    return hub.pull(name)


@route("POST", "machines/{name}/extend", "Status", takes="ExtendRequest", visits=True)
def extend(hub: Hub, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Keep a machine for a while."""
    one = the_usable(hub, name)
    hub.visits.talk(one, lambda visit: visit.request("extend", minutes=body["minutes"]))
    return hub.visits.ask(one)


@route("GET", "machines/{name}/status", "Status", visits=True)
def status(hub: Hub, name: str) -> dict[str, Any]:
    """Ask a machine how it is doing."""
    return hub.visits.ask(the_usable(hub, name))


@route("GET", "status", "StatusList")
def statuses(hub: Hub) -> dict[str, Any]:
    """Return what all machines said last."""
    said = [hub.visits.last(m) for m in hub.registry.machines() if usable(m)]
    return {"at": time.time(), "statuses": said}


@route("GET", "machines/{name}/logs", "Logs", visits=True)
def logs(hub: Hub, name: str) -> dict[str, Any]:
    """Return what happened to a machine, and what its agent wrote."""
    one, text, why = hub.registry.get(name), None, None
    if usable(one):
        try:
            text = hub.visits.talk(one, agent_log)
        except GpuRemoteError as e:
            why = problem(e)
    happened = activity(hub.registry, None, 5000)["events"]
    return {"events": [e for e in happened if e["machine"] == name], "agent": text, "problem": why}


@route("GET", "machines/{name}/files", "MachineFiles", visits=True)
def files(hub: Hub, name: str) -> dict[str, Any]:
    """Return what has changed in the folders that a machine has copies of."""
    one = the_usable(hub, name)
    return {"folders": changed_files(hub, one)}


def the_usable(hub: Hub, name: str) -> Machine:
    """Return a machine that can be used now.

    Raises:
        ConflictError: It can't.
    """
    one = hub.registry.get(name)
    if not usable(one):
        raise ConflictError(
            f"{name} is {one.state.value} and cannot be used now.",
            hint="Launch another machine." if one.state.final else "Wait until it is ready.",
        )
    return one


def _views(hub: Hub, which: list[Machine]) -> list[dict[str, Any]]:
    return machine_views(hub.registry, which, hub.jobs.on_machines(), hub.path_of)
