"""What the server does, and what the user has run unattended."""

from __future__ import annotations

from typing import Any

from ..hub import Hub
from ..jobs import Job
from .table import route


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


@route("GET", "runs/{id}/cell", "RunCell", visits=True)
def run_cell(hub: Hub, id: str) -> dict[str, Any]:
    """Return what belongs below the cell of one."""
    return hub.runs.cell(id)


@route("GET", "runs/{id}/output", "RunOutput", takes="OutputQuery", visits=True)
def run_output(hub: Hub, id: str, query: dict[str, Any]) -> dict[str, Any]:
    """Return what one has put out."""
    return hub.runs.output(id, query.get("since", 0))
