"""The kernel "Python (remote GPU)": a whole notebook on a machine.

A Jupyter kernel that runs nothing itself. It answers `kernel_info` at once while the machine is still
coming up; from then on messages go to the remote kernel as they are and come back as they are.

Three threads: one owns the sockets to the frontends, one reads what the remote kernel sends, and the main
thread takes the cells, one after another, so that Ctrl-C reaches what it does (launch, files).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import queue
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from traitlets.config import Config

from . import options, sweeps
from .agent import wire
from .config import GpuRemote, load_settings
from .detached import detach_there
from .errors import GpuRemoteError, KernelError
from .fleet import Fleet
from .frontends import Frontends, Request
from .interrupts import Interrupts
from .kernel import Execution, Message, RemoteKernel
from .kernelpackages import Bringer
from .kernelverbs import InCell, carry_out
from .model import GpuRequest, Machine
from .notebook import Notebook, notebook_key
from .status import CellStatus, StatusLine, in_cell
from .storage.following import Following
from .sweeps import record
from .sync import FolderSync
from .typed import read_cell
from .unready import KERNEL_INFO, Passage
from .verbs.offered import plan_table

_END_LIMIT = 3.0
"""Seconds the remote kernel may take to end; Jupyter kills us after five."""

_log = logging.getLogger(__name__)


class RelayKernel:
    """The kernel process.

    Args:
        connection_file: What Jupyter gave us.
        machine: The machine to use, and no other; empty for what notebook and settings say.
    """

    def __init__(self, connection_file: str, machine: str = "") -> None:
        self.front = Frontends(connection_file, self._take_request)
        self.notebook: Notebook | None = None
        self._given = _only(machine) if machine else Config()
        self._key = notebook_key(connection_file)
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._farewell: Request | None = None
        # cells that arrived before this number grew are not run any more
        self._generation = 0
        self._untold: BaseException | None = None
        self._interrupts = Interrupts(self._interrupt_there)
        self._execution: Execution | None = None
        self._replies: dict[str, Message] = {}
        self._count = 0
        self._latest: Request | None = None
        self._status = CellStatus(lambda: self._place(self._latest) if self._latest else None)
        self._passage = Passage(self.front, self._kernel)
        self._early = True
        self._begun = ""
        self._bringer = Bringer()
        self._following: Following | None = None

    # -- the main thread: one thing after another -----------------------------------------------------

    def run(self) -> None:
        """Serve until told to shut down."""
        self._interrupts.install()
        self._interrupts.end_with_parent()
        self.front.publish("status", {"execution_state": "starting"}, {})
        self.front.start()
        self._jobs.put(self._prepare_early)
        while not self._interrupts.ending:
            self._jobs.get()()
        self._end()

    def _end(self) -> None:
        """End the remote kernel if that was asked for; the machine goes on until its idle limit."""
        if asked := self._farewell:
            if kernel := self._kernel():
                with contextlib.suppress(GpuRemoteError):
                    kernel.request("stop", _END_LIMIT, kernel=kernel.id)
            content = {"status": "ok", "restart": asked.content.get("restart", False)}
            self.front.reply(asked, content)
            self.front.publish("shutdown_reply", content, asked.header)
        if self.notebook is not None:
            self.notebook.detach()
        self.front.close()

    def _prepare_early(self) -> None:
        """Get the machine before a cell needs it, unless that would rent one for a notebook only opened."""
        try:
            with self._passage.waits(), self._interrupts.raised():
                notebook = self._open_notebook()
                request = options.request(notebook.config)
                if not request.costs_money or notebook.fleet.find(request, notebook.key):
                    self._prepare(request, notebook.config)
        except (GpuRemoteError, KeyboardInterrupt) as e:
            self._abort_queued(e)
        finally:
            self._early = False

    def _open_notebook(self) -> Notebook:
        """Return the notebook; as long as it has no machine, with the settings as they are now."""
        if self.notebook is None or self.notebook.kernel is None:
            told = self._status.progress, self._status.warn
            self.notebook = Notebook(load_settings(self._given), self._key, Path.cwd(), self, *told)
        return self.notebook

    def _prepare(self, request: GpuRequest, config: GpuRemote) -> Machine:
        """Get a machine and return it; the cell that waits for it shows how far that is."""
        assert self.notebook is not None
        self.notebook.config = config
        machine = self.notebook.prepare(request, self._status.report)
        self._status.ready(f"{machine.offer.title} · {machine.name}")
        return machine

    def _abort_queued(self, error: BaseException | None = None) -> None:
        """Run none of the cells that wait; the first of them is told `error`."""
        self._generation, self._untold = self._generation + 1, error

    def _run_cell(self, cell: Request, generation: int) -> None:
        if cell.id != self._begun:
            self.front.status("busy", cell)
        if generation != self._generation:
            error, self._untold = self._untold, None
            if error is None:
                self.front.reply(cell, {"status": "aborted"})
            else:
                self._fail(cell, error)
        else:
            self._latest = cell
            self._status.new_cell()
            try:
                self._carry_out(cell)
            except (GpuRemoteError, KeyboardInterrupt) as e:
                self._stop_on_error(cell)
                self._fail(cell, e)
            except Exception as e:
                _log.exception("a cell could not be run")
                self._stop_on_error(cell)
                self._fail(cell, KernelError(f"Relaying the cell failed: {e!r}."))
        self.front.status("idle", cell)

    def _carry_out(self, cell: Request) -> None:
        typed, notebook = read_cell(cell.content["code"]), self._open_notebook()
        if typed.verbs:
            return self._carry_out_verbs(cell, typed.verbs, notebook)
        try:
            request, config = options.parse(typed.options or "", notebook.config)
        except options.HelpRequested as help:
            self.front.say(cell, str(help))
            return self._succeed(cell)
        sweep = sweeps.request(config, typed.code) if sweeps.wanted(config) else None
        if config.dry_run:
            if sweep is not None:
                self.front.say(cell, sweeps.told(sweep, {}))
            self.front.say(cell, plan_table(Fleet(config, notebook.registry), request))
            return self._succeed(cell)
        if not notebook.is_ready(request):
            with self._passage.waits(), self._interrupts.raised():
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
        code = typed.code
        if sweep is not None:
            self._bringer.needs(sweep.packages, config.env)
            sweep.begin(config, notebook.folder, lambda text: self._warn(cell, [text]))
            sweep.frame = True
            code = sweep.code
        if config.detach:
            with self._interrupts.raised():
                needs = self._bringer.needs(typed.code, config.env)
                shown = InCell(self.front, cell), self._place(cell)
                detach_there(notebook, config, typed.code, needs, *shown, sweep)
            return self._succeed(cell)
        with self._interrupts.raised():
            with_packages = self._bringer.bring(typed.code, notebook, config.env)
        if with_packages or code != cell.content["code"]:
            cell.parts[3] = self.front.session.pack({**cell.content, "code": code, **with_packages})
        self._run_there(notebook, cell, config.sync)

    def _carry_out_verbs(self, cell: Request, lines: list[str], notebook: Notebook) -> None:
        """Do what a cell made of ``%remote`` lines says."""
        said: dict[str, Any] = {}
        for line in lines:
            with self._interrupts.raised():
                said = carry_out(line, notebook, self.front, cell, self._status, self._prepare)
        self._succeed(cell, **said)

    def _succeed(self, cell: Request, **said: Any) -> None:
        ok = {"status": "ok", "execution_count": self._count, "user_expressions": {}, "payload": []}
        self.front.reply(cell, {**ok, **said})

    def _run_there(self, notebook: Notebook, cell: Request, sync: bool) -> None:
        """Send a cell, wait for its end, and fetch the files that it changed."""
        kernel = notebook.kernel
        assert kernel is not None
        self._execution = execution = kernel.follow(cell.id)
        try:
            if not execution.future.done():
                kernel.forward(wire.SHELL, cell.parts, cell.id)
            with self._interrupts.raised(only_to_end=True):
                reply = execution.future.result()
        finally:
            self._execution = None
        self._warn(cell, execution.warnings())
        if execution.files_changed and notebook.sync is not None and sync:
            self._fetch(notebook.sync, cell)
        if self._following:
            self._following.stop()
        if notebook.mounts is not None:
            self._following = Following(notebook.mounts, StatusLine(self._place(cell)).end, lives=True)
        self._count = reply.get("execution_count", self._count)
        self._bringer.ran(reply)
        if reply["status"] != "ok":
            self._stop_on_error(cell)
        self.front.pass_on(self._replies.pop(cell.id))

    def _fetch(self, sync: FolderSync, cell: Request) -> None:
        """Fetch changed files; a failure is no failure of the cell, which has run."""
        sync.remote_changed()
        try:
            with self._interrupts.raised():
                self._warn(cell, sync.pull().warnings())
                self._status.end_progress()
        except GpuRemoteError as e:
            self._warn(cell, [f"{type(e).__name__}: {e}"])
        except KeyboardInterrupt:
            self._warn(cell, ["Fetching files was interrupted; the next cell goes on with it."])

    def _stop_on_error(self, cell: Request) -> None:
        if cell.content.get("stop_on_error", True):
            self._abort_queued()

    def _fail(self, cell: Request, error: BaseException) -> None:
        if isinstance(error, GpuRemoteError):
            self._status.report("")  # the error says it all
        debug = self.notebook is not None and self.notebook.config.debug
        self.front.fail(cell, error, self._count, debug)

    def _place(self, cell: Request) -> Callable[[str], None]:
        """Return what shows a status line in a cell."""
        return in_cell(lambda kind, content: self.front.publish(kind, content, cell.header))

    def _warn(self, cell: Request, warnings: list[str]) -> None:
        for text in warnings:
            self.front.say(cell, text, "stderr")

    def _interrupt_there(self) -> None:
        if self._interrupts.ending:
            self._wake()
        elif kernel := self._kernel():
            kernel.interrupt()

    def _wake(self) -> None:
        """Have the main thread look whether it is to end."""
        self._jobs.put(lambda: None)

    def _kernel(self) -> RemoteKernel | None:
        """Return the remote kernel, if there is one now."""
        kernel = self.notebook.kernel if self.notebook is not None else None
        return kernel if kernel is not None and kernel.is_open else None

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
            self.front.pass_on(message)

    def connection(self, text: str) -> None:
        """Show news about the connection in the cell that waits for it."""
        if self._execution is not None:
            self._status.report(text)

    # -- from the frontends, in the sockets' thread ---------------------------------------------------

    def _take_request(self, request: Request) -> None:
        if request.kind == "execute_request":
            self._take_cell(request)
        elif request.kind == "kernel_info_request":
            self.front.answer(request, KERNEL_INFO)
        elif request.kind == "interrupt_request":
            if self._execution is not None:
                self._interrupt_there()
            else:
                self._interrupts.interrupt()
            self.front.answer(request, {"status": "ok"})
        elif request.kind == "shutdown_request":
            self._farewell = request
            self._interrupts.end()
            self._wake()
        else:
            self._passage.take(request)

    def _take_cell(self, cell: Request) -> None:
        if self._early:
            self._early, self._begun, self._latest = False, cell.id, cell
            self.front.status("busy", cell)
            self._status.appear()
        self._jobs.put(partial(self._run_cell, cell, self._generation))


def _only(machine: str) -> Config:
    """Return settings that ask for that machine, whatever it is."""
    wanted = vars(GpuRequest(on=machine))
    return Config({"GpuRemote": {name: value for name, value in wanted.items() if name != "count"}})


def main() -> None:
    """Run the kernel for the connection file named with ``-f``; with ``--on`` follows the machine to use."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-f", required=True)
    parser.add_argument("--on", default="")
    given, _ = parser.parse_known_args()
    RelayKernel(given.f, given.on).run()


if __name__ == "__main__":
    main()
