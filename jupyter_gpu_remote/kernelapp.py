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
import time
from collections.abc import Callable
from functools import partial

from traitlets.config import Config

from .errors import GpuRemoteError, KernelError
from .frontends import Frontends, Request
from .interrupts import Interrupts
from .model import GpuRequest
from .notebook import notebook_key
from .relayed import RelayedCells
from .unready import KERNEL_INFO

_ARRIVAL = 0.05
"""Seconds in which cells arrive that were sent with one that fails at once."""
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
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._farewell: Request | None = None
        # cells that arrived before this number grew are not run any more
        self._generation = 0
        self._untold: BaseException | None = None
        self._interrupts = Interrupts(self._interrupt_there)
        given = _only(machine) if machine else Config()
        self._cells = RelayedCells(
            self.front, self._interrupts, notebook_key(connection_file), given, self._stop_on_error
        )
        self._early = True
        self._begun = ""

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
            if kernel := self._cells.kernel:
                with contextlib.suppress(GpuRemoteError):
                    kernel.request("stop", _END_LIMIT, kernel=kernel.id)
            content = {"status": "ok", "restart": asked.content.get("restart", False)}
            self.front.reply(asked, content)
            self.front.publish("shutdown_reply", content, asked.header)
        self._cells.close()
        self.front.close()

    def _prepare_early(self) -> None:
        try:
            self._cells.prepare_early()
        except (GpuRemoteError, KeyboardInterrupt) as e:
            self._abort_queued(e)
        finally:
            self._early = False

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
                self._cells.fail(cell, error)
        else:
            try:
                self._cells.carry_out(cell)
            except (GpuRemoteError, KeyboardInterrupt) as e:
                self._stop_on_error(cell)
                self._cells.fail(cell, e)
            except Exception as e:
                _log.exception("a cell could not be run")
                self._stop_on_error(cell)
                self._cells.fail(cell, KernelError(f"Relaying the cell failed: {e!r}."))
        self.front.status("idle", cell)

    def _stop_on_error(self, cell: Request) -> None:
        if cell.content.get("stop_on_error", True):
            time.sleep(_ARRIVAL)  # nobody has been told yet, so all that comes was sent with it
            self._abort_queued()

    def _interrupt_there(self) -> None:
        if self._interrupts.ending:
            self._wake()
        elif kernel := self._cells.kernel:
            kernel.interrupt()

    def _wake(self) -> None:
        """Have the main thread look whether it is to end."""
        self._jobs.put(lambda: None)

    # -- from the frontends, in the sockets' thread ---------------------------------------------------

    def _take_request(self, request: Request) -> None:
        if request.kind == "execute_request":
            self._take_cell(request)
        elif request.kind == "kernel_info_request":
            self.front.answer(request, KERNEL_INFO)
        elif request.kind == "interrupt_request":
            if self._cells.runs:
                self._interrupt_there()
            else:
                self._interrupts.interrupt()
            self.front.answer(request, {"status": "ok"})
        elif request.kind == "shutdown_request":
            self._farewell = request
            self._interrupts.end()
            self._wake()
        else:
            self._cells.passage.take(request)

    def _take_cell(self, cell: Request) -> None:
        if self._early:
            self._early, self._begun = False, cell.id
            self.front.status("busy", cell)
            self._cells.show_in(cell)
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
