"""One machine in the hand: the way there, the agent on it, and the kernels it keeps for us."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import GpuRemote
from .errors import HostKeyError, SshAuthError, TransportError
from .kernel import Listener, RemoteKernel
from .model import Machine, MachineState
from .registry import Registry
from .transport import open_transport
from .transport.base import Stream

Report = Callable[[str, str], None]
"""Called with the phase and a text."""

_KEY_ARRIVES = 60.0
"""Seconds after which a new machine that still refuses our key will go on refusing it."""


class LiveMachine:
    """A machine that is up, as this process uses it.

    Args:
        machine: What the registry says about it.
        config: The user's settings.
        registry: Told about its states.
        check: Called when it does not answer; raises when it is gone.
    """

    def __init__(
        self, machine: Machine, config: GpuRemote, registry: Registry, check: Callable[[], None]
    ) -> None:
        if machine.address is None:
            raise TransportError(
                f"The machine {machine.name} has no address yet.", hint="Wait for its launch."
            )
        self.machine = machine
        self.transport = open_transport(machine.address, config.transport)
        self._config = config
        self._registry = registry
        self._check = check
        self._lock = threading.Lock()

    def open(self, report: Report) -> None:
        """Connect, and bring a machine that is new to `READY`.

        Args:
            report: Called with a phase and a text, for the status line.

        Raises:
            TransportError: It cannot be reached.
            EnvironmentBuildError: The agent cannot be set up there.
        """
        if self.machine.state is MachineState.CONNECTING:
            self._wait_for_ssh(report)
            self._to(MachineState.PREPARING)
        else:
            self._reach()
        if self.machine.state is MachineState.PREPARING or not self.machine.agent_socket:
            self._ensure_agent(report)
        if self.machine.state is MachineState.PREPARING:
            self._to(MachineState.READY, ready_at=time.time())

    def _reach(self) -> None:
        if self.transport.alive():
            return  # if it only seems so, the first stream will tell
        try:
            self.transport.open()
        except TransportError as e:
            self._check()
            if self.machine.offer.price:
                e.billed = e.billed or "The machine may still run and be billed."
            raise

    def _wait_for_ssh(self, report: Report) -> None:
        address = self.machine.address
        assert address is not None
        # a machine that somebody else keeps is up or it isn't; one that we made is still booting
        patience = self._config.launch_timeout if address.key_file else 0
        began = time.monotonic()
        report("connecting", f"to {address.host} by SSH")
        while True:
            try:
                return self.transport.open()
            except HostKeyError:
                raise
            except TransportError as e:
                waited = time.monotonic() - began
                if waited > (min(patience, _KEY_ARRIVES) if isinstance(e, SshAuthError) else patience):
                    raise
                report("connecting", f"waiting for SSH, {waited:.0f} s")
                self._check()  # what was taken back meanwhile will never answer
                time.sleep(1)

    def _ensure_agent(self, report: Report) -> None:
        from .deploy import ensure_agent  # not needed where the agent runs already

        agent = ensure_agent(
            self.transport,
            self.machine.python,
            lambda text: report("preparing", text),
            {
                "idle": self._config.idle * 60,
                "poweroff": list(self.machine.poweroff),
                "ends_at": self.machine.ends_at,
                "notice": self.machine.notice,
            },
        )
        changes: dict[str, Any] = {"home": agent.home, "agent_socket": agent.socket}
        if self.machine.address and not self.machine.address.host_key:
            key = self.transport.learnt_host_key()
            changes["address"] = dataclasses.replace(self.machine.address, host_key=key)
        self.machine = self._registry.update(self.machine.name, python=agent.python, **changes)

    def _to(self, state: MachineState, **changes: Any) -> None:
        self.machine = self._registry.update(
            self.machine.name, expect=self.machine.state, state=state, **changes
        )

    def connect(self, sure: bool) -> Stream:
        """Return a new stream to the agent; when `sure`, see first that SSH and agent are up.

        Raises:
            TransportError: The machine does not answer.
            MachineNotFoundError: And it will not, for it is gone.
        """
        try:
            with self._lock:
                if sure or not self.transport.alive():
                    self.transport.open()
                if sure or not self.machine.agent_socket:
                    self._ensure_agent(lambda phase, text: None)
            return self.transport.connect_unix(self.machine.agent_socket, sure=sure)
        except TransportError as e:
            self._check()
            if self.machine.offer.price:
                e.billed = e.billed or "The machine may still run and be billed."
            raise

    def bring_uv(self, architecture: str, libc: str) -> None:
        """Bring uv onto the machine, for packages that notebooks need.

        Raises:
            EnvironmentBuildError: It can't be had, or not be kept over there.
        """
        from .deploy import bring_uv

        bring_uv(self.transport, self.machine.python, architecture, libc)

    def kernel(
        self, kernel_id: str, folder: str, listener: Listener, env: dict[str, str], once: bool = False
    ) -> RemoteKernel:
        """Return a kernel of this machine, to be opened; it starts there if it is not there yet.

        Args:
            kernel_id: Its name.
            folder: Its working folder over there.
            listener: Gets its messages.
            env: More environment variables for it.
            once: Whether nobody will look at its variables once it has run a cell; a fresh process takes its
                place then.
        """
        known = {"GPU_REMOTE_MACHINE": self.machine.name}
        if self.machine.provider == "local":
            known["GPU_REMOTE_ADDRESS"] = "127.0.0.1"  # the others are here, too, in whichever network
        env = {**known, **env}
        start = {"python": self.machine.python, "cwd": folder, "env": env, "watch": True}
        if once:
            start["once"] = True
        return RemoteKernel(kernel_id, self.connect, start, listener, self._config.reconnect_timeout)

    def folder_for(self, folder: Path, owner: str) -> str:
        """Return where the notebook folder `folder` lies over there; `owner` keeps laptops apart."""
        return f"{self.machine.home}/gpu-remote/{folder.name or 'root'}-{owner}"

    def close(self) -> None:
        """Let go of the machine; it goes on."""
        self.transport.close()
