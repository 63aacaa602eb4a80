"""What runs in the local kernel, noted for remote cells: who has which variable, what packages are needed."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from .config import load_settings
from .errors import GpuRemoteError
from .exchange.ledger import Ledger
from .model import MachineState
from .notebook import notebook_key
from .registry import Registry
from .transport import open_transport
from .variables.names import needed
from .wants import Wants, notebook_file


class LocalSide:
    """Watches what one IPython shell runs.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: Any) -> None:
        self.ledger = Ledger(shell.user_ns)
        self.wants = Wants(Path.cwd(), notebook_file(shell.user_ns))
        for source in shell.history_manager.input_hist_raw if shell.history_manager else ():
            self.wants.ran(source)
        self._shell = shell
        shell.events.register("pre_execute", self._begins)
        shell.events.register("pre_run_cell", self._warn_of_older)
        shell.events.register("post_run_cell", self._ran)
        self.ending = threading.Event()
        """Set when the kernel has been told to end."""
        if kernel := getattr(shell, "kernel", None):
            shut_down = kernel.do_shutdown

            def do_shutdown(restart: bool) -> Any:
                self.ending.set()
                return shut_down(restart)

            kernel.do_shutdown = do_shutdown
        self._shows_errors = not shell.custom_exceptions
        if self._shows_errors:  # somebody else's way to show errors is not ours to replace
            shell.set_custom_exc((NameError,), self._show_name_error)

    def nothing_ran(self) -> None:
        """Note that what runs now is a remote cell, which changes nothing here."""
        self.ledger.epoch -= 1

    def close(self) -> None:
        """Leave the shell as it was."""
        self._shell.events.unregister("pre_execute", self._begins)
        self._shell.events.unregister("pre_run_cell", self._warn_of_older)
        self._shell.events.unregister("post_run_cell", self._ran)
        if kernel := getattr(self._shell, "kernel", None):
            kernel.__dict__.pop("do_shutdown", None)
        if self._shows_errors:
            self._shell.set_custom_exc((), None)

    def _begins(self) -> None:
        self.ledger.epoch += 1

    def _warn_of_older(self, info: Any) -> None:
        """Tell of the variables that a cell is about to use here although the machine has newer ones."""
        variables = self._shell.user_ns
        newer = {name for name in self.ledger.entries if self.ledger.is_there(name) and name in variables}
        if not newer or "%%remote" in info.raw_cell:
            return
        if used := sorted(newer & needed(info.raw_cell, variables)):
            names, has = ", ".join(used), "has newer values" if used[1:] else "has a newer value"
            print(
                f"The machine {has} of {names}: `%remote get {' '.join(used)}` brings it here.",
                file=sys.stderr,
            )

    def _ran(self, result: Any) -> None:
        source = result.info.raw_cell if result is not None else ""
        if "%%remote" in source:  # what that needs is known, and it says what was bound over there
            source = ""
        self.wants.ran(source)
        self.ledger.ran_here(source, result is not None and result.success)

    def _show_name_error(
        self,
        shell: Any,
        kind: type[BaseException],
        error: BaseException,
        traceback: Any,
        tb_offset: Any = None,
    ) -> None:
        name = getattr(error, "name", None)
        if name and self.ledger.is_there(name) and name not in shell.user_ns:
            error.args = (f"{error}. It is on the machine: `%remote get {name}` brings it here.",)
        shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


def key_of(shell: Any) -> str:
    """Return what tells the notebook of a shell from others."""
    kernel = getattr(shell, "kernel", None)
    file = kernel.config.get("IPKernelApp", {}).get("connection_file", "") if kernel else ""
    return notebook_key(file)


def warm_up(shell: Any) -> None:
    """Connect to the machine that the notebook used last, if it is still there."""
    with suppress(GpuRemoteError, OSError):
        registry = Registry()
        name = registry.binding(key_of(shell))
        machine = registry.get(name) if name else None
        if machine and machine.address and machine.state is MachineState.READY:
            transport = open_transport(machine.address, load_settings(shell.config).transport)
            transport.open()
            transport.close()
