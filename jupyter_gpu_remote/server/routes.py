"""What can be asked of the server: a function for each method and path, called in a thread.

A function gets the hub, then the parts of the path that are in braces, then what was sent, read and checked
by the definition of the schema that the route names. It returns what is sent back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import __version__
from ..config import GpuRemote
from ..errors import ConfigurationError, ConflictError, GpuRemoteError
from ..model import Machine
from ..offers import GPUS
from ..providers.base import provider_names
from ..spend import rate
from . import schema
from .folders import agent_log, changed_files
from .hub import Hub
from .jobs import Job
from .kernelspecs import usable
from .problems import problem
from .views import activity, machine_views, spend_view


@dataclass(frozen=True)
class Route:
    """How one request is answered.

    Attributes:
        answer: Does it.
        takes: The definition of the body, or of the URL's query where its name says so; empty for nothing.
        answers: The definition of what is sent back; empty for nothing.
        visits: Whether it talks to a machine, which may take its time.
        status: The status of the answer.
    """

    answer: Callable[..., Any]
    takes: str
    answers: str
    visits: bool
    status: int


ROUTES: dict[str, dict[str, Route]] = {}
"""By path and method."""


def route(
    method: str, path: str, answers: str = "", takes: str = "", visits: bool = False, status: int = 200
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the answer to a request."""

    def register(answer: Callable[..., Any]) -> Callable[..., Any]:
        ROUTES.setdefault(path, {})[method] = Route(answer, takes, answers, visits, status)
        return answer

    return register


# -- machines ---------------------------------------------------------------------------------------------


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
    one = _usable(hub, name)
    hub.visits.talk(one, lambda visit: visit.request("extend", minutes=body["minutes"]))
    return hub.visits.ask(one)


@route("GET", "machines/{name}/status", "Status", visits=True)
def status(hub: Hub, name: str) -> dict[str, Any]:
    """Ask a machine how it is doing."""
    return hub.visits.ask(_usable(hub, name))


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
    one = _usable(hub, name)
    return {"folders": changed_files(hub, one)}


def _usable(hub: Hub, name: str) -> Machine:
    one = hub.registry.get(name)
    if not usable(one):
        raise ConflictError(
            f"{name} is {one.state.value} and cannot be used now.",
            hint="Launch another machine." if one.state.final else "Wait until it is ready.",
        )
    return one


def _views(hub: Hub, which: list[Machine]) -> list[dict[str, Any]]:
    return machine_views(hub.registry, which, hub.jobs.on_machines(), hub.path_of)


# -- launches and other jobs ------------------------------------------------------------------------------


@route("POST", "launches", "Job", takes="LaunchRequest", status=202)
def launch(hub: Hub, body: dict[str, Any]) -> Job:
    """Begin to launch a machine."""
    return hub.launch(body)


@route("GET", "jobs", "JobList")
def jobs(hub: Hub) -> dict[str, Any]:
    """Return what this server does and has done."""
    return {"jobs": [one.view() for one in hub.jobs.all()]}


@route("GET", "jobs/{id}", "Job")
def job(hub: Hub, id: str) -> Job:
    """Return one job."""
    return hub.jobs.get(id)


@route("DELETE", "jobs/{id}", "Job", status=202)
def end_job(hub: Hub, id: str) -> Job | None:
    """Cancel a job, or dismiss one that has ended."""
    return hub.jobs.cancel_or_dismiss(id)


# -- jobs of the user --------------------------------------------------------------------------------------


@route("GET", "runs", "RunList", takes="RunsQuery")
def runs(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return the cells and scripts that run unattended, and those that did."""
    return hub.runs.listed(query.get("limit"))


@route("GET", "runs/{id}", "Run")
def run(hub: Hub, id: str) -> dict[str, Any]:
    """Return one of them."""
    return hub.runs.get(id)


@route("DELETE", "runs/{id}", visits=True, status=204)
def forget_run(hub: Hub, id: str) -> None:
    """Remove one that has ended."""
    hub.runs.forget(id)


@route("POST", "runs/{id}/cancel", "Run", visits=True)
def cancel_run(hub: Hub, id: str) -> dict[str, Any]:
    """End one."""
    return hub.runs.cancel(id)


@route("GET", "runs/{id}/output", "RunOutput", takes="OutputQuery", visits=True)
def run_output(hub: Hub, id: str, query: dict[str, Any]) -> dict[str, Any]:
    """Return what one has put out."""
    return hub.runs.output(id, query.get("since", 0))


# -- prices, money, what happened -------------------------------------------------------------------------


@route("GET", "offers", "OfferList", takes="OfferQuery", visits=True)
def offers(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return what can be had now."""
    return hub.offered.look(query)


@route("GET", "spend", "Spend", takes="SpendQuery")
def spent(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return what machines have cost."""
    budget = _settings(hub)[0].daily_budget
    return spend_view(hub.registry, query.get("by", "machine"), query.get("since"), budget)


@route("GET", "activity", "Activity", takes="ActivityQuery")
def happened(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return what happened."""
    return activity(hub.registry, query.get("since"), query.get("limit", 200))


# -- notebooks --------------------------------------------------------------------------------------------


@route("GET", "binding", "KernelSwitch", takes="BindingQuery")
def binding(hub: Hub, query: dict[str, Any]) -> dict[str, Any]:
    """Return which machine a notebook uses."""
    return hub.switch(_notebook(query))


@route("PUT", "binding", "KernelSwitch", takes="BindingRequest")
def bind(hub: Hub, body: dict[str, Any]) -> dict[str, Any]:
    """Have a notebook use a machine."""
    path = _notebook(body)
    one = _usable(hub, body["machine"])
    hub.registry.bind(hub.key_of(path), one.name)
    return hub.switch(path)


@route("DELETE", "binding", takes="BindingQuery", status=204)
def unbind(hub: Hub, query: dict[str, Any]) -> None:
    """Have a notebook use no machine."""
    hub.registry.unbind(hub.key_of(_notebook(query)))


def _notebook(sent: dict[str, Any]) -> str:
    path: str = sent["notebook"].strip("/")
    if not path:
        raise ConfigurationError("No notebook is named.", hint="Send its path in the contents API.")
    return path


# -- the form ---------------------------------------------------------------------------------------------


@route("GET", "settings", "Settings")
def settings(hub: Hub) -> dict[str, Any]:
    """Return what the launch form starts with."""
    config, why = _settings(hub)
    names = [name for name in schema.fields("LaunchRequest") if name != "notebook"]
    return {
        "version": __version__,
        "gpus": [{"name": name, "memory": list(memory)} for name, memory in GPUS.items()],
        "clouds": provider_names(),
        "defaults": {name: getattr(config, name) for name in names},
        "help": {name: config.traits()[name].help for name in names},
        "daily_budget": config.daily_budget,
        "problem": why,
    }


def _settings(hub: Hub) -> tuple[GpuRemote, dict[str, Any] | None]:
    """Return the user's settings, or the built-in ones and why."""
    try:
        return hub.settings(), None
    except ConfigurationError as e:
        return GpuRemote(), problem(e)
