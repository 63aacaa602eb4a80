"""Who does something: which process, so that others can tell when it ended, and of which installation."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .config import state_dir


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


def installation() -> str:
    """Return the id of this state folder, which keeps two computers of one user apart in a cloud."""
    path = state_dir() / "installation"
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(uuid.uuid4().hex)
        with suppress(FileExistsError):  # a link never replaces what another process was faster to make
            os.link(temporary, path)
        Path(temporary).unlink()
    return path.read_text().strip()
