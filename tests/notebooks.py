"""A notebook as a frontend drives it: a local kernel, cells sent to it, what came back."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client import KernelManager

from jupyter_gpu_remote.config import load_settings
from jupyter_gpu_remote.fleet import Fleet
from jupyter_gpu_remote.registry import Registry

LIMIT = 60.0
"""Seconds a cell of a test may take."""


def delete_all_machines() -> None:
    """Delete every machine of the current state folder."""
    registry = Registry()
    for machine in registry.machines():
        Fleet(load_settings(), registry).delete(machine.name, lambda phase, text: None)
    registry.close()


@dataclass(repr=False)
class Ran:
    """What a cell gave: its messages on IOPub in order, and its reply."""

    reply: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        kinds = [f"{m['msg_type']}: {str(m['content'])[:120]}" for m in self.messages[-20:]]
        return f"{self.error or self.reply.get('status', 'unfinished')}, last messages: {kinds}"

    @property
    def text(self) -> str:
        """All it printed on standard output."""
        return self.stream("stdout")

    def stream(self, name: str) -> str:
        """Return all it printed on one stream."""
        return "".join(
            m["content"]["text"]
            for m in self.messages
            if m["msg_type"] == "stream" and m["content"]["name"] == name
        )

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the contents of its messages of one type."""
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    @property
    def result(self) -> str:
        """The plain text of its execute_result."""
        (content,) = self.of("execute_result")
        return str(content["data"]["text/plain"])

    @property
    def error(self) -> str:
        """Name and text of the error in its reply; empty when it went well."""
        return f"{self.reply['ename']}: {self.reply['evalue']}" if self.reply.get("status") == "error" else ""


class Notebook:
    """A local kernel in a folder, as a frontend uses it."""

    def __init__(
        self, folder: Path, kernel_name: str = "python3", manager: KernelManager | None = None
    ) -> None:
        self.folder = folder
        self.manager = manager or KernelManager(kernel_name=kernel_name)
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(LIMIT)

    def send(self, code: str, **options: Any) -> str:
        """Start a cell and return the id of its request."""
        return str(self.client.execute(code, **options))

    def wait(
        self,
        request: str,
        until: Callable[[Ran], object] | None = None,
        answer: Callable[[str, bool], str] | None = None,
        so_far: Ran | None = None,
        limit: float | None = None,
    ) -> Ran:
        """Collect what a cell gives until it ends, or until `until` holds of it.

        Args:
            request: The id of its request.
            until: Asked after each message.
            answer: Gives the answer to a question: called with its prompt and whether it is a password.
            so_far: What it gave before, to go on from.
            limit: Seconds it may take; `LIMIT` when not said.
        """
        ran = so_far or Ran()
        idle = any(state["execution_state"] == "idle" for state in ran.of("status"))
        end = time.monotonic() + (limit or LIMIT)
        while not (idle and ran.reply):
            if time.monotonic() > end:
                raise TimeoutError(f"the cell did not end; so far: {ran}")
            with contextlib.suppress(queue.Empty):
                message = self.client.get_iopub_msg(timeout=0.02)
                if message["parent_header"].get("msg_id") == request:
                    ran.messages.append(message)
                    idle = idle or message["content"].get("execution_state") == "idle"
            with contextlib.suppress(queue.Empty):
                reply = self.client.get_shell_msg(timeout=0)
                if reply["parent_header"].get("msg_id") == request:
                    ran.reply = reply["content"]
            if answer is not None:
                with contextlib.suppress(queue.Empty):
                    asked = self.client.get_stdin_msg(timeout=0)["content"]
                    self.client.input(answer(asked["prompt"], asked["password"]))
            if until is not None and until(ran):
                return ran
        return ran

    def run(self, code: str, **options: Any) -> Ran:
        """Run a cell to its end."""
        answer = options.pop("answer", None)
        return self.wait(self.send(code, **options), answer=answer)

    def remote(self, code: str, options: str = "", **more: Any) -> Ran:
        """Run a cell with ``%%remote`` on top."""
        return self.run(f"%%remote {options}\n{code}", **more)

    def interrupt(self) -> None:
        """Press the interrupt button."""
        self.manager.interrupt_kernel()

    def close(self) -> None:
        """End the local kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@contextlib.contextmanager
def notebook(folder: Path, **options: Any) -> Iterator[Notebook]:
    """Give a notebook with the extension loaded; its kernel and all machines are gone afterwards."""
    opened = Notebook(folder, **options)
    try:
        opened.run("%load_ext jupyter_gpu_remote")
        yield opened
    finally:
        opened.close()
        delete_all_machines()
