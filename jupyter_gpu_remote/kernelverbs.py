"""``%remote`` lines typed into a kernel that lies on a machine as a whole."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import options
from .config import GpuRemote
from .frontends import Frontends, Request
from .messages import Message
from .model import GpuRequest, Machine
from .notebook import Notebook
from .status import CellStatus
from .sweeps import record
from .verbs import SHARED, Desk, Verbs, split
from .verbs.attach import Replay
from .verbs.job import Job
from .verbs.jobs import JOB, job_of
from .verbs.overview import as_table

_PROG = "%remote"

Prepare = Callable[[GpuRequest, GpuRemote], Machine]


def desk_in(
    cell: Request,
    config: GpuRemote,
    notebook: Notebook,
    front: Frontends,
    status: CellStatus,
    prepare: Prepare,
) -> Desk:
    """Return where the verbs of a cell are used.

    Args:
        cell: The cell that outputs belong to.
        config: The user's settings.
        notebook: The notebook.
        front: Where they go.
        status: The line that tells what is going on.
        prepare: Makes a machine ready for use here.
    """
    return Desk(
        prog=_PROG,
        config=config,
        registry=notebook.registry,
        folder=notebook.folder,
        notebook=notebook,
        say=functools.partial(front.say, cell),
        report=status.report,
        progress=status.progress,
        launch=prepare,
    )


def carry_out(line: str, desk: Desk, shown: InCell) -> dict[str, Any]:
    """Do what a line says.

    Args:
        line: What follows ``%remote``.
        desk: Where it is used, in a notebook.
        shown: Shows messages of other cells in this one.

    Returns:
        What the reply of the cell says beyond that all is well.

    Raises:
        GpuRemoteError: It cannot be done.
    """
    reply: dict[str, Any] = {}
    verbs = Verbs(dict(SHARED.known))

    @verbs.verb("Show a job, or the cell that runs over there or ran last, in this cell.", JOB, name="attach")
    def _attach(desk: Desk, job: int | None) -> None:
        if job is not None:
            reply.update(_show(job_of(desk, job), shown))
            return
        reply.update(_replay(desk, shown))

    words = split(line)
    try:
        act = verbs.parse(words, desk) if words else lambda: desk.say(as_table(desk))
    except options.HelpRequested as help:
        desk.say(str(help))
    else:
        act()
    return reply


@dataclasses.dataclass
class InCell:
    """Show the messages of another cell in this one."""

    front: Frontends
    cell: Request

    def message(self, message: Message) -> None:
        """Pass a message on as one of this cell."""
        if message.type == record.MESSAGE:
            record.take(Path.cwd(), message.content)
        elif message.type not in ("status", "execute_input", "execute_reply"):
            header, _, *rest = message.parts
            parts = [header, json.dumps(self.cell.header, default=str).encode(), *rest]
            self.front.pass_on(dataclasses.replace(message, parts=parts, parent=self.cell.header))

    def connection(self, text: str) -> None:
        """Nothing is said: the notebook's own connection says the same."""


def _show(job: Job, listener: InCell) -> dict[str, Any]:
    """Show a job from its first output on; return its reply."""
    with job.replay(listener) as (execution, _):
        reply = execution.future.result()
        job.note_end(execution)
        return reply


def _replay(desk: Desk, listener: InCell) -> dict[str, Any]:
    """Show a cell of the notebook's remote kernel from its first output on; return its reply."""
    notebook = desk.notebook
    assert notebook is not None
    name = notebook.registry.binding(notebook.key)
    if name is None or notebook.registry.get(name).state.final:
        desk.say("There is nothing to attach to: this notebook has no machine.")
        return {}
    desk.launch(GpuRequest(on=name), notebook.config)
    assert notebook.live is not None
    replay = Replay(notebook.kernel_id, notebook.live.connect, notebook.config.reconnect_timeout, listener)
    if replay.empty:
        desk.say(f"There is nothing to attach to: the kernel on {name} has run no cell.")
        return {}
    try:
        execution = replay.start()
        if replay.question is not None:
            listener.message(replay.question)
        return execution.future.result()
    finally:
        replay.kernel.close()
