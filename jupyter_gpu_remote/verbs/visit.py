"""A machine for a few requests, without a kernel of ours on it."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from ..agent import wire
from ..config import GpuRemote
from ..errors import ConflictError, ConnectionLostError, KernelError, TransportError
from ..fleet import Fleet
from ..machine import LiveMachine, Report
from ..model import GpuRequest, Machine
from ..registry import Registry
from ..storage.mounts import Mounts
from ..sync import FolderSync
from ..synced import open_sync

_ANSWER_LIMIT = 30.0
_REACH_LIMIT = 10.0


class _HungUpError(ConnectionLostError):
    """The connection ended at once: nobody listens at its other end."""


def attach_to(machine: Machine, config: GpuRemote, registry: Registry) -> LiveMachine:
    """Return a machine to be opened; when it does not answer, its provider is asked whether it exists."""
    check = functools.partial(Fleet(config, registry).check, machine.name)
    return LiveMachine(machine, config, registry, check)


def machine_for(
    request: GpuRequest, config: GpuRemote, registry: Registry, notebook: str, report: Report
) -> Machine:
    """Find or launch the machine that `request` asks for, and bring it to ready.

    Args:
        request: What is wanted.
        config: The user's settings.
        registry: Where machines are written down.
        notebook: What is to be bound to it; empty for nothing.
        report: Called with a phase and a text, for the status line.

    Raises:
        GpuRemoteError: There is none to be had.
    """
    fleet = Fleet(config, registry)

    def bring_up(machine: Machine) -> None:
        live = attach_to(machine, config, registry)
        try:
            live.open(report)
        finally:
            live.close()

    machine = fleet.find(request, notebook)
    if machine is None:
        machine = fleet.launch(request, notebook, report, bring_up)
    else:
        bring_up(machine)
        if notebook:
            registry.bind(notebook, machine.name)
    return registry.get(machine.name)


class Visit:
    """One machine, connected; close it to let go.

    Args:
        machine: A machine that is ready.
        config: The user's settings.
        registry: Where it is written down.
        limit: Seconds until it must have answered.

    Raises:
        ConflictError: It is still being launched, or on its way out.
        MachineNotFoundError: It does not exist any more.
        TransportError: It cannot be reached.
    """

    def __init__(
        self, machine: Machine, config: GpuRemote, registry: Registry, limit: float = _REACH_LIMIT
    ) -> None:
        if not machine.ready_at or machine.state.final:
            raise ConflictError(
                f"{machine.name} is {machine.state.value} and cannot be used now.",
                hint="`list` shows when it is ready.",
            )
        self._config = config
        self.live = attach_to(machine, config, registry)
        try:
            try:
                self.live.transport.open(limit)
            except TransportError:
                Fleet(config, registry).check(machine.name)
                raise
            self.live.open(lambda phase, text: None)
        except BaseException:
            self.close()
            raise

    def request(self, op: str, timeout: float = _ANSWER_LIMIT, **arguments: Any) -> Any:
        """Ask the agent for something and return its answer.

        Raises:
            KernelError: It refused.
            ConnectionLostError: No answer came within `timeout` seconds.
        """
        try:
            return self._ask(op, timeout, arguments)
        except _HungUpError:
            # the agent died since somebody last looked; what is asked may be asked twice
            return self._ask(op, timeout, arguments, sure=True)

    def _ask(self, op: str, timeout: float, arguments: dict[str, Any], sure: bool = False) -> Any:
        try:
            stream = self.live.connect(sure)
        except TransportError:
            stream = self.live.connect(True)
        limit = threading.Timer(timeout, stream.close)
        limit.daemon = True
        limit.start()
        try:
            stream.sendall(wire.pack_json(wire.AGENT, {"op": op, "id": 1, **arguments}))
            decoder = wire.Decoder()
            while data := stream.recv(1 << 20):
                for record in decoder.feed(data):
                    answer = json.loads(record.parts[0])
                    if "error" in answer:
                        raise KernelError(f"The agent refused {op!r}: {answer['error']}.")
                    return answer["result"]
        except OSError:
            pass
        finally:
            in_time = limit.is_alive()
            limit.cancel()
            stream.close()
        raise (_HungUpError if in_time and not sure else ConnectionLostError)(
            f"The agent on {self.live.machine.name} did not answer {op!r} within {timeout:.0f} s.",
            billed="The machine still runs.",
            hint="Try again; `logs` shows what the agent wrote.",
        )

    def sync(self, folder: Path, progress: Callable[[int, int, str], None]) -> FolderSync:
        """Return what keeps `folder` the same here and there; close it after use."""
        return open_sync(self.live, self, folder, progress)

    @functools.cached_property
    def mounts(self) -> Mounts:
        """What is mounted there."""
        return Mounts(self, self.live.transport, self._config)

    def close(self) -> None:
        """Let go of the machine; it goes on."""
        if "mounts" in self.__dict__:
            self.mounts.close()
        self.live.close()

    def __enter__(self) -> Visit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
