"""Running the remote cells of one local kernel."""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options, sweeps
from .config import GpuRemote, load_settings
from .exchange import Exchange, Outgoing
from .headstart import HeadStart
from .kernel import Execution
from .lent import Lent
from .localside import LocalSide, key_of
from .model import GpuRequest, Machine
from .notebook import Notebook
from .others import Face, Others
from .payloads import carry_out
from .raised import remote_error, show_once, without_traceback
from .relay import Relay
from .status import CellStatus, StatusLine, for_shell
from .storage.following import Following
from .waiting import Waiting

if TYPE_CHECKING:
    from .environment import Needs
    from .sweeps import Request as Sweep
    from .verbs import Desk
    from .verbs.job import Job


class RemoteCells:
    """What runs ``%%remote`` cells for one IPython shell.

    Args:
        shell: The shell, in a kernel or in a terminal.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.config = load_settings(shell.config)
        self.status = CellStatus(lambda: for_shell(shell))
        self.relay = Relay(shell, self.status.report)
        kernel = getattr(shell, "kernel", None)
        if kernel is not None:
            show_once(shell)
        self.local = LocalSide(shell)
        self._head_start = HeadStart(self.relay, self.local, shell.user_ns)
        self.notebook = Notebook(
            self.config,
            key_of(shell),
            Path.cwd(),
            self.relay,
            self.status.progress,
            self.status.warn,
            self._head_start.offer,
        )
        self._keeps_folder = True
        self.waiting = Waiting(
            self.relay, lambda: self.notebook.kernel, self.local.ending, self.status.report
        )
        self.exchange: Exchange | None = None
        self._machine = ""
        self._job: Job | None = None
        self._sweep: Sweep | None = None
        self._lent: Lent | None = None
        self._at_end = ExitStack()
        self._following = Following(lives=kernel is not None)
        needs = self.local.wants.current
        face = Face(self._desk, needs, lambda code: self.carry(code=code), _warn, self.status.done)
        self._others = Others(face)
        self._outgoing: tuple[Execution | None, Outgoing] = None, Outgoing({})
        self._parsed: dict[str, tuple[GpuRequest, GpuRemote]] = {}

    # -- a cell ---------------------------------------------------------------------------------------

    async def run(self, line: str, cell: str) -> Job | None:
        """Run a cell and let the local kernel's loop go on meanwhile."""
        self.local.nothing_ran()
        with self._cell(line):
            while execution := self._start(line, cell, whole=True):
                await self.waiting.until_over(execution)
                if self._finish(execution):
                    break
        return self._job

    def run_blocking(self, line: str, cell: str) -> Job | None:
        """Run a cell and wait for its end."""
        sys.stdout.flush()  # what was printed before comes before
        with self._cell(line):
            while (execution := self._start(line, cell)) and not self.wait(execution):
                pass
        return self._job

    @contextmanager
    def _cell(self, line: str) -> Iterator[None]:
        """Around a cell: show its errors, and pass Ctrl-C on."""
        self._job = self._sweep = self._lent = None
        with self._errors_shown(line), self.waiting.listening(), ExitStack() as self._at_end:
            yield

    def wait(self, execution: Execution) -> bool:
        """Wait for the end of a cell over there whose outputs appear here, and do what follows it.

        Returns:
            Whether it was run: the kernel may lack a variable that it was believed to have.
        """
        self.waiting.block(execution)
        return self._finish(execution)

    def _start(self, line: str, cell: str, whole: bool = False) -> Execution | None:
        try:
            request, config = self._parsed.get(line) or options.parse(line, self.config)
        except options.HelpRequested as help:
            print(help)
            return None
        self._parsed[line] = request, config
        if sweeps.wanted(config) and self._sweep is None:
            self._sweep = sweeps.request(config, cell)
            if not (config.keep or config.detach or config.dry_run):
                self._lent = self._at_end.enter_context(self._others.lent(with_head=True))
        if config.dry_run:
            from .line import show_plan

            if self._sweep is not None:
                print(sweeps.told(self._sweep, self.shell.user_ns))
            show_plan(self, request, config)
            return None
        self.status.new_cell()
        notebook = self.notebook
        self._keeps_folder = config.sync
        self.local.wants.ran(cell)
        if config.engine:
            self.local.wants.ran(f"import {config.engine}")
        if self._sweep is not None:
            self.local.wants.ran(self._sweep.packages)
        if not notebook.is_ready(request):
            self._head_start.aim(cell, config, whole)
            if execution := self._prepare_and_begin(request, config):
                return execution
        if notebook.mounts is not None:
            notebook.mounts.ensure(config, self.status.report)
            self.status.report("")
        if notebook.sync is not None and config.sync and self._transfer(notebook.sync.push):
            self.local.wants.folder_changed()
        code, crew = self._others.before(notebook, config, cell)
        if config.detach:
            from .detached import detach, ends_unless_begun

            with ends_unless_begun(crew):
                self._job = detach(self, config, cell, self._sweep, code, crew)
            return None
        assert notebook.kernel is not None and self.exchange is not None
        needs = functools.partial(self.local.wants.current, config.env)
        put, get = options.names(config.in_), options.names(config.out)
        if self._sweep is None:
            outgoing = self.exchange.pack(code, put, get, config.auto_in, needs)
        else:
            self._sweep.begin(config, notebook.folder, _warn)
            outgoing = self._sweep.pack(self.exchange, put, get, config.auto_in, needs)
            code = self._sweep.code
        self.status.end_progress()
        execution = notebook.kernel.execute(
            code,
            begin=lambda execution: self.relay.begin(execution, whole),
            buffers=outgoing.parts,
            allow_stdin=self.relay.can_ask,
            gpu_remote=outgoing.wish,
        )
        self._outgoing = execution, outgoing
        if self._lent is not None:
            self._lent.execution = execution
        return execution

    def _desk(self) -> Desk:
        from .line import desk_of

        return desk_of(self)

    def _prepare_and_begin(self, request: GpuRequest, config: GpuRemote) -> Execution | None:
        """Prepare for the next cell; return its execution if it has been started on the way."""
        try:
            self.prepare(request, config)
        finally:
            began = self._head_start.take()
        if began:
            self._outgoing = began
        return began[0] if began else None

    def carry(
        self, put: Sequence[str] = (), get: Sequence[str] = (), code: str = "", **wish: Any
    ) -> tuple[dict[str, Any], Needs | None]:
        """Move variables to the notebook's machine or from there, without a cell.

        Args:
            put: What to send.
            get: What to bring here.
            code: What else is to be run there.
            wish: What else is asked of the kernel.

        Returns:
            The kernel's answer, and which packages the notebook needs.
        """
        if not self.notebook.is_ready(GpuRequest()):
            self.prepare(GpuRequest(), self.config)
        kernel = self.notebook.kernel
        assert kernel is not None and self.exchange is not None
        needs = functools.partial(self.local.wants.current, self.notebook.config.env)
        done = False
        while not done:
            outgoing = self.exchange.pack("", put, get, auto=False, needs=needs)
            outgoing.wish.update(wish)
            execution = kernel.execute(
                code, buffers=outgoing.parts, silent=True, store_history=False, gpu_remote=outgoing.wish
            )
            self._outgoing = execution, outgoing
            self.waiting.in_line(execution)
            done = self._finished(execution)
        return execution.future.result()["gpu_remote"], needs()

    def prepare(self, request: GpuRequest, config: GpuRemote) -> Machine:
        """Attach this notebook to a machine that fits, launching it if need be; return it."""
        self.notebook.config = config
        if self.local.wants.any(config.env):  # what takes a moment to import is there when the machine is
            threading.Thread(target=importlib.import_module, args=(f"{__package__}.environment",)).start()
        before = self.notebook.kernel
        machine = self.notebook.prepare(request, self.status.report)
        if self.notebook.kernel is before or self.notebook.kernel is None:
            self.status.report("")
            return machine
        if before is None or before.id != self.notebook.kernel.id or self._machine != machine.name:
            self.local.ledger.forget()
        self._machine = machine.name
        self.exchange = self.notebook.open_exchange(self.shell.user_ns, self.local.ledger)
        self.status.ready(f"{machine.offer.title} · {machine.name}")
        if self.notebook.unsynced and config.sync:
            _warn(self.notebook.unsynced)
        return machine

    def _finish(self, execution: Execution) -> bool:
        """Do what follows the end of a cell; return whether it was run."""
        try:
            was_run = self._finished(execution)
        except BaseException:
            if self._sweep is not None:
                self._sweep.bring(self.notebook.folder, self.shell.user_ns)
            raise
        if self._sweep is not None and was_run:
            self._sweep.finish(self.shell.user_ns)
        return was_run

    def _finished(self, execution: Execution) -> bool:
        shown = self.relay.end(execution)
        reply = execution.future.result()
        for payload in reply.get("payload", ()):
            if said := carry_out(payload, self.shell, self.notebook.kernel):
                _warn(said)
        for warning in execution.warnings():
            _warn(warning)
        if execution.files_changed and self._keeps_folder and self.notebook.sync is not None:
            self.notebook.sync.remote_changed()
            self._transfer(self.notebook.sync.pull)
        self._others.after(self._keeps_folder)
        self._following.cell_ended(self.notebook.mounts, StatusLine(for_shell(self.shell)).end)
        ours, outgoing = self._outgoing
        was_run = ours is not execution or self._settle(outgoing, reply)
        if reply["status"] != "ok":
            raise remote_error(reply, shown)
        return was_run

    def _settle(self, outgoing: Outgoing, reply: dict[str, Any]) -> bool:
        assert self.exchange is not None
        try:
            return self.exchange.settle(outgoing, reply)
        finally:
            self.status.end_progress()

    def _transfer(self, move: Callable[[], Any]) -> bool:
        """Bring files out or back; return whether there were any."""
        report = move()
        for warning in report.warnings():
            _warn(warning)
        self.status.end_progress()
        return bool(report.sent)

    def _errors_shown(self, line: str) -> AbstractContextManager[None]:
        return nullcontext() if self.config.debug or "--debug" in line.split() else without_traceback()

    def verb(self, line: str) -> Any:
        """Carry out ``%remote VERB``."""
        from . import line as verbs

        self.status.new_cell()
        self._sweep = None  # what a verb waits for is not its end
        with self._errors_shown(line), self.waiting.listening():
            verbs.carry_out(line, self)

    def close(self) -> None:
        """Let go of the machine, and leave the shell as it was."""
        self._others.close()
        self.notebook.detach()
        self.relay.close()
        self.local.close()
        self.shell.__dict__.pop("_showtraceback", None)


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
