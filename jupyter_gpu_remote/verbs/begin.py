"""Beginning a job: a cell or a script that runs unattended, in a kernel of its own on its machine."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import GpuRemote
from ..errors import GpuRemoteError
from ..exchange.ledger import Ledger
from ..exchanging import exchange_with
from ..kernel import RemoteKernel
from ..messages import Execution, Listener
from ..model import Machine
from ..registry import Registry
from ..sync.movers import silent
from ..synced import remote_folder_of
from .job import Job, Outputs, begun_here
from .visit import Visit

if TYPE_CHECKING:
    from ..exchange import Exchange, Outgoing

_BEGIN_LIMIT = 120.0
"""Seconds for a cell to begin, its variables being there."""


@dataclass
class Work:
    """What a job does.

    Attributes:
        code: The cell.
        title: What it is called in lists.
        notebook: The key of the notebook that it belongs to.
        folder: Its folder here.
        namespace: Where its variables come from and go to.
        pack: Returns what goes with the cell, given what moves its variables.
        once: Whether its variables are of no use to anybody once it has ended.
        imports: Modules that its variables look up: module and name in it, by variable.
        elsewhere: Variables that do not come from `namespace`.
        cell_id: What the notebook calls its cell.
    """

    code: str
    title: str
    notebook: str
    folder: Path
    namespace: MutableMapping[str, Any]
    pack: Callable[[Exchange], Outgoing]
    once: bool = False
    imports: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    elsewhere: Sequence[str] = ()
    cell_id: str = ""


class Running:
    """A job that this process has begun, until it ends; `closed` then.

    Args:
        there: Its machine.
        kernel: Its kernel.
        exchange: What moves its variables.
        outputs: Sees its messages.
    """

    def __init__(self, there: Visit, kernel: RemoteKernel, exchange: Exchange, outputs: Outputs) -> None:
        self.there, self.kernel, self.exchange, self.outputs = there, kernel, exchange, outputs
        self.execution: Execution
        self.outgoing: Outgoing
        self.closed = threading.Event()
        self.problem = ""

    def send(self, work: Work, sent: Callable[[Running, Execution], None]) -> None:
        """Start the cell, and wait until it has begun."""
        if work.imports:
            self.kernel.execute(_importing(work.imports), silent=True, store_history=False)
        while True:
            self.outgoing = work.pack(self.exchange)
            self.execution = self.kernel.execute(
                work.code,
                begin=lambda execution: sent(self, execution),
                buffers=self.outgoing.parts,
                allow_stdin=False,
                gpu_remote=self.outgoing.wish,
            )
            self.execution.future.add_done_callback(lambda _: self.outputs.begun.set())
            self.outputs.begun.wait(_BEGIN_LIMIT)
            if not self.execution.future.done():
                return
            reply = self.execution.future.result()
            if not (reply.get("gpu_remote") or {}).get("refused"):
                return
            self.exchange.settle(self.outgoing, reply)
            self.outputs.begun.clear()

    def close(self) -> None:
        """Let go of the job; it goes on over there."""
        self.kernel.close()
        self.there.close()
        self.closed.set()


def begin(
    machine: Machine,
    config: GpuRemote,
    registry: Registry,
    work: Work,
    listener: Listener | None = None,
    sent: Callable[[Running, Execution], None] = lambda run, execution: None,
    ended: Callable[[Job, Running], None] = lambda job, run: None,
) -> Job:
    """Start a job.

    Args:
        machine: Where; it is ready.
        config: The user's settings.
        registry: Where it is written down.
        work: What it does.
        listener: Gets its messages.
        sent: Called with its cell before that is sent.
        ended: Called in a thread of its own after its end, while it is still connected.

    Raises:
        GpuRemoteError: It was not started.
    """
    kernel_id = f"job-{uuid.uuid4().hex[:12]}"
    row = registry.jobs.add(
        work.notebook, machine.name, kernel_id, work.title, str(work.folder), work.cell_id
    )
    outputs = Outputs(listener)

    def note(run: Running, execution: Execution) -> None:
        registry.jobs.sent(row.id, execution.msg_id)
        sent(run, execution)

    try:
        there = Visit(machine, config, registry)
        cwd = remote_folder_of(there.live, work.folder)
        kernel = there.live.kernel(kernel_id, cwd, outputs, {}, work.once)
        try:
            kernel.open()
            ledger = Ledger(work.namespace)
            ledger.ran_there(work.elsewhere)
            where = there.live, kernel, cwd, registry, config, silent
            run = Running(there, kernel, exchange_with(*where, work.namespace, ledger), outputs)
            run.send(work, note)
        except BaseException:
            with suppress(GpuRemoteError):
                kernel.request("stop", kernel=kernel_id)
            kernel.close()
            there.close()
            raise
    except BaseException:
        registry.jobs.forget(row.id)
        raise
    begun_here[registry.path, row.id] = run
    job = Job(row, config, registry)

    def over(_: Any) -> None:
        threading.Thread(target=_finish, args=(job, run, ended), name=f"job {job.id}", daemon=True).start()

    run.execution.future.add_done_callback(over)
    return job


def _finish(job: Job, run: Running, ended: Callable[[Job, Running], None]) -> None:
    """Do what follows the end of a job that this process has begun."""
    try:
        job.note_end(run.execution)
        try:
            run.exchange.settle(run.outgoing, run.execution.future.result())
        except GpuRemoteError as e:
            run.problem = e.message
        ended(job, run)
    finally:
        begun_here.pop((job.registry.path, job.id), None)
        run.close()


def _importing(imports: Mapping[str, tuple[str, str]]) -> str:
    lines = ["import importlib as _importlib, operator as _operator"]
    for name, (module, path) in imports.items():
        found = f"_importlib.import_module({module!r})"
        lines.append(f"{name} = {f'_operator.attrgetter({path!r})({found})' if path else found}")
    return "\n".join([*lines, "del _importlib, _operator"])
