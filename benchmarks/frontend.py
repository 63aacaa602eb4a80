"""A frontend without a face: it drives a kernel as a notebook does, and looks at the clock."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client import BlockingKernelClient, KernelManager

Message = dict[str, Any]


class CellFailed(Exception):
    """A cell that is part of a measurement did not run to its end as it should."""


@dataclass
class Cell:
    """How a cell ran.

    Attributes:
        seconds: From the request until its reply and idle were both there.
        outputs: The messages about it on IOPub, in the order they came.
    """

    seconds: float
    reply: Message
    outputs: list[Message] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What it printed."""
        return "".join(m["content"]["text"] for m in self.outputs if m["msg_type"] == "stream")

    def check(self) -> Cell:
        """Return self when the cell succeeded; raise `CellFailed` when not."""
        content = self.reply["content"]
        if content["status"] != "ok":
            said = f"{content.get('ename')}: {content.get('evalue')}"
            raise CellFailed(f"{said}\n{self.text[-2000:]}".strip())
        return self


def ends(request: str) -> Callable[[Message], bool]:
    """Return what holds once both the reply to `request` and its idle have been shown to it."""
    missing = {"reply", "idle"}

    def done(message: Message) -> bool:
        if message["parent_header"].get("msg_id") == request:
            if message["msg_type"] == "execute_reply":
                missing.discard("reply")
            elif is_idle(message):
                missing.discard("idle")
        return not missing

    return done


def is_reply_to(request: str) -> Callable[[Message], bool]:
    """Return what holds for the reply to the cell `request`."""
    return lambda m: m["msg_type"] == "execute_reply" and m["parent_header"].get("msg_id") == request


def is_idle(message: Message) -> bool:
    """Return whether the message says that its parent is done."""
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == "idle")


class Frontend:
    """A kernel, and a client that sees what it says.

    Args:
        cwd: The notebook's folder.
        kernel: Which kernelspec.
        ready: Whether to wait until the kernel answers.
        env: Environment variables of the kernel beyond those of this process.
    """

    def __init__(
        self, cwd: Path, kernel: str = "python3", ready: bool = True, env: dict[str, str] | None = None
    ) -> None:
        self.manager = KernelManager(kernel_name=kernel)
        self.manager.start_kernel(cwd=str(cwd), env={**os.environ, **(env or {})})
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        try:
            if ready:
                self.client.wait_for_ready(timeout=60)
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        for channel in (self.client.shell_channel, self.client.iopub_channel):
            self._poller.register(channel.socket, zmq.POLLIN)

    def __enter__(self) -> Frontend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the kernel, giving it a moment to close what it opened."""
        self.client.stop_channels()
        with contextlib.suppress(RuntimeError):
            self.manager.shutdown_kernel()

    def send(self, code: str) -> str:
        """Ask for a cell to be run and return the request's id."""
        return str(self.client.execute(code))

    def first_reply(self, code: str, limit: float = 120) -> None:
        """Run the first cell of a kernel that may not be up, and wait for its reply alone.

        IOPub has no part in it: what is said there before the subscription arrived is lost.
        """
        self.messages(is_reply_to(self.send(code)), limit)

    def messages(self, until: Callable[[Message], bool], limit: float) -> list[Message]:
        """Return what comes on shell and IOPub, up to the message for which `until` holds.

        Raises:
            CellFailed: It had not come after `limit` seconds.
        """
        taken: list[Message] = []
        end = time.monotonic() + limit
        while True:
            ready = self._poller.poll(int(max(0, end - time.monotonic()) * 1e3))
            if not ready:
                raise CellFailed(f"what was awaited did not come in {limit:g} s; last: {taken[-3:]}")
            for socket, _ in ready:
                message = self.client.session.recv(socket)[1]
                taken.append(message)
                if until(message):
                    return taken

    def run(self, code: str, limit: float = 120) -> Cell:
        """Run a cell and return how it went.

        Args:
            code: Its text.
            limit: Seconds until it counts as failed.
        """
        start = time.perf_counter()
        request = self.send(code)
        taken = self.messages(ends(request), limit)
        seconds = time.perf_counter() - start
        mine = [m for m in taken if m["parent_header"].get("msg_id") == request]
        (reply,) = (m for m in mine if m["msg_type"] == "execute_reply")
        return Cell(seconds, reply, [m for m in mine if m is not reply])

    def time(self, code: str, limit: float = 120) -> float:
        """Return the seconds that a cell takes; raise `CellFailed` when it does not succeed."""
        return self.run(code, limit).check().seconds

    def send_comm(self, comm_id: str, data: Message) -> str:
        """Send a message about a widget, as its view does, and return its id."""
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])
