"""Cells of a notebook that become jobs, and jobs that are shown in a cell."""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import options
from .config import GpuRemote
from .errors import GpuRemoteError, VariableError
from .exchange import Exchange, Outgoing
from .exchange.ledger import Ledger
from .kernel import RemoteKernel
from .messages import Execution, Listener
from .notebook import Notebook
from .raised import remote_error
from .relay import Beside
from .status import StatusLine, for_shell
from .variables.names import names_of
from .verbs.begin import Running, Work, begin
from .verbs.job import Job
from .verbs.outcome import described

if TYPE_CHECKING:
    from .cells import RemoteCells
    from .crew import Crew
    from .environment import Needs
    from .sweeps import Request as Sweep

_QUESTIONS = 0.02
"""Seconds between looking whether a job that is shown has ended."""
_TITLE = 60
"""Characters."""


@contextmanager
def ends_unless_begun(crew: Crew | None) -> Iterator[None]:
    """Have the machines that are for a job alone let go of it where it does not begin."""
    try:
        yield
    except BaseException:
        if crew is not None:
            crew.end(False)
        raise


def detach(
    cells: RemoteCells, config: GpuRemote, cell: str, sweep: Sweep | None, code: str, crew: Crew | None
) -> Job:
    """Start a cell as a job; the notebook is attached to its machine, and its folder is there.

    Args:
        cells: The notebook's.
        config: The settings of the cell.
        cell: The cell as it is written.
        sweep: What it is swept over, if it is.
        code: What is run over there.
        crew: The machines beside the notebook's that work for it.

    The variables that the cell reads go with it, from here, or from the notebook's kernel over there; what
    it binds stays in the kernel of its own, unless --out says otherwise.
    """
    notebook = cells.notebook
    assert notebook.live is not None
    line = StatusLine(for_shell(cells.shell))
    lent = _lent(cells, sweep.reads if sweep else code) if config.auto_in else None
    listener = Beside(cells.relay)
    put, get = options.names(config.in_), options.names(config.out)

    if sweep is not None:
        sweep.begin(config, notebook.folder, lambda text: print(text, file=sys.stderr))

    def pack(exchange: Exchange) -> Outgoing:
        needs = functools.partial(cells.local.wants.current, config.env)
        if sweep is None:
            outgoing = exchange.pack(code, put, get, config.auto_in, needs)
        else:
            outgoing = sweep.pack(exchange, put, get, config.auto_in, needs)
        if lent is not None:
            lent.add_to(outgoing)
        return outgoing

    def sent(run: Running, execution: Execution) -> None:
        listener.remote = run.kernel
        if crew is not None:
            crew.kernel = run.kernel
        cells.relay.begin(execution, whole=True)

    def ended(job: Job, run: Running) -> None:
        cells.relay.end(run.execution)
        if crew is not None:
            crew.end(config.sync)
        if sweep is not None:
            sweep.finish(cells.shell.user_ns)
        saved = _bring(notebook, config, job, run.execution)
        line.end(" · ".join(filter(None, (described(job.row), saved, run.problem))))

    work = Work(
        sweep.code if sweep else code,
        title_of(cell),
        notebook.key,
        notebook.folder,
        cells.shell.user_ns,
        pack,
        imports=lent.imports if lent else {},
        elsewhere=lent.names if lent else (),
        cell_id=_cell_id(cells),
    )
    job = begin(notebook.live.machine, config, notebook.registry, work, listener, sent, ended)
    if not job.row.ended:
        line.end(f"job {job.id} runs on {job.machine}")
    return job


