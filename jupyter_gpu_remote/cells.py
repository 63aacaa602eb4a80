"""Running the remote cells of one local kernel."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import options
from .config import GpuRemote, load_settings
from .errors import ConnectionLostError, GpuRemoteError, KernelError
from .kernel import Execution
from .magic import is_captured, on_interrupt
from .model import GpuRequest
from .notebook import Notebook, notebook_key
from .relay import Relay
from .status import StatusLine, for_shell

_GIVE_UP_PRESSES = 3
_GIVE_UP_WITHIN = 5.0
"""Interrupts in so many seconds that show the user wants to leave, whatever the cell does."""


class RemoteError(Exception):
    """What the user's code raised over there; its class is made to bear the remote one's name.

    Args:
        reply: The content of the execute reply.
        shown: Whether the frontends have it already, in its place among the outputs.
    """

    def __init__(self, reply: dict[str, Any], shown: bool) -> None:
        super().__init__(reply.get("evalue", ""))
        self.shown = shown
        self._traceback = reply.get("traceback") or []

    def _render_traceback_(self) -> list[str]:
        return list(self._traceback)


def remote_error(reply: dict[str, Any], shown: bool) -> Exception:
    """Return the error of an execute reply, named and shown as the remote kernel shows it."""
    if reply["status"] == "aborted":
        return KernelError("The remote kernel aborted this cell, because one before it failed.")
    cls: type[Exception] = type(reply["ename"], (RemoteError,), {"__module__": "remote"})
    return cls(reply, shown)


def show_once(shell: Any) -> None:
    """Keep `shell` from publishing the error of a remote cell again when the local cell raises it."""
    publish = shell._showtraceback

    def show(etype: Any, evalue: Any, traceback: list[str]) -> None:
        if getattr(evalue, "shown", False) and isinstance(evalue, RemoteError):
            shell._last_traceback = traceback
        else:
            publish(etype, evalue, traceback)

    shell._showtraceback = show


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
        file = kernel.config.get("IPKernelApp", {}).get("connection_file", "") if kernel else ""
        self.notebook = Notebook(self.config, notebook_key(file), Path.cwd(), self.relay, self.progress)
        self._status = StatusLine(for_shell(shell))
        self._presses: list[float] = []
        self._parsed: dict[str, tuple[GpuRequest, GpuRemote]] = {}

    # -- a cell ---------------------------------------------------------------------------------------

    async def run(self, line: str, cell: str) -> None:
        """Run a cell and let the local kernel's loop go on meanwhile."""
        with self._errors_shown():
            execution = self._start(line, cell)
            if execution is None:
                return
            loop = asyncio.get_running_loop()
            self.relay.wake = lambda: loop.call_soon_threadsafe(self._answer_input)
            future = asyncio.wrap_future(execution.future)
            with on_interrupt(lambda *_: loop.call_soon_threadsafe(self._interrupt, execution)):
                reply = await future
            self._finish(execution, reply)

    def run_blocking(self, line: str, cell: str) -> None:
        """Run a cell and wait for its end."""
        with self._errors_shown():
            execution = self._start(line, cell)
            if execution is None:
                return
            self.wait(execution)

    def wait(self, execution: Execution) -> None:
        """Wait for the end of a cell over there whose outputs appear here, and do what follows it."""
        with on_interrupt(lambda *_: self._interrupt(execution)):
            while not execution.future.done():
                with suppress(futures.TimeoutError):
                    execution.future.exception(0.02)
                self._answer_input()
        self._finish(execution, execution.future.result())

    def _start(self, line: str, cell: str) -> Execution | None:
        try:
            request, config = self._parsed.get(line) or options.parse(line, self.config)
        except options.HelpRequested as help:
            print(help)
            return None
        self._parsed[line] = request, config
        self._status = StatusLine(for_shell(self.shell))
        notebook = self.notebook
        if not notebook.is_ready(request):
            with on_interrupt(_raise_interrupt):
                self.prepare(request, config)
        if notebook.sync is not None and config.sync:
            with on_interrupt(_raise_interrupt):
                self._transfer(notebook.sync.push)
        assert notebook.kernel is not None
        captured = is_captured()
        self._presses.clear()
        return notebook.kernel.execute(cell, begin=lambda e: self.relay.begin(e, captured))

    def prepare(self, request: GpuRequest, config: GpuRemote) -> None:
        """Attach this notebook to a machine that fits, launching it if need be."""
        self.notebook.config = config
        before = self.notebook.kernel
        machine = self.notebook.prepare(request, self._status.phase)
        if self.notebook.kernel is not before and self.notebook.kernel is not None:
            self.relay.serve(self.notebook.kernel)
        self._status.end(f"{machine.offer.title} · {machine.name} · ready in {self._status.seconds:.1f} s")
        self._status = StatusLine(for_shell(self.shell))

    def _finish(self, execution: Execution, reply: dict[str, Any]) -> None:
        shown = self.relay.end(execution)
        for payload in reply.get("payload", ()):
            if payload.get("source") in ("page", "set_next_input"):
                self.shell.payload_manager.write_payload(payload)
        if execution.disk_full:
            _warn("The disk of the machine is full: outputs are kept in its memory. Free some: `!df -h`.")
        if execution.unheard:
            _warn("The agent on the machine was killed while this cell ran; some output may be missing.")
        if execution.files_changed and self.notebook.sync is not None:
            self.notebook.sync.remote_changed()
            with on_interrupt(_raise_interrupt):
                self._transfer(self.notebook.sync.pull)
        if reply["status"] != "ok":
            raise remote_error(reply, shown)

    def _transfer(self, move: Callable[[], Any]) -> None:
        for warning in move().warnings():
            _warn(warning)
        self._status.end_progress()

    def progress(self, done: int, total: int, what: str) -> None:
        """Show how far a transfer is."""
        self._status.progress(what, done, total)

    def _answer_input(self) -> None:
        """Ask the user what the remote cell asks; Ctrl-C at the question interrupts the cell."""
        with on_interrupt(_raise_interrupt):
            try:
                self.relay.answer_input()
            except KeyboardInterrupt:
                if self.notebook.kernel:
                    self.notebook.kernel.interrupt()

    def _interrupt(self, execution: Execution) -> None:
        """Pass Ctrl-C on; pressed again and again, leave the cell to itself."""
        now = time.monotonic()
        self._presses = [t for t in self._presses if now - t < _GIVE_UP_WITHIN] + [now]
        if self.notebook.kernel:
            self.notebook.kernel.interrupt()
        if len(self._presses) >= _GIVE_UP_PRESSES:
            execution.fail(
                ConnectionLostError(
                    "The cell does not react to the interrupt; it was left running.",
                    billed="The machine still runs.",
                    hint="`%remote attach` shows it again, `%remote restart` ends it with its kernel.",
                )
            )

    def _news(self, text: str) -> None:
        """Show news about the connection, from any thread."""
        self._status.phase(text) if text else self._status.end()

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """Show our errors as messages, without our traceback, unless asked for it."""
        try:
            yield
        except GpuRemoteError as e:
            if not self.config.debug:
                text = f"{type(e).__name__}: {e}"
                e._render_traceback_ = lambda: text.splitlines()  # type: ignore[attr-defined]
            raise

    # -- the line magic -------------------------------------------------------------------------------

    def verb(self, line: str) -> Any:
        """Carry out ``%remote VERB``."""
        from .line import carry_out

        self._status = StatusLine(for_shell(self.shell))
        self._presses.clear()
        with self._errors_shown(), on_interrupt(_raise_interrupt):
            carry_out(line, self)

    def report(self, phase: str, text: str) -> None:
        """Show what is going on in the status line of this cell; nothing, when there is no phase."""
        self._status.phase(phase, text) if phase else self._status.end()

    def close(self) -> None:
        """Let go of the machine."""
        self.notebook.detach()


def _raise_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _warn(text: str) -> None:
    print(text, file=sys.stderr)
