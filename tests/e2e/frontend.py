"""What a frontend asks of a kernel beside running cells."""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import LIMIT, Notebook, Ran


def send(nb: Notebook, kind: str, content: dict[str, Any], channel: str = "shell", **header: Any) -> str:
    """Send any request and return its id."""
    message = nb.client.session.msg(kind, content)
    message["header"].update(header)
    getattr(nb.client, f"{channel}_channel").send(message)
    return str(message["header"]["msg_id"])


def answer(nb: Notebook, request: str, channel: str = "shell") -> dict[str, Any]:
    """Return the content of the reply to a request."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        with contextlib.suppress(queue.Empty):
            reply = getattr(nb.client, f"get_{channel}_msg")(timeout=0.2)
            if reply["parent_header"].get("msg_id") == request:
                return dict(reply["content"])
    raise TimeoutError(f"no reply to {request} on {channel}")


def ask(
    nb: Notebook, kind: str, content: dict[str, Any], channel: str = "shell", **header: Any
) -> dict[str, Any]:
    """Send any request and return the content of its reply."""
    return answer(nb, send(nb, kind, content, channel, **header), channel)


def heard(nb: Notebook, kind: str, parent: str = "") -> dict[str, Any]:
    """Return the next message of a kind on IOPub, of one request or of any."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        with contextlib.suppress(queue.Empty):
            message = nb.client.get_iopub_msg(timeout=0.2)
            if message["msg_type"] == kind and parent in ("", message["parent_header"].get("msg_id")):
                return dict(message)
    raise TimeoutError(f"no {kind} on IOPub")


def statuses(nb: Notebook, request: str) -> list[str]:
    """Return the states published for a request until idle, and what comes before the next request's."""
    states: list[str] = []
    probe = ""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        with contextlib.suppress(queue.Empty):
            message = nb.client.get_iopub_msg(timeout=0.2)
            if message["msg_type"] != "status":
                continue
            parent = message["parent_header"].get("msg_id")
            if parent == request:
                states.append(message["content"]["execution_state"])
                if states[-1] == "idle" and not probe:
                    probe = send(nb, "kernel_info_request", {})
            elif probe and parent == probe:
                return states
    raise TimeoutError(f"not idle: {states}")


def run_all(nb: Notebook, *codes: str) -> list[Ran]:
    """Send all cells at once, as Run All does, and return what each gave."""
    sent = {nb.send(code): Ran() for code in codes}
    collect(nb, sent)
    return list(sent.values())


def collect(nb: Notebook, sent: dict[str, Ran]) -> None:
    """Wait for the end of all cells that were sent."""
    open_ = set(sent)
    end = time.monotonic() + LIMIT
    while open_ or not all(ran.reply for ran in sent.values()):
        assert time.monotonic() < end, f"not ended: {sent}"
        with contextlib.suppress(queue.Empty):
            message = nb.client.get_iopub_msg(timeout=0.02)
            if ran := sent.get(message["parent_header"].get("msg_id", "")):
                ran.messages.append(message)
                if message["content"].get("execution_state") == "idle":
                    open_.discard(message["parent_header"]["msg_id"])
        with contextlib.suppress(queue.Empty):
            reply = nb.client.get_shell_msg(timeout=0)
            if ran := sent.get(reply["parent_header"].get("msg_id", "")):
                ran.reply = reply["content"]


class Debugger:
    """A client of the debug adapter protocol."""

    def __init__(self, nb: Notebook) -> None:
        self._nb = nb
        self._numbers = itertools.count(1)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Put a request and return its answer."""
        request = {"type": "request", "seq": next(self._numbers), "command": command, "arguments": arguments}
        return ask(self._nb, "debug_request", request, "control")

    def event(self, name: str) -> dict[str, Any]:
        """Return the next event of that name."""
        while (content := heard(self._nb, "debug_event")["content"])["event"] != name:
            pass
        return dict(content["body"])


def write_config(patch: pytest.MonkeyPatch, folder: Path, **traits: Any) -> Path:
    """Write the user's settings file, and have processes started from now on read it."""
    folder.mkdir(exist_ok=True)
    file = folder / "jupyter_gpu_remote_config.py"
    file.write_text("".join(f"c.GpuRemote.{name} = {value!r}\n" for name, value in traits.items()))
    patch.setenv("JUPYTER_CONFIG_DIR", str(folder))
    return file


def refused(ran: Ran, *texts: str) -> None:
    """Check that a cell gave one error of ours that has all `texts` and no code of ours in it."""
    assert ran.reply["status"] == "error", ran
    assert len(ran.of("error")) == 1
    shown = "\n".join(ran.reply["traceback"])
    assert "Traceback" not in shown
    assert "jupyter_gpu_remote" not in shown.replace("jupyter_gpu_remote_config", "")
    for text in texts:
        assert text in shown
