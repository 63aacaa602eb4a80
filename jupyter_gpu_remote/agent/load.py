"""What the machine is doing: the processors that kernels use, and the GPUs."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

EVERY = 15.0
"""Seconds between two looks."""
_QUERY = "name,utilization.gpu,memory.used,memory.total"
_LIMIT = 10.0
_BUSY_CPU = 0.03
"""Share of one core above which kernels count as working; an idle one takes about 0.002."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: its use in percent, its memory in MiB."""

    name: str
    use: float
    memory: float
    memory_total: float


def read_gpus() -> list[Gpu] | None:
    """Return the GPUs; None where their use can't be told."""
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=True,
        )
        rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
        return [
            Gpu(name, float(use), float(memory), float(total)) for name, use, memory, total in rows
        ] or None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # no NVIDIA GPU, a driver that fails, or a GPU that does not tell


def cpu_seconds(pids: Collection[int]) -> float:
    """Return the processor time that processes and their descendants have used so far."""
    import psutil

    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    used = one.cpu_times()
                    total += used.user + used.system
    return total


class Load:
    """Looks at the machine every `EVERY` seconds, in a thread: a driver that hangs must not stop the agent.

    Args:
        pids: Returns the processes of kernels.
    """

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        self.gpus: list[Gpu] | None = None
        self.cpu = 0.0
        """Cores that kernels used since the look before."""
        self.worked_at = 0.0
        self._pids = pids
        self._seen = (time.monotonic(), 0.0)

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="load", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.look()
            time.sleep(EVERY)

    def look(self) -> None:
        """Look once."""
        self.gpus = read_gpus()
        now, used = time.monotonic(), cpu_seconds(self._pids())
        then, before = self._seen
        self._seen = now, used
        # processes that ended take their time with them
        self.cpu = max(0.0, used - before) / max(now - then, 1e-3)
        if self.cpu > _BUSY_CPU or any(gpu.use for gpu in self.gpus or ()):
            self.worked_at = time.time()

    def facts(self) -> dict[str, Any]:
        """Return what there is to show."""
        gpus = None if self.gpus is None else [asdict(gpu) for gpu in self.gpus]
        return {"cpu": round(self.cpu, 2), "gpus": gpus}
