"""Running the remote cells of one local kernel."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options, sweeps
from .config import GpuRemote, load_settings
from .errors import ConnectionLostError, GpuRemoteError
from .exchange import Exchange, Outgoing, alone
from .group import wanted, workers_of
from .kernel import Early, Execution, RemoteKernel
from .localside import LocalSide, key_of
from .magic import on_interrupt
from .model import GpuRequest, Machine
from .notebook import Notebook
from .raised import remote_error, show_once
from .relay import Relay
from .status import StatusLine, for_shell
from .storage.following import Following
from .sync import FolderSync

if TYPE_CHECKING:
    from .environment import Needs
    from .sweeps import Request as Sweep
    from .together import Together
    from .verbs.job import Job

_GIVE_UP_PRESSES = 3
_GIVE_UP_WITHIN = 5.0
"""Interrupts in so many seconds that show the user wants to leave, whatever the cell does."""

_ENDS_WITHIN = 0.3
"""Seconds between Jupyter's interrupt of a kernel that it ends and its request to end."""
_QUESTIONS = 0.02
"""Seconds between looking whether the cell asks something, where nothing wakes us."""
_PATIENCE = 1.0
"""Seconds that a wait may take before it is told of."""
_EXIT_LIMIT = 5.0


class RemoteCells:
    """What runs ``%%remote`` cells for one IPython shell.

    Args:
        shell: The shell, in a kernel or in a terminal.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.config = load_settings(shell.config)
        self.relay = Relay(shell, self._news)
        kernel = getattr(shell, "kernel", None)
        if kernel is not None:
            show_once(shell)
        self.notebook = Notebook(
            self.config,
            key_of(shell),
            Path.cwd(),
            self.relay,
            self.progress,
            self._warn_of_end,
            self._on_kernel,
        )
        self._status = StatusLine(for_shell(shell))
        # for other threads, which know no cell
        self._place = for_shell(shell)
        self._warned = False
        self._presses: list[float] = []
        self._keeps_folder = True
        self._on_press: Callable[[], Any] = _raise_interrupt
        self.local = LocalSide(shell)
        self.exchange: Exchange | None = None
        self._machine = ""
        self._job: Job | None = None
        self._sweep: Sweep | None = None
        self._following: Following | None = None
        self._next_cell: tuple[str, GpuRemote, bool] | None = None
        self._together: Together | None = None
        self._early: Early | None = None
        self._outgoing: tuple[Execution | None, Outgoing] = None, Outgoing({})
        self._parsed: dict[str, tuple[GpuRequest, GpuRemote]] = {}

    # -- a cell ---------------------------------------------------------------------------------------

    async def run(self, line: str, cell: str) -> Job | None:
        """Run a cell and let the local kernel's loop go on meanwhile."""
        loop = asyncio.get_running_loop()
        self._job = self._sweep = None
        self.local.nothing_ran()
        with self._errors_shown(line), on_interrupt(self._pressed):
            while execution := self._start(line, cell, whole=True):
                self.relay.wake = lambda: loop.call_soon_threadsafe(self._answer_input)
                self._on_press = functools.partial(loop.call_soon_threadsafe, self._interrupt, execution)
                over = asyncio.Event()
                execution.future.add_done_callback(lambda _: loop.call_soon_threadsafe(over.set))  # noqa: B023
                try:
                    await over.wait()
                finally:
                    self._on_press = _raise_interrupt
                if self._finish(execution):
                    break
        return self._job

    def run_blocking(self, line: str, cell: str) -> Job | None:
        """Run a cell and wait for its end."""
        sys.stdout.flush()  # what was printed before comes before
        self._job = self._sweep = None
        with self._errors_shown(line), on_interrupt(self._pressed):
            while (execution := self._start(line, cell)) and not self.wait(execution):
                pass
        return self._job

    def wait(self, execution: Execution) -> bool:
        """Wait for the end of a cell over there whose outputs appear here, and do what follows it.

        Returns:
            Whether it was run: the kernel may lack a variable that it was believed to have.
        """
        self._on_press = lambda: self._interrupt(execution)
        try:
            while not execution.future.done():
                futures.wait((execution.future,), _QUESTIONS)
                self._answer_input()
        finally:
            self._on_press = _raise_interrupt
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
        if config.dry_run:
            from .line import show_plan

            if self._sweep is not None:
                print(sweeps.told(self._sweep, self.shell.user_ns))
            show_plan(self, request, config)
            return None
        self._status = StatusLine(for_shell(self.shell))
        if not self._warned:
            self._place = for_shell(self.shell)
        self._presses.clear()
        notebook = self.notebook
        self._keeps_folder = config.sync
        self.local.wants.ran(cell)
        if self._sweep is not None:
            self.local.wants.ran(self._sweep.packages)
        if not notebook.is_ready(request):
            self._next_cell = cell, config, whole
            if execution := self._prepare_and_begin(request, config):
                return execution
        if notebook.mounts is not None:
            notebook.mounts.ensure(config, self._status.phase)
            self._status.end()
        if notebook.sync is not None and config.sync and self._transfer(notebook.sync.push):
            self.local.wants.folder_changed()
        if together := self._with_others(config):
            cell = together.before(config, cell)
        if config.detach:
            from .detached import detach

            self._job = detach(self, config, cell, self._sweep)
            return None
        assert notebook.kernel is not None and self.exchange is not None
        needs = functools.partial(self.local.wants.current, config.env)
        put, get = options.names(config.in_), options.names(config.out)
        if self._sweep is None:
            outgoing = self.exchange.pack(cell, put, get, config.auto_in, needs)
        else:
            self._sweep.begin(config, notebook.folder, _warn)
            outgoing = self._sweep.pack(self.exchange, put, get, config.auto_in, needs)
            cell = self._sweep.code
        self._status.end_progress()
        execution = notebook.kernel.execute(
            cell,
            begin=lambda execution: self.relay.begin(execution, whole),
            buffers=outgoing.parts,
            allow_stdin=self.relay.can_ask,
            gpu_remote=outgoing.wish,
        )
        self._outgoing = execution, outgoing
        return execution

    def _with_others(self, config: GpuRemote) -> Together | None:
        """Return what looks after machines beside this notebook's; None where there are none."""
        if self._together is None and self._may_have_others(config):
            from .together import Together

            self._together = Together(self)
        return self._together

    def _may_have_others(self, config: GpuRemote) -> bool:
        return bool(wanted(config) or config.launch or workers_of(self.notebook.registry, self._machine))

    def _prepare_and_begin(self, request: GpuRequest, config: GpuRemote) -> Execution | None:
        """Prepare for the next cell; return its execution if it has been started on the way."""
        try:
            self.prepare(request, config)
        finally:
            self._next_cell = None
            early, self._early = self._early, None
            if early and not early.began:
                self.relay.end(early.execution)
        return early.execution if early and early.began else None

    def _on_kernel(self, kernel: RemoteKernel, sync: FolderSync | None) -> Early | None:
        """Serve a new remote kernel; return the next cell if nothing has to go there before it."""
        self.relay.serve(kernel)
        if self._next_cell is None:
            return None
        cell, config, whole = self._next_cell
        takes_more = bool(config.in_ or config.out or config.mount or config.out_dir or config.detach)
        takes_more = takes_more or bool(wanted(config) or config.launch or config.sweep)
        if takes_more or self.local.wants.any(config.env):
            return None
        outgoing = alone(cell, self.shell.user_ns if config.auto_in else {})
        folder = sync.expects() if sync is not None and config.sync else None
        if outgoing is None or folder == "":
            return None
        self._early = early = kernel.early(
            cell, folder, allow_stdin=self.relay.can_ask, gpu_remote=outgoing.wish
        )
        self.relay.begin(early.execution, whole)
        self._outgoing = early.execution, outgoing
        return early

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
            self.wait_in_line(execution)
            done = self._finish(execution)
        return execution.future.result()["gpu_remote"], needs()

    def wait_in_line(self, execution: Execution) -> None:
        """Wait for what is no cell; one that runs over there comes first, and Ctrl-C leaves it alone."""
        if futures.wait((execution.future,), _PATIENCE).done:
            return
        self._status.phase("waiting for the cell that runs over there", "`%remote attach` shows it")
        try:
            while not execution.future.done():
                futures.wait((execution.future,), _QUESTIONS)
        finally:
            self._status.end()

    def prepare(self, request: GpuRequest, config: GpuRemote) -> Machine:
        """Attach this notebook to a machine that fits, launching it if need be; return it."""
        self.notebook.config = config
        if self.local.wants.any(config.env):  # what takes a moment to import is there when the machine is
            threading.Thread(target=importlib.import_module, args=(f"{__package__}.environment",)).start()
        before = self.notebook.kernel
        machine = self.notebook.prepare(request, self._status.phase)
        if self.notebook.kernel is before or self.notebook.kernel is None:
            self._status.end()
            return machine
        if before is None or before.id != self.notebook.kernel.id or self._machine != machine.name:
            self.local.ledger.forget()
        self._machine = machine.name
        self.exchange = self.notebook.open_exchange(self.shell.user_ns, self.local.ledger)
        self._status.end(f"{machine.offer.title} · {machine.name} · ready in {self._status.seconds:.1f} s")
        self._status = StatusLine(for_shell(self.shell))
        if self.notebook.unsynced and config.sync:
            _warn(self.notebook.unsynced)
        return machine

    def _finish(self, execution: Execution) -> bool:
        """Do what follows the end of a cell; return whether it was run."""
        was_run = True
        try:
            was_run = self._finished(execution)
        except BaseException:
            if self._sweep is not None:
                self._sweep.bring(self.notebook.folder, self.shell.user_ns)
            raise
        finally:
            if self._together is not None and was_run:
                self._together.end_of_sweep()
        if self._sweep is not None and was_run:
            self._sweep.finish(self.shell.user_ns)
        return was_run

    def _finished(self, execution: Execution) -> bool:
        shown = self.relay.end(execution)
        reply = execution.future.result()
        for payload in reply.get("payload", ()):
            self._carry_out(payload)
        for warning in execution.warnings():
            _warn(warning)
        if execution.files_changed and self._keeps_folder and self.notebook.sync is not None:
            self.notebook.sync.remote_changed()
            self._transfer(self.notebook.sync.pull)
        if self._together is not None:
            self._together.after(self._keeps_folder)
        self._follow_uploads()
        ours, outgoing = self._outgoing
        was_run = ours is not execution or self._settle(outgoing, reply)
        if reply["status"] != "ok":
            raise remote_error(reply, shown)
        return was_run

    def _follow_uploads(self) -> None:
        """Tell what the cell has written to buckets and is not there yet."""
        if self._following:
            self._following.stop()
        if self.notebook.mounts is not None:
            say, lives = StatusLine(for_shell(self.shell)).end, hasattr(self.shell, "kernel")
            self._following = Following(self.notebook.mounts, say, lives)

    def _settle(self, outgoing: Outgoing, reply: dict[str, Any]) -> bool:
        assert self.exchange is not None
        try:
            return self.exchange.settle(outgoing, reply)
        finally:
            self._status.end_progress()

    def _carry_out(self, payload: dict[str, Any]) -> None:
        """Do what the remote cell asks of the frontend."""
        source = payload.get("source")
        if source == "page":
            from IPython.core import page

            page.page(payload["data"], start=payload.get("start", 0))
        elif source == "set_next_input":
            self.shell.set_next_input(payload["text"], replace=payload.get("replace", False))
        elif source == "ask_exit" and not payload.get("keepkernel") and self.notebook.kernel:
            death = self.notebook.kernel.follow(RemoteKernel.new_id()).future
            futures.wait((death,), _EXIT_LIMIT)  # or it would come in the middle of the next cell
            death.cancel()
            _warn("The cell ended the remote kernel; its variables are gone. The next cell starts afresh.")

    def _transfer(self, move: Callable[[], Any]) -> bool:
        """Bring files out or back; return whether there were any."""
        report = move()
        for warning in report.warnings():
            _warn(warning)
        self._status.end_progress()
        return bool(report.sent)

    def progress(self, done: int, total: int, what: str) -> None:
        """Show how far a transfer is."""
        self._status.progress(what, done, total)

    def _answer_input(self) -> None:
        """Ask the user what the remote cell asks; Ctrl-C at the question interrupts the cell."""
        on_press, self._on_press = self._on_press, _raise_interrupt
        try:
            self.relay.answer_input()
        except KeyboardInterrupt:
            on_press()
        finally:
            self._on_press = on_press

    def _pressed(self, *_: Any) -> None:
        """Take a Ctrl-C."""
        self._on_press()

    def _interrupt(self, execution: Execution) -> None:
        """Pass Ctrl-C on; pressed again and again, leave the cell to itself."""
        now = time.monotonic()
        self._presses = [t for t in self._presses if now - t < _GIVE_UP_WITHIN] + [now]
        threading.Thread(target=self._interrupt_there, args=(execution,), daemon=True).start()
        if len(self._presses) >= _GIVE_UP_PRESSES:
            execution.fail(
                ConnectionLostError(
                    "The cell does not react to the interrupt; it was left running.",
                    billed="The machine still runs.",
                    hint="`%remote attach` shows it again, `%remote restart` ends it with its kernel.",
                )
            )

    def _interrupt_there(self, execution: Execution) -> None:
        """Interrupt a cell over there, unless the local kernel is being ended, which begins likewise."""
        ending, kernel = self.local.ending.wait(_ENDS_WITHIN), self.notebook.kernel
        if not ending and kernel:
            # one that is over here may run on over there; the next one is not what the user meant
            kernel.interrupt(execution.msg_id if execution.future.done() else "")

    def _news(self, text: str) -> None:
        """Show news about the connection, from any thread."""
        self._status.phase(text) if text else self._status.end()

    def _warn_of_end(self, text: str) -> None:
        """Show that the machine will end, in a line of its own, or take that away again; from any thread."""
        if text or self._warned:
            self._place(text)
        self._warned = bool(text)

    @contextmanager
    def _errors_shown(self, line: str) -> Iterator[None]:
        """Show our errors as messages, without our traceback, unless asked for it."""
        try:
            yield
        except (GpuRemoteError, KeyboardInterrupt) as e:
            if not (self.config.debug or "--debug" in line.split()):
                text = ": ".join(filter(None, (type(e).__name__, str(e))))
                e._render_traceback_ = lambda: text.splitlines()  # type: ignore[union-attr]
            raise

    # -- the line magic -------------------------------------------------------------------------------

    def verb(self, line: str) -> Any:
        """Carry out ``%remote VERB``."""
        from .line import carry_out

        self._status = StatusLine(for_shell(self.shell))
        self._presses.clear()
        with self._errors_shown(line), on_interrupt(self._pressed):
            carry_out(line, self)

    def report(self, phase: str, text: str) -> None:
        """Show what is going on in the status line of this cell; nothing, when there is no phase."""
        self._status.phase(phase, text) if phase else self._status.end()

    def close(self) -> None:
        """Let go of the machine, and leave the shell as it was."""
        if self._together is not None:
            self._together.close()
        self.notebook.detach()
        self.relay.close()
        self.local.close()
        self.shell.__dict__.pop("_showtraceback", None)


def _raise_interrupt() -> None:
    raise KeyboardInterrupt


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
