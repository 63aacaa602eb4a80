"""Cells of a notebook that become jobs, and jobs that are shown in a cell."""

from __future__ import annotations

import base64
import functools
from concurrent import futures
from typing import TYPE_CHECKING, Any

from . import options
from .config import GpuRemote
from .errors import GpuRemoteError, VariableError
from .exchange import Exchange, Outgoing
from .messages import Execution
from .raised import remote_error
from .status import StatusLine, for_shell
from .variables.names import names_of
from .verbs.job import Job, Running, Work, begin, described

if TYPE_CHECKING:
    from .cells import RemoteCells

_QUESTIONS = 0.02
"""Seconds between looking whether a job that is shown has ended."""
_TITLE = 60
"""Characters."""


def detach(cells: RemoteCells, config: GpuRemote, cell: str) -> Job:
    """Start a cell as a job; the notebook is attached to its machine, and its folder is there.

    The variables that the cell reads go with it, from here, or from the notebook's kernel over there; what
    it binds stays in the kernel of its own, unless --out says otherwise.
    """
    notebook = cells.notebook
    assert notebook.live is not None
    line = StatusLine(for_shell(cells.shell))
    lent = _Lent(cells, cell) if config.auto_in else None
    put, get = options.names(config.in_), options.names(config.out)

    def pack(exchange: Exchange) -> Outgoing:
        needs = functools.partial(cells.local.wants.current, config.env)
        outgoing = exchange.pack(cell, put, get, config.auto_in, needs)
        if lent is not None:
            lent.add_to(outgoing)
        return outgoing

    def ended(job: Job, run: Running) -> None:
        cells.relay.end(run.execution)
        saved = _fetch(cells, config, job, run.execution)
        line.end(" · ".join(filter(None, (described(job.row), saved, run.problem))))

    job = begin(
        notebook.live.machine,
        config,
        notebook.registry,
        Work(
            cell,
            title_of(cell),
            notebook.key,
            notebook.folder,
            cells.shell.user_ns,
            pack,
            imports=lent.imports if lent else {},
            elsewhere=lent.names if lent else (),
        ),
        cells.relay,
        lambda _, execution: cells.relay.begin(execution, whole=True),
        ended,
    )
    if not job.row.ended:
        line.end(f"job {job.id} runs on {job.machine}")
    return job


def title_of(cell: str) -> str:
    """Return the first line of a cell that says something."""
    lines = [line.strip() for line in cell.splitlines()]
    said = next((line for line in lines if line and not line.startswith(("%%", "import ", "from "))), "")
    return (said or next(filter(None, lines), ""))[:_TITLE]


def _fetch(cells: RemoteCells, config: GpuRemote, job: Job, execution: Execution) -> str:
    """Fetch the files that a job has written, if the notebook is still on its machine."""
    notebook = cells.notebook
    sync, live = notebook.sync, notebook.live
    if not execution.files_changed or not config.sync or sync is None or live is None:
        return ""
    if live.machine.name != job.machine:
        return f"its files are on {job.machine}"
    try:
        sync.remote_changed()
        report = sync.pull()
    except GpuRemoteError as e:
        return f"its files could not be fetched: {e.message}"
    return " ".join(report.warnings())


class _Lent:
    """What a cell reads and only the notebook's kernel over there has: it goes from kernel to kernel.

    Args:
        cells: The notebook's.
        cell: The cell.

    Raises:
        VariableError: It can't be had there.
    """

    def __init__(self, cells: RemoteCells, cell: str) -> None:
        self.names: list[str] = []
        self.imports: dict[str, tuple[str, str]] = {}
        self._answer: dict[str, Any] = {}
        kernel, exchange, ledger = cells.notebook.kernel, cells.exchange, cells.local.ledger
        assert kernel is not None and exchange is not None
        reads = names_of(cell).reads
        if exchange.is_new and kernel.has_run and not reads <= cells.shell.user_ns.keys():
            cells.carry()  # it says what it has
        self.names = sorted(name for name in reads if ledger.is_there(name))
        while self.names and not self._answer:
            outgoing = exchange.lend(self.names)
            asked = kernel.execute("", silent=True, store_history=False, gpu_remote=outgoing.wish)
            cells.wait_in_line(asked)
            self._take(exchange, outgoing, asked)

    def _take(self, exchange: Exchange, outgoing: Outgoing, asked: Execution) -> None:
        reply = asked.future.result()
        answer = reply["gpu_remote"]
        if failed := answer.pop("failed", ""):
            raise VariableError(
                f"{', '.join(self.names)} can't go to a job: {failed}.",
                hint="Run the cell without --detach, or have it make what it needs.",
            )
        given = answer.pop("given", None)
        if exchange.settle(outgoing, reply):
            self._answer = {"given": given, "parts": answer["parts"]}
            self.imports = {name: (module, path) for name, (module, path) in answer["imports"].items()}

    def add_to(self, outgoing: Outgoing) -> None:
        """Have it go with a cell."""
        if not self._answer:
            return
        outgoing.wish["take"] = [*outgoing.wish.get("take", ()), self._answer["given"]]
        inline = [base64.b64decode(text) for text in self._answer["parts"].values()]
        outgoing.parts = [*outgoing.parts, *inline]


def show(cells: RemoteCells, job: Job) -> None:
    """Show a job in the cell that runs now, from its first output on, until it ends; Ctrl-C leaves it alone.

    Raises:
        Exception: What the job raised.
        GpuRemoteError: Its outputs can't be had.
    """
    try:
        with job.replay(cells.relay, cells.relay.begin) as (execution, _):
            while not execution.future.done():
                futures.wait((execution.future,), _QUESTIONS)
            cells.relay.end(execution)
            job.note_end(execution)
            problem = _fetch(cells, cells.config, job, execution)
    except KeyboardInterrupt:
        if not job.row.ended:
            print(f"job {job.id} goes on; `%remote cancel {job.id}` ends it")
        return
    if problem:
        print(problem)
    reply = execution.future.result()
    if reply["status"] != "ok":
        raise remote_error(reply, shown=False)