def detach_there(
    notebook: Notebook,
    config: GpuRemote,
    cell: str,
    needs: Needs | None,
    listener: Listener,
    show: Callable[[str], None],
    sweep: Sweep | None,
    code: str,
    crew: Crew | None,
) -> Job:
    """Start a cell of a notebook that lies on a machine as a whole as a job.

    Args:
        notebook: The notebook, attached to its machine.
        config: The settings of the cell.
        cell: The cell as it is written.
        needs: The packages that the notebook needs.
        listener: Gets the job's messages.
        show: Shows its live line.
        sweep: What the cell is swept over, if it is.
        code: What is run over there.
        crew: The machines beside the notebook's that work for it.
    """
    kernel, live = notebook.kernel, notebook.live
    assert kernel is not None and live is not None
    line, nothing = StatusLine(show), dict[str, Any]()
    ledger = Ledger(nothing)
    exchange = notebook.open_exchange(nothing, ledger)
    while exchange.is_new:
        asking = exchange.pack("", auto=False)
        said = kernel.execute("", silent=True, store_history=False, gpu_remote=asking.wish)
        exchange.settle(asking, said.future.result())
    reads = sweep.reads if sweep else code
    lent = _Lent(kernel, exchange, ledger, reads, lambda execution: execution.future.result())

    def pack(exchange: Exchange) -> Outgoing:
        outgoing = exchange.pack("", auto=False, needs=lambda modules: needs)
        lent.add_to(outgoing)
        return outgoing

    def sent(run: Running, execution: Execution) -> None:
        if crew is not None:
            crew.kernel = run.kernel

    def ended(job: Job, run: Running) -> None:
        if crew is not None:
            crew.end(config.sync)
        saved = _bring(notebook, config, job, run.execution)
        line.end(" · ".join(filter(None, (described(job.row), saved, run.problem))))

    code = sweep.code if sweep else code
    work = Work(code, title_of(cell), notebook.key, notebook.folder, nothing, pack, imports=lent.imports)
    job = begin(live.machine, config, notebook.registry, work, listener, sent, ended)
    if not job.row.ended:
        line.end(f"job {job.id} runs on {job.machine}")
    return job


def _cell_id(cells: RemoteCells) -> str:
    """Return what the frontend calls the cell that runs; empty where it does not say."""
    kernel = getattr(cells.shell, "kernel", None)
    return str(kernel.get_parent("shell").get("metadata", {}).get("cellId") or "") if kernel else ""


def title_of(cell: str) -> str:
    """Return the first line of a cell that says something."""
    lines = [line.strip() for line in cell.splitlines()]
    said = next((line for line in lines if line and not line.startswith(("%%", "import ", "from "))), "")
    return (said or next(filter(None, lines), ""))[:_TITLE]


def _bring(notebook: Notebook, config: GpuRemote, job: Job, execution: Execution) -> str:
    """Fetch the files that a job has written, if the notebook is still on its machine."""
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


def _lent(cells: RemoteCells, cell: str) -> _Lent:
    kernel, exchange = cells.notebook.kernel, cells.exchange
    assert kernel is not None and exchange is not None
    if exchange.is_new and kernel.has_run and not names_of(cell).reads <= cells.shell.user_ns.keys():
        cells.carry()  # it says what it has
    return _Lent(
        kernel,
        exchange,
        cells.local.ledger,
        cell,
        cells.waiting.in_line,
    )


class _Lent:
    """What a cell reads and only the notebook's kernel over there has: it goes from kernel to kernel.

    Args:
        kernel: That kernel.
        exchange: What moves its variables.
        ledger: Knows what it has.
        cell: The cell.
        wait: Waits for what the kernel does when it is free.

    Raises:
        VariableError: It can't be had there.
    """

    def __init__(
        self,
        kernel: RemoteKernel,
        exchange: Exchange,
        ledger: Ledger,
        cell: str,
        wait: Callable[[Execution], object],
    ) -> None:
        self.imports: dict[str, tuple[str, str]] = {}
        self.names = sorted(name for name in names_of(cell).reads if ledger.is_there(name))
        self._answer: dict[str, Any] = {}
        while self.names and not self._answer:
            outgoing = exchange.lend(self.names)
            asked = kernel.execute("", silent=True, store_history=False, gpu_remote=outgoing.wish)
            wait(asked)
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
            problem = _bring(cells.notebook, cells.config, job, execution)
    except KeyboardInterrupt:
        if not job.row.ended:
            print(f"job {job.id} goes on; `%remote cancel {job.id}` ends it")
        return
    if problem:
        print(problem)
    reply = execution.future.result()
    if reply["status"] != "ok":
        raise remote_error(reply, shown=False)
