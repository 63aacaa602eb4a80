"""``%remote``: the verbs in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import options
from .config import GpuRemote
from .detached import show
from .fleet import Fleet
from .model import GpuRequest
from .options import names
from .tables import Rich, table
from .verbs import SHARED, Desk, Verbs, argument, split
from .verbs.attach import attach
from .verbs.jobs import JOB, job_of
from .verbs.offered import plan_table
from .verbs.overview import as_table

if TYPE_CHECKING:
    from .cells import RemoteCells

_PROG = "%remote"
_NAMES = argument("variables", nargs="+", metavar="VARIABLE", help="their names")
_OF_JOB = argument("--job", type=int, metavar="N", help="the job that has them")


def carry_out(line: str, cells: RemoteCells) -> None:
    """Do what the line says for the notebook of `cells`; without a verb, show the machines.

    Raises:
        GpuRemoteError: It cannot be done.
    """
    desk = desk_of(cells)
    words = split(line)
    if not words:
        return _show_machines(desk, cells)
    verbs = Verbs(dict(SHARED.known))

    @verbs.verb("Show a job, or the cell that runs over there or ran last, in this cell.", JOB, name="attach")
    def _attach(desk: Desk, job: int | None) -> None:
        if job is not None:
            show(cells, job_of(desk, job))
        elif why := attach(cells):
            desk.say(why)

    @verbs.verb("Bring variables of the machine here, or of a job.", _NAMES, _OF_JOB, name="get")
    def _get(desk: Desk, variables: list[str], job: int | None) -> None:
        if job is None:
            return _carry(desk, cells, get=variables)
        wanted = [name for listed in variables for name in names(listed)]
        found = job_of(desk, job).get(*wanted)
        cells.shell.user_ns.update(zip(wanted, found if wanted[1:] else (found,), strict=True))

    @verbs.verb("Send variables to the machine, whatever their size.", _NAMES, name="put")
    def _put(desk: Desk, variables: list[str]) -> None:
        _carry(desk, cells, put=variables)

    @verbs.verb("Show the packages of the notebook, with their versions here and there.", name="env")
    def _env(desk: Desk) -> None:
        _show_packages(desk, cells)

    @verbs.verb("Show where Dask's dashboard of this notebook's cluster is.", name="dashboard")
    def _dashboard(desk: Desk) -> None:
        from .tunnel import dashboard

        desk.say(dashboard(cells.notebook))

    try:
        act = verbs.parse(words, desk)
    except options.HelpRequested as help:
        print(help)
        return
    act()


def show_plan(cells: RemoteCells, request: GpuRequest, config: GpuRemote) -> None:
    """Show what a launch would try."""
    _say(plan_table(Fleet(config, cells.notebook.registry), request))


def _carry(desk: Desk, cells: RemoteCells, put: Sequence[str] = (), get: Sequence[str] = ()) -> None:
    desk.machine()  # or there would be one made for this
    cells.carry([n for name in put for n in names(name)], [n for name in get for n in names(name)])


def _show_packages(desk: Desk, cells: RemoteCells) -> None:
    from .environment import compare, versions_here

    desk.machine()
    answer, needs = cells.carry(versions=True)
    there = answer["versions"]
    rows = compare(versions_here(), there, needs.names if needs else ())
    if needs:
        desk.say(f"From {needs.source}:")
    desk.say(
        table(("", "here", "there", ""), [(row.name, row.local, row.remote, row.remark) for row in rows])
    )
    if step := answer["step"]:
        desk.say(f"Being installed now: {step}.")
    for note in needs.notes if needs else ():
        desk.say(note)


def desk_of(cells: RemoteCells) -> Desk:
    """Return where the verbs of a notebook are used."""
    notebook = cells.notebook
    return Desk(
        prog=_PROG,
        config=cells.config,
        registry=notebook.registry,
        folder=notebook.folder,
        notebook=notebook,
        say=_say,
        report=cells.status.report,
        progress=cells.status.progress,
        launch=cells.prepare,
    )


def _say(text: str) -> None:
    if not isinstance(text, Rich):
        print(text)
        return
    from IPython.display import display

    display({"text/plain": text, "text/html": text.html}, raw=True)


def _show_machines(desk: Desk, cells: RemoteCells) -> None:
    if getattr(cells.shell, "kernel", None) is None:
        print(as_table(desk))
        return
    from IPython.display import display

    from .panel import panel_for

    display(panel_for(desk))
