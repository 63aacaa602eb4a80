"""Start an ipykernel whose output is never dropped and whose widgets answer while a cell runs.

Runs in the kernel's own Python, which may be of another environment than the agent's.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import Any

signal.signal(signal.SIGINT, signal.SIG_IGN)  # while it starts; ipykernel lets cells be interrupted
faulthandler.enable(os.dup(2))  # what follows takes over descriptor 2
del sys.path[0]  # this file's folder: its modules are not the user's

from ipykernel.kernelapp import IPKernelApp  # noqa: E402
from tornado.ioloop import IOLoop  # noqa: E402


class KernelApp(IPKernelApp):  # type: ignore[misc]
    """ipykernel without a limit on unread output."""

    def init_iopub(self, context: Any) -> None:
        """Bind IOPub; ZMQ's default drops what more than 1000 messages have piled up before."""
        context.sndhwm = 0
        super().init_iopub(context)

    def start(self) -> None:
        """Run, and let every signal wake the loop: an awaiting cell hears of SIGINT only when it turns."""
        loop: Any = IOLoop.current()
        loop.asyncio_loop.add_signal_handler(signal.SIGWINCH, lambda: None)  # one is needed, any will do
        super().start()

    def log_connection_info(self) -> None:
        """Say nothing: the log is for what goes wrong."""


def let_comms_name_their_subshell() -> None:
    """Make ipykernel >= 7.4 answer a comm message on the subshell that its header names."""
    try:
        from ipykernel.comm.comm import BaseComm

        original = BaseComm._reply_subshell_for
    except (ImportError, AttributeError):
        return

    def reply_subshell_for(self: Any, data: Any, default: Any) -> Any:
        return default if default is not None else original(self, data, default)

    BaseComm._reply_subshell_for = reply_subshell_for


if __name__ == "__main__":
    let_comms_name_their_subshell()
    KernelApp.launch_instance()
