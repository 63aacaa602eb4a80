"""A kernel's process: started, found again, signalled, and why it ended.

It is of a process session of its own, so it outlives the agent; a later agent finds it by the
`kernel.json` in its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHELL_PORT, IOPUB_PORT, STDIN_PORT, CONTROL_PORT, HEARTBEAT_PORT = range(1, 6)
_PORTS = {
    "shell_port": SHELL_PORT,
    "iopub_port": IOPUB_PORT,
    "stdin_port": STDIN_PORT,
    "control_port": CONTROL_PORT,
    "hb_port": HEARTBEAT_PORT,
}
START_LIMIT = 60.0
"""Seconds a new process may take until it says something."""


def start_time(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot, None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] == b"Z" else int(fields[19])


def _path_of(python: str) -> str:
    """Return a PATH on which ``pip`` and the like are those of the kernel's own environment."""
    return os.pathsep.join(filter(None, (str(Path(python).parent), os.environ.get("PATH", ""))))


def _oom_kills() -> int:
    """Return how many processes the kernel of this machine has killed for memory."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0


class Process:
    """The process of one kernel, if there is one yet.

    Args:
        folder: Where its facts and its log lie.
        sockets: Folder for its unix sockets; its path must be short.
    """

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.pidfd = -1
        self._sockets = sockets
        self._child: subprocess.Popen[bytes] | None = None
        self._oom_kills = _oom_kills()
        self._verdict = ""

    def start(self, name: str, python: str, cwd: str, env: Mapping[str, str]) -> None:
        """Start it, in place of the one before if there was one.

        Raises:
            OSError: There is no such Python, or the folder cannot be made.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(cwd).mkdir(parents=True, exist_ok=True)
        self._remove_sockets()
        base = self._sockets / f"{name[:12]}-{time.time_ns() % 10**9:x}"
        # no key: the sockets lie in a folder that only this user may enter
        connection = {"transport": "ipc", "ip": str(base), "key": "", "signature_scheme": "hmac-sha256"}
        file = base.with_suffix(".json")  # not in the kernel's folder, which moves when a spare is taken
        file.write_text(json.dumps({**connection, **_PORTS}))
        launcher = Path(__file__).with_name("launcher.py")
        self._oom_kills, self._verdict = _oom_kills(), ""
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._child = subprocess.Popen(
                [python, "-Xfrozen_modules=off", str(launcher), "-f", str(file)],
                cwd=cwd,
                env={**os.environ, "PATH": _path_of(python), **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        pid = self._child.pid
        self.facts = {
            **self.facts,
            "pid": pid,
            "started": start_time(pid),
            "python": python,
            "cwd": cwd,
            "env": dict(env),
            "base": str(base),
            "created": time.time(),
        }
        try:
            self.save()
        except OSError:
            self.signal(signal.SIGKILL)
            raise

    def save(self) -> None:
        """Write down what a later agent needs to find it again."""
        new = self.folder / "kernel.json.new"
        new.write_text(json.dumps(self.facts))
        new.replace(self.folder / "kernel.json")

    def find(self) -> bool:
        """Read the facts that an earlier agent wrote; False when nobody can speak to it any more."""
        try:
            self.facts = json.loads((self.folder / "kernel.json").read_text())
            young = time.time() - self.facts["created"] < START_LIMIT
            # its sockets may have been cleaned up with everything else in a folder for temporary files
            return self.alive() and (young or Path(f"{self.facts['base']}-{SHELL_PORT}").exists())
        except (OSError, ValueError, KeyError):
            return False

    def watch(self) -> None:
        """Get a descriptor that is readable once it has ended."""
        with contextlib.suppress(OSError):  # Linux before 5.3: somebody has to look from time to time
            self.pidfd = os.pidfd_open(self.facts["pid"])

    def unwatch(self) -> None:
        """Close that descriptor."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def remove(self) -> None:
        """End it, if it runs, and delete all that was kept of it."""
        if self.alive():
            self.signal(signal.SIGKILL)
        self._remove_sockets()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_sockets(self) -> None:
        if base := self.facts.get("base"):
            for name in (f"{base}.json", *(f"{base}-{port}" for port in _PORTS.values())):
                Path(name).unlink(missing_ok=True)

    def alive(self) -> bool:
        """Return whether the process runs."""
        return (
            self.facts.get("started") is not None and start_time(self.facts["pid"]) == self.facts["started"]
        )

    def signal(self, number: int) -> None:
        """Signal the kernel and the processes it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.facts.get("pid"):
                os.killpg(self.facts["pid"], number)

    def last_words(self) -> str:
        """Return what the process wrote in the end outside of Jupyter's channels."""
        try:
            log = (self.folder / "log").read_text(errors="replace").strip()
        except OSError:
            return ""
        crash = log.rfind("Fatal Python error")
        if crash < 0:
            return log[-600:]
        # of all threads, the one that crashed
        what, at = log[crash:].split("\n", 1)[0], log.find("Current thread", crash)
        return f"{what}\n{log[at : at + 600]}" if at >= 0 else log[crash : crash + 600]

    def end_for(self, verdict: str) -> None:
        """Kill the process for a reason, which becomes the cause of its death."""
        self._verdict = verdict
        self.signal(signal.SIGKILL)

    def cause_of_death(self) -> str:
        """Return why the process ended, as far as that can be known."""
        code = self._child.wait() if self._child else None
        if self._verdict:
            return self._verdict
        if code in (None, -signal.SIGKILL) and _oom_kills() > self._oom_kills:
            return "the machine ran out of memory and killed it"
        if code is None:
            return "it ended, and the agent that knew why is gone"
        if code < 0:
            names = {s.value: s.name for s in signal.Signals}
            return f"it was killed by {names.get(-code, f'signal {-code}')}"
        return f"it exited with code {code}"
