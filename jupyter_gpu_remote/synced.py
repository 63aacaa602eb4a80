"""The folder of a notebook on machines: where it lies there, and what keeps it the same on both sides."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .machine import LiveMachine
from .removal import sync_folder
from .sync import FolderSync
from .sync.remote import AgentFolder

_FOLDER_LIMIT = 600.0
"""Seconds the machine may take to look through a folder, of any size."""


def short_hash(*texts: str) -> str:
    """Return a few letters that stand for `texts`."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:10]


class Requests(Protocol):
    """What puts requests to the agent of a machine, as a `RemoteKernel` does."""

    def request(self, op: str, timeout: float = ..., **arguments: Any) -> Any:
        """Ask the agent for something and return its answer."""


def remote_folder_of(live: LiveMachine, folder: Path) -> str:
    """Return where `folder` lies on a machine; other laptops' folders of that name lie elsewhere."""
    return live.folder_for(folder, _owner(folder))


def open_sync(
    live: LiveMachine,
    agent: Requests,
    folder: Path,
    progress: Callable[[int, int, str], None],
) -> FolderSync:
    """Return what keeps `folder` the same here and on a machine."""
    state = sync_folder(live.machine.name) / f"{_owner(folder)}.json"
    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    state.with_suffix(".folder").write_bytes(os.fsencode(folder))
    there = remote_folder_of(live, folder)
    remote = AgentFolder(functools.partial(_ask_folder, agent, there))
    return FolderSync(folder, remote, live.transport, there, state, progress)


def _ask_folder(agent: Requests, path: str, question: str, data: bytes) -> bytes:
    """Put a question about a folder to the agent."""
    text = base64.b64encode(data).decode()
    return base64.b64decode(agent.request("folder", _FOLDER_LIMIT, path=path, question=question, data=text))


def synced_folders(machine: str) -> list[Path]:
    """Return the folders of this computer that were ever synced with the machine of that name."""
    return [Path(os.fsdecode(file.read_bytes())) for file in sorted(sync_folder(machine).glob("*.folder"))]


def _owner(folder: Path) -> str:
    return short_hash(platform.node(), str(folder))


def too_wide(folder: Path) -> str:
    """Return why a folder is not kept the same on both sides; nothing when it can be."""
    if folder not in (home := Path.home().resolve(), *home.parents):
        return ""
    return (
        f"{folder} is not copied to the machine: it holds your whole home folder. "
        "Move the notebook into a folder of its own."
    )
