"""Which process does something, so that others can tell when it has ended."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one with the same pid by when it started (Unix seconds)."""

    host: str
    pid: int
    started: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @classmethod
    def me(cls) -> Owner:
        """Return this process."""
        import psutil

        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def dead(self) -> bool:
        """Return whether it certainly ended; a process on another host never counts as dead."""
        import psutil

        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            # the clock that start times are derived from may be set; a pid is not reused that quickly
            if abs(process.create_time() - self.started) > 2:
                return True
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False
