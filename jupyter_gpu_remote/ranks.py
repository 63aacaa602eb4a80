"""A script on several machines at once, as ``torchrun`` runs it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent import futures
from contextlib import suppress
from typing import Any

from .crossing import FREE
from .errors import GpuRemoteError
from .kernel import RemoteKernel
from .machine import LiveMachine
from .member import ANSWER_LIMIT, Member

_NOTE = 'umask 077; mkdir -p "$HOME/.gpu-remote/cluster"; cat > "$HOME/.gpu-remote/cluster/$1.failed"'
_LAUNCH = "__import__('_gpu_remote.agent.launch', fromlist=['*']).torchrun"
_LOOK = 2.0
"""Seconds between two looks whether a machine that takes part is still there."""


def launch(
    head: LiveMachine, kernel: RemoteKernel, members: Sequence[Member], script: str, name: str, needs: Any
) -> str:
    """Run a script on a notebook's machine and others.

    Args:
        head: The notebook's machine, which has rank 0.
        kernel: A kernel there, which answers as long as that does.
        members: The others.
        script: Its source.
        name: What the launch is called.
        needs: The packages that the notebook needs.

    Returns:
        The cell to run on the notebook's machine; it fails when another machine fails.
    """
    machine = head.machine
    address, port = head.transport.run([machine.python, "-c", FREE]).check().stdout.decode().split()
    if machine.provider == "local":
        address = "127.0.0.1"

    def code(number: int) -> str:
        return f"{_LAUNCH}({script!r}, {name!r}, {number}, {1 + len(members)}, {address!r}, {port})"

    def take_part(number: int, member: Member) -> None:
        try:
            member.stop()
            member.run(code(number), needs)
            failed = _failure(member, kernel)
        except GpuRemoteError as e:
            failed = f"{member.name} takes no part any more: {e.message}"
        if failed:
            with suppress(GpuRemoteError):
                head.transport.run(["sh", "-c", _NOTE, "sh", name], input=failed.encode())

    for number, member in enumerate(members, 1):
        threading.Thread(target=take_part, args=(number, member), daemon=True).start()
    return code(0)


def _failure(member: Member, kernel: RemoteKernel) -> str:
    """Wait for the end of a machine's part; return how it failed, if it did so by itself."""
    assert member.execution is not None
    silent = 0
    while not futures.wait((member.execution.future,), _LOOK).done:
        # where the head is silent too, it is this computer that is cut off
        silent = silent + 1 if not member.answers() and _answers(kernel) else 0
        if silent > 1:
            return f"{member.name} takes no part any more: it does not answer."
    reply = member.execution.future.result()
    return reply["evalue"] if reply["status"] == "error" and reply["ename"] != "KeyboardInterrupt" else ""


def _answers(kernel: RemoteKernel) -> bool:
    with suppress(GpuRemoteError):
        return bool(kernel.request("status", ANSWER_LIMIT))
    return False
