"""How the kernel "Python (remote GPU)" carries out one cell, on the machine that it gets for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets.config import Config

from . import options, sweeps
from .agent import wire
from .config import GpuRemote, load_settings
from .detached import detach_there, ends_unless_begun
from .errors import GpuRemoteError, KernelError
from .fleet import Fleet
from .frontends import Frontends, Request
from .interrupts import Interrupts
from .kernel import Execution, Message, RemoteKernel
from .kernelpackages import Bringer
from .kernelverbs import InCell, carry_out, desk_in
from .lent import Lent
from .model import GpuRequest, Machine
from .notebook import Notebook
from .others import Face, Others
from .status import CellStatus, StatusLine, in_cell
from .storage.following import Following
from .sweeps import record
from .typed import read_cell
from .unready import Passage
from .verbs import Desk
from .verbs.offered import plan_table

if TYPE_CHECKING:
    from .sweeps import Request as Sweep


class RelayedCells:
    """The notebook, and the cells that go to its machine one after another.

    Args:
        front: The frontends.
        interrupts: What Ctrl-C does.
        key: The notebook, as machines know it.
        given: Settings that come before all others.
        stop: Called with a cell that has failed over there, before its reply goes out.
    """

    def __init__(
        self,
        front: Frontends,
        interrupts: Interrupts,
        key: str,
        given: Config,
        stop: Callable[[Request], None],
    ) -> None:
        self.notebook: Notebook | None = None
        self.passage = Passage(front, lambda: self.kernel)
        self._front = front
        self._interrupts = interrupts
        self._key = key
        self._given = given
        self._settings = GpuRemote()
        self._stop = stop
        self._latest: Request | None = None
        self._lent: Lent | None = None
        self._status = CellStatus(lambda: self._place(self._latest) if self._latest else None)
        self._count = 0
        self._execution: Execution | None = None
        self._replies: dict[str, Message] = {}
        self._bringer = Bringer()
        self._following = Following(lives=True)
        self._others = Others(
            Face(self._desk, self._bringer.needs, self._carry, self._tell, self._status.done)
        )

    @property
    def kernel(self) -> RemoteKernel | None:
        """The remote kernel, if there is one now."""
        kernel = self.notebook.kernel if self.notebook is not None else None
        return kernel if kernel is not None and kernel.is_open else None

    @property
    def runs(self) -> bool:
        """Whether a cell runs over there."""
        return self._execution is not None

    def prepare_early(self) -> None:
        """Get the machine before a cell needs it, unless that would rent one for a notebook only opened.

        Raises:
            GpuRemoteError: There is none.
        """
        with self.passage.waits(), self._interrupts.raised():
            notebook = self._open_notebook()
            request = options.request(notebook.config)
            if not request.costs_money or notebook.fleet.find(request, notebook.key):
                self._prepare(request, notebook.config)

    def carry_out(self, cell: Request) -> None:
        """Do what a cell says, and reply to it.

        Raises:
            GpuRemoteError: It cannot be done; the cell waits for its reply.
            KeyboardInterrupt: It was interrupted on the way there, or this process is to end.
        """
        self._latest = cell
        self._status.new_cell()
        typed, notebook = read_cell(cell.content["code"]), self._open_notebook()
        if typed.verbs:
            return self._carry_out_verbs(cell, typed.verbs)
        try:
            request, config = options.parse(typed.options or "", self._settings)
        except options.HelpRequested as help:
            self._front.say(cell, str(help))
            return self._succeed(cell)
        sweep = sweeps.request(config, typed.code) if sweeps.wanted(config) else None
        if config.dry_run:
            if sweep is not None:
                self._front.say(cell, sweeps.told(sweep, {}))
            self._front.say(cell, plan_table(Fleet(config, notebook.registry), request))
            return self._succeed(cell)
        lent = sweep and not (config.keep or config.detach)
        with self._others.lent(with_head=False) if lent else nullcontext() as self._lent:
            self._run(cell, typed.code, notebook, request, config, sweep)

    def _run(
        self,
        cell: Request,
        source: str,
        notebook: Notebook,
        request: GpuRequest,
        config: GpuRemote,
        sweep: Sweep | None,
    ) -> None:
        self._make_ready(cell, notebook, request, config)
        for needed in (source, sweep.packages if sweep else "", config.engine and f"import {config.engine}"):
            self._bringer.will_run(needed)
        with self._interrupts.raised():
            code, crew = self._others.before(notebook, config, source)
        with ends_unless_begun(crew):
            if sweep is not None:
                sweep.begin(config, notebook.folder, lambda text: self._warn(cell, [text]))
                sweep.frame = True
                code = sweep.code
            if not config.detach:
                return self._run_there(notebook, cell, code, config)
            with self._interrupts.raised():
                needs = self._bringer.needs(config.env)
                shown = InCell(self._front, cell), self._place(cell)
                detach_there(notebook, config, source, needs, *shown, sweep, code, crew)
        self._succeed(cell)

    def _make_ready(self, cell: Request, notebook: Notebook, request: GpuRequest, config: GpuRemote) -> None:
        """Get a machine for a cell, with buckets and files as they are to be."""
        if not notebook.is_ready(request):
            with self.passage.waits(), self._interrupts.raised():
                self._prepare(request, config)
        if notebook.mounts is not None:
            with self._interrupts.raised():
                notebook.mounts.ensure(config, self._status.report)
            self._status.report("")
        if notebook.sync is not None and config.sync:
            with self._interrupts.raised():
                pushed = notebook.sync.push()
                self._warn(cell, pushed.warnings())
                self._status.end_progress()
            if pushed.sent:
                self._bringer.folder_changed()

    def _desk(self) -> Desk:
        """Return where the cell speaks that ran last; it has opened the notebook."""
        assert self._latest is not None and self.notebook is not None
        return desk_in(self._latest, self._settings, self.notebook, self._front, self._status, self._prepare)

    def _tell(self, text: str) -> None:
        """Say something in the cell that ran last, from any thread."""
        if self._latest is not None:
            self._warn(self._latest, [text])

    def _carry(self, code: str) -> None:
        """Run code in the remote kernel that is no cell, with the notebook's packages."""
        notebook = self.notebook
        assert notebook is not None and notebook.kernel is not None
        packages = self._bringer.bring(notebook, notebook.config.env)
        done = notebook.kernel.execute(code, silent=True, store_history=False, **packages)
        reply = done.future.result()
        self._bringer.ran(reply)
        if reply["status"] != "ok":
            raise KernelError(f"{reply['ename']}: {reply['evalue']}", billed="The machines still run.")

    def _carry_out_verbs(self, cell: Request, lines: list[str]) -> None:
        """Do what a cell made of ``%remote`` lines says."""
        said: dict[str, Any] = {}
        for line in lines:
            with self._interrupts.raised():
                said = carry_out(line, self._desk(), InCell(self._front, cell))
        self._succeed(cell, **said)

    def _succeed(self, cell: Request, **said: Any) -> None:
        ok = {"status": "ok", "execution_count": self._count, "user_expressions": {}, "payload": []}
        self._front.reply(cell, {**ok, **said})

    def _run_there(self, notebook: Notebook, cell: Request, code: str, config: GpuRemote) -> None:
        """Send a cell, wait for its end, and fetch the files that it changed."""
        kernel = notebook.kernel
        assert kernel is not None
        with self._interrupts.raised():
            with_packages = self._bringer.bring(notebook, config.env)
        if with_packages or code != cell.content["code"]:
            cell.parts[3] = self._front.session.pack({**cell.content, "code": code, **with_packages})
        self._execution = execution = kernel.follow(cell.id)
        if self._lent is not None:
            self._lent.execution = execution
        try:
            if not execution.future.done():
                kernel.forward(wire.SHELL, cell.parts, cell.id)
            with self._interrupts.raised(only_to_end=True):
                reply = execution.future.result()
        finally:
            self._execution = None
        self._warn(cell, execution.warnings())
        self._fetch(notebook, cell, config.sync, execution.files_changed)
        self._following.cell_ended(notebook.mounts, StatusLine(self._place(cell)).end)
        self._count = reply.get("execution_count", self._count)
        self._bringer.ran(reply)
        if reply["status"] != "ok":
            self._stop(cell)
        self._front.pass_on(self._replies.pop(cell.id))

    def _fetch(self, notebook: Notebook, cell: Request, sync: bool, changed: bool) -> None:
        """Fetch changed files, of all machines; a failure is no failure of the cell, which has run."""
        try:
            with self._interrupts.raised():
                if changed and sync and notebook.sync is not None:
                    notebook.sync.remote_changed()
                    self._warn(cell, notebook.sync.pull().warnings())
                    self._status.end_progress()
                self._others.after(sync)
        except GpuRemoteError as e:
            self._warn(cell, [f"{type(e).__name__}: {e}"])
        except KeyboardInterrupt:
            self._warn(cell, ["Fetching files was interrupted; the next cell goes on with it."])

    def fail(self, cell: Request, error: BaseException) -> None:
        """Reply to a cell that it has failed."""
        if isinstance(error, GpuRemoteError):
            self._status.report("")  # the error says it all
        debug = self.notebook is not None and self.notebook.config.debug
        self._front.fail(cell, error, self._count, debug)

    def show_in(self, cell: Request) -> None:
        """Show in a cell what goes on already."""
        self._latest = cell
        self._status.appear()

    def close(self) -> None:
        """Let go of all machines; they go on."""
        self._others.close()
        if self.notebook is not None:
            self.notebook.detach()

    def _place(self, cell: Request) -> Callable[[str], None]:
        """Return what shows a status line in a cell."""
        return in_cell(lambda kind, content: self._front.publish(kind, content, cell.header))

    def _warn(self, cell: Request, warnings: list[str]) -> None:
        for text in warnings:
            self._front.say(cell, text, "stderr")

    def _open_notebook(self) -> Notebook:
        """Return the notebook; as long as it has no machine, with the settings as they are now."""
        if self.notebook is None or self.notebook.kernel is None:
            told = self._status.progress, self._status.warn
            self._settings = load_settings(self._given)
            self.notebook = Notebook(self._settings, self._key, Path.cwd(), self, *told)
        return self.notebook

    def _prepare(self, request: GpuRequest, config: GpuRemote) -> Machine:
        """Get a machine and return it; the cell that waits for it shows how far that is."""
        assert self.notebook is not None
        before, self.notebook.config = self.notebook.kernel, config
        machine = self.notebook.prepare(request, self._status.report)
        if self.notebook.kernel is before:
            self._status.report("")
            return machine
        # most cells have no line of options: they go on with these
        self._settings.env, self._settings.sync = config.env, config.sync
        self._status.ready(f"{machine.offer.title} · {machine.name}")
        return machine

    # -- from the remote kernel, in its thread --------------------------------------------------------

    def message(self, message: Message) -> None:
        """Send a remote message to the frontends as it is; the end of a cell waits for its files."""
        execution = self._execution
        ours = execution is not None and message.parent_id == execution.msg_id
        if message.type == "iopub_welcome":
            return
        if message.type == record.MESSAGE:
            record.take(Path.cwd(), message.content)
            return
        if message.type == "status" and (ours or not message.parent_id):
            return  # we say when a cell begins and ends; and we have started already
        if message.type == "execute_reply" and ours:
            self._replies[message.parent_id] = message
        else:
            self._front.pass_on(message)

    def connection(self, text: str) -> None:
        """Show news about the connection in the cell that waits for it."""
        if self._execution is not None:
            self._status.report(text)
