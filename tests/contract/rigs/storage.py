"""A machine of which there is only an agent, and a real S3 server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from jupyter_gpu_remote.agent.handover import Dialog
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import GpuRemoteError
from jupyter_gpu_remote.storage.mounts import Mounts
from jupyter_gpu_remote.storage.told import left_behind
from tests.agent_rig import Agents

LIMIT = 30.0


class Machine:
    """A machine of which there is only an agent: this computer, with a home of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.agents = Agents(folder / "agent")
        self.settings = {"share_keys": True, **settings}
        self.transport: Any = None
        self.notebook = folder / "notebook"
        self.mounts = Mounts(self, self.transport, GpuRemote(**self.settings), folder=str(self.notebook))

    def request(self, op: str, timeout: float = 30, **arguments: Any) -> Any:
        self.agents.start()
        with Dialog(self.agents.facts["socket"], 60) as dialog:
            return dialog.ask(op, **arguments)

    def mount(self, text: str) -> Path:
        self.ensure(text)
        place = Path(text.removesuffix(":ro").rpartition(":")[2])
        list(place.iterdir())  # known, it can be written to for a while with no bucket
        return place

    def ensure(self, *texts: str) -> None:
        self.mounts.ensure(GpuRemote(**self.settings, mount=list(texts)), lambda phase, said: None)

    def flush(self, limit: float = LIMIT) -> list[str]:
        return left_behind(self.mounts.flush(lambda done, total, what: None, limit))

    def rclones(self) -> list[psutil.Process]:
        return [
            p for p in psutil.process_iter(["cwd", "name"]) if str(self.agents.root) in (p.info["cwd"] or "")
        ]

    def end(self) -> None:
        self.mounts.close()
        self.agents.end()
        for process in self.rclones():
            process.kill()
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if str(self.home.parent) in (place := line.split()[4]):
                subprocess.run(["fusermount3", "-u", "-z", place], check=False)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(GpuRemoteError) as e:
        act()
    return str(e.value)
