"""A process on a machine that calls functions, one after the other, as `Remote` has it do."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .agent import wire
from .config import GpuRemote
from .errors import GpuRemoteError, KernelError
from .exchange.ledger import Ledger
from .exchanging import exchange_with
from .kernel import RemoteKernel
from .messages import Execution, Message
from .raised import remote_error
from .registry import Registry
from .sweeps.record import MESSAGE
from .sync.movers import silent
from .synced import remote_folder_of
from .verbs.visit import Visit
from .wants import Wants

CALL = """\
def gpu_remote_call(function, args, kwargs):
    import cloudpickle, traceback
    try:
        return True, function(*args, **kwargs), ""
    except Exception as error:
        told = "".join(traceback.format_exception(type(error), error, error.__traceback__.tb_next))
        error.__traceback__ = error.__cause__ = error.__context__ = None
        try:
            cloudpickle.loads(cloudpickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return False, error, told
gpu_remote_value = gpu_remote_call(*gpu_remote_work)
del gpu_remote_work, gpu_remote_call
"""
SWEEP = """\
from _gpu_remote.agent.sweepcell import call as gpu_remote_call
gpu_remote_value = gpu_remote_call(*gpu_remote_work)
del gpu_remote_work, gpu_remote_call
"""


Hear = Callable[[Mapping[str, Any]], None]
"""Told what a sweep says of trials that have ended."""


class RemoteTraceback(Exception):
    """Where an error was raised on the machine, as text; the cause of the error that is raised here."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


class Worker:
    """One kernel, which calls one function at a time.

    Args:
        there: The machine.
        folder: The folder here that its working folder over there is a copy of.
        registry: Where the machine is written down.
        config: The user's settings.
        wants: The packages that are needed; all workers share it, under `lock`.
        lock: For that.
    """

    def __init__(
        self,
        there: Visit,
        folder: Path,
        registry: Registry,
        config: GpuRemote,
        wants: Wants,
        lock: threading.Lock,
    ) -> None:
        self.files_changed = False
        self.printer = _Printer()
        self._config, self._wants, self._lock = config, wants, lock
        cwd = remote_folder_of(there.live, folder)
        self.kernel: RemoteKernel = there.live.kernel(f"call-{uuid.uuid4().hex[:12]}", cwd, self.printer, {})
        self.kernel.open()
        self._namespace: dict[str, Any] = {}
        where = there.live, self.kernel, cwd, registry, config, silent
        self._ledger = Ledger(self._namespace)
        self._exchange = exchange_with(*where, self._namespace, self._ledger)

    def call(self, work: tuple[Any, ...], code: str) -> tuple[bool, Any, str]:
        """Call a function; return whether it went well, its value or error, and the traceback."""
        self._ledger.forget()  # over there nothing is kept of the call before
        self._ledger.epoch += 1
        self._namespace["gpu_remote_work"] = work
        try:
            while True:
                execution = self._send(code)
                reply = execution.future.result()
                self.files_changed = execution.files_changed
                if reply["status"] != "ok":
                    raise self._interrupted(reply)
                if self._exchange.settle(self._outgoing, reply):
                    break
            well, value, told = self._namespace["gpu_remote_value"]
            return well, value, told
        finally:
            self._namespace.clear()

    def _send(self, code: str) -> Execution:
        with self._lock:  # what a notebook needs is found out by one at a time
            self._outgoing = self._exchange.pack(
                "", ["gpu_remote_work"], ["gpu_remote_value"], False, self._needs
            )
        return self.kernel.execute(
            code,
            buffers=self._outgoing.parts,
            allow_stdin=False,
            store_history=False,
            gpu_remote=self._outgoing.wish,
        )

    def _needs(self, modules: Any) -> Any:
        return self._wants.current(self._config.env, modules)

    @staticmethod
    def _interrupted(reply: dict[str, Any]) -> BaseException:
        if reply.get("ename") == "KeyboardInterrupt":
            return KernelError("The function was interrupted.")
        return remote_error(reply, shown=False)

    def close(self) -> None:
        """End the kernel."""
        with suppress(GpuRemoteError):
            self.kernel.request("stop", kernel=self.kernel.id)
        self.kernel.close()


class _Printer:
    """Prints what functions print.

    Attributes:
        hear: Told what a sweep says of its trials.
    """

    hear: Hear = staticmethod(lambda content: None)

    def message(self, message: Message) -> None:
        """Print a message."""
        if message.channel == wire.IOPUB and message.type == "stream":
            content = message.content
            print(content["text"], end="", file=sys.stdout if content["name"] == "stdout" else sys.stderr)
        if message.channel == wire.IOPUB and message.type == MESSAGE:
            self.hear(message.content)

    def connection(self, text: str) -> None:
        """Tell news about the connection."""
        if text:
            print(text, file=sys.stderr)
