"""One machine beside a notebook's own, with a kernel that is there for whole cells alone."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .agent import wire
from .config import GpuRemote
from .errors import GpuRemoteError, KernelError
from .exchange.ledger import Ledger
from .exchanging import exchange_with
from .fleet import Fleet
from .machine import LiveMachine
from .messages import Execution, Message
from .model import Machine
from .registry import Registry
from .sync.movers import silent
from .synced import open_sync, remote_folder_of

_UP_LIMIT = 120.0
"""Seconds for a machine to be at work, its packages being there."""
ANSWER_LIMIT = 5.0
"""Seconds after which a machine that does not answer is not waited for."""
_STOP_LIMIT = 10.0
_LOOK = 0.05
_WRITE = 'umask 077; mkdir -p "$HOME/.gpu-remote/cluster"; cat > "$HOME/.gpu-remote/cluster/$1.json"'
MODULES = {
    "distributed": "__import__('_gpu_remote.agent.cluster', fromlist=['*'])",
    "ray": "__import__('_gpu_remote.agent.raycluster', fromlist=['*'])",
}
"""The modules over there that know of clusters, by the package that those are made by."""


class Member:
    """One machine of a crew.

    Args:
        machine: It, ready.
        kernel_id: The name of its kernel there.
        folder: The notebook's folder here; None where it is not kept the same.
    """

    def __init__(
        self,
        machine: Machine,
        kernel_id: str,
        folder: Path,
        synced: bool,
        config: GpuRemote,
        registry: Registry,
    ) -> None:
        self.name = machine.name
        self.execution: Execution | None = None
        self.on_leaving: Callable[[Member], None] = lambda member: None
        """Told that the machine is taken back."""
        self.said = ""
        self.spoke = threading.Event()
        """Set when a cell there has put something out, or ended."""
        self._joined = ""
        check = functools.partial(Fleet(config, registry).check, machine.name)
        self.live = LiveMachine(machine, config, registry, check)
        try:
            self.live.open(lambda phase, text: None)
            cwd = remote_folder_of(self.live, folder)
            self.kernel = self.live.kernel(kernel_id, cwd, self, {})
            self.kernel.on_end = self._ends
            self.sync = open_sync(self.live, self.kernel, folder, silent) if synced else None
            known = self.kernel.open()
            if self.sync is not None:
                self.sync.meet(known["folder"], in_step=False)
            self._namespace: dict[str, Any] = {}
            where = self.live, self.kernel, cwd, registry, config, silent
            self._exchange = exchange_with(*where, self._namespace, Ledger(self._namespace))
        except BaseException:
            self.live.close()
            raise

    @property
    def lives(self) -> bool:
        """Whether its kernel is attached, or about to be again."""
        return self.kernel.is_open

    def _ends(self, event: Mapping[str, Any]) -> None:
        if "leaving" in event:  # the kernel's thread must go on, for the files come through it
            threading.Thread(target=self.on_leaving, args=(self,), daemon=True).start()

    def answers(self) -> bool:
        """Return whether the machine answers within seconds."""
        try:
            self.kernel.request("status", ANSWER_LIMIT)
        except GpuRemoteError:
            return False
        return True

    @property
    def fell_out(self) -> bool:
        """Whether it works no longer for a cluster that it had joined."""
        return bool(self._joined) and self.execution is not None and self.execution.future.done()

    def message(self, message: Message) -> None:
        """Take a message of its kernel."""
        if message.channel == wire.IOPUB and message.type == "stream":
            self.said += message.content["text"]
            self.spoke.set()

    def connection(self, text: str) -> None:
        """Nothing is said of a connection: what it breaks is told when it is needed."""

    def run(self, code: str, needs: Any) -> None:
        """Start a cell that says something as soon as it is at work; wait for that.

        Raises:
            GpuRemoteError: It has failed.
        """
        while True:
            self.said = ""
            self.spoke.clear()
            outgoing = self._exchange.pack("", auto=False, needs=lambda modules: needs)
            execution = self.execution = self.kernel.execute(
                code,
                buffers=outgoing.parts,
                allow_stdin=False,
                store_history=False,
                gpu_remote=outgoing.wish,
            )
            execution.future.add_done_callback(lambda _: self.spoke.set())
            if not self.spoke.wait(_UP_LIMIT):
                raise KernelError(f"{self.name} was not at work after {_UP_LIMIT:.0f} s.")
            if not execution.future.done():
                return
            reply = execution.future.result()
            if not (reply.get("gpu_remote") or {}).get("refused"):
                if reply["status"] != "ok":
                    raise KernelError(f"{reply['ename']}: {reply['evalue']}")
                return
            self._exchange.settle(outgoing, reply)

    def stop(self) -> None:
        """Interrupt what it runs, and wait for its end."""
        if self._runs_unasked():
            self.kernel.interrupt()
            end = time.monotonic() + _STOP_LIMIT
            while self._runs_unasked() and time.monotonic() < end:
                time.sleep(_LOOK)
        elif self.execution is not None and not self.execution.future.done():
            self._joined = ""
            self.kernel.interrupt()
            with suppress(GpuRemoteError, TimeoutError):
                self.execution.future.result(_STOP_LIMIT)

    def _runs_unasked(self) -> bool:
        """Return whether it runs a cell of a process here that is gone."""
        kernels = [] if self.execution else self.kernel.request("status", ANSWER_LIMIT)["kernels"]
        return any(kernel["running"] for kernel in kernels if kernel["id"] == self.kernel.id)

    def join(
        self, engine: str, ticket: bytes, needs: Any, crossing: Mapping[str, str] | None, used: bool
    ) -> None:
        """Have it work for a cluster, with the notebook's packages of now.

        Args:
            engine: The package that the cluster is made by.
            ticket: What opens it.
            needs: The packages.
            crossing: Where others find this machine, where they can't reach it.
            used: Whether a cell may be using the cluster: then what it does already, it goes on with.
        """
        if used and self._runs_unasked():
            return
        key = f"{json.loads(ticket)['id']} {needs.key if needs else ''}"
        if key == self._joined and self.execution is not None and not self.execution.future.done():
            return
        self.stop()
        if crossing:
            ticket = json.dumps({**json.loads(ticket), "crossing": crossing}).encode()
        name = f"{self.kernel.id}-ticket"
        self.live.transport.run(["sh", "-c", _WRITE, "sh", name], input=ticket).check()
        file = f"__import__('os').path.expanduser('~/.gpu-remote/cluster/{name}.json')"
        self.run(f"{MODULES[engine]}.join({file})", needs)
        self._joined = key

    def forget(self) -> None:
        """Note that the cluster has ended that it had joined."""
        self._joined = ""

    def close(self) -> None:
        """Let go of the machine; what it does goes on."""
        if self.sync is not None:
            self.sync.close()
        self.kernel.close()
        self.live.close()
