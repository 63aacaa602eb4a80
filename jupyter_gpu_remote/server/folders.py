"""What lies on a machine: files that changed, and the agent's log."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import GpuRemoteError
from ..model import Machine
from ..synced import synced_folders
from ..verbs.visit import Visit
from .hub import Hub
from .problems import problem

_LOG_LINES = 200
_FILES = 200
"""Changed files of a folder that are listed."""


def agent_log(visit: Visit) -> str:
    """Return the end of the agent's log."""
    path = visit.request("status")["log"]
    said = visit.live.transport.run(["tail", "-n", str(_LOG_LINES), path]).stdout
    return said.decode(errors="replace")


def changed_files(hub: Hub, machine: Machine) -> list[dict[str, Any]]:
    """Return what has changed in each folder that a machine has a copy of."""
    return [_folder(hub, machine, folder) for folder in synced_folders(machine.name)]


def _folder(hub: Hub, machine: Machine, folder: Path) -> dict[str, Any]:
    out: list[dict[str, Any]] = []
    back: list[dict[str, Any]] = []
    why = None

    def look(visit: Visit) -> None:
        with closing(visit.sync(folder, lambda done, total, what: None)) as sync:
            for side, changed in zip((out, back), sync.pending(), strict=True):
                side += [{"path": _printable(path), "size": size} for path, size in changed.items()]

    try:
        hub.visits.talk(machine, look)
    except GpuRemoteError as e:
        why = problem(e)
    path = hub.path_of(str(folder))
    return {
        "folder": _printable(str(folder)),
        "path": None if Path(path).is_absolute() else _printable("" if path == "." else path),
        "out": out[:_FILES],
        "back": back[:_FILES],
        "more": max(0, len(out) - _FILES) + max(0, len(back) - _FILES),
        "problem": why,
    }


def _printable(path: str) -> str:
    # a name may be any bytes, JSON is text
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
