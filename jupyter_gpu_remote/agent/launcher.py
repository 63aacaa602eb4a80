"""Start an ipykernel whose output is never dropped and whose widgets answer while a cell runs.

Runs in the kernel's own Python, which may be of another environment than the agent's.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any

signal.signal(signal.SIGINT, signal.SIG_IGN)  # while it starts; ipykernel lets cells be interrupted
faulthandler.enable(os.dup(2))  # what follows takes over descriptor 2
del sys.path[0]  # this file's folder: its modules are not the user's

_HISTORY_BATCH = 25
"""Cells whose history is written to disk at once: written at each, the disk makes a cell a tenth slower."""


def _import_ours() -> Any:
    """Import what belongs to this file, under a name of its own: the user may have another version."""
    folder = Path(__file__).parents[1]
    spec = importlib.util.spec_from_file_location(
        "_gpu_remote", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    sys.modules["_gpu_remote"] = importlib.util.module_from_spec(spec)
    return importlib.import_module("_gpu_remote.agent.inside")


from ipykernel.kernelapp import IPKernelApp  # noqa: E402
from tornado.ioloop import IOLoop  # noqa: E402


class KernelApp(IPKernelApp):  # type: ignore[misc]
    """ipykernel without a limit on unread output."""

    kernel_class = _import_ours().Kernel
    outstream_class = "_gpu_remote.agent.stdio.Stream"

    def init_iopub(self, context: Any) -> None:
        """Bind IOPub; ZMQ's default drops what more than 1000 messages have piled up before."""
        context.sndhwm = 0
        super().init_iopub(context)

    def init_shell(self) -> None:
        """Make the shell; it writes its history now and then, and whenever somebody asks for it."""
        super().init_shell()
        history = self.shell.history_manager
        history.db_cache_size = max(history.db_cache_size, _HISTORY_BATCH)

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
