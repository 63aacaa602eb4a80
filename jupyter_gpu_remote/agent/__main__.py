"""``python -m jupyter_gpu_remote.agent ROOT VERSION``: start the agent unless as new a one runs.

Prints one JSON object: version, pid and socket of the agent that serves afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import resource
import select
import signal
import socket
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .handover import Dialog, found_kernels, subscribe, take_over
from .process import start_time
from .server import Agent

ANSWER_LIMIT = 10.0
"""Seconds after which an agent that does not answer is taken for frozen, and killed."""
_START_LIMIT = 45.0
_LOG_BYTES = 1 << 20
_FILES = 4096
"""Descriptors, as many as Jupyter Server asks for; kernels inherit the limit."""


def _outdated(running: str, offered: str) -> bool:
    """Return whether an agent should give way: to a newer version, or to other code of the same one."""

    def numbers(version: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", version.partition("+")[0])]

    return running != offered and numbers(running) <= numbers(offered)


def _current(root: Path) -> dict[str, Any] | None:
    """Return the facts of the agent that runs, None when none answers."""
    try:
        facts: dict[str, Any] = json.loads((root / "agent.json").read_text())
        with Dialog(facts["socket"], ANSWER_LIMIT) as agent:
            agent.ask("ping")
    except (OSError, ValueError, LookupError):
        return None
    return facts


def _socket_folder(root: Path) -> Path:
    """Return a short private folder for sockets, the same one for each agent of `root`."""
    note = root / "sockets"
    with contextlib.suppress(OSError):
        folder = Path(note.read_text())
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and found.st_mode & 0o777 == 0o700:
            return folder
    # not $XDG_RUNTIME_DIR, which goes when the user logs out
    folder = Path(tempfile.mkdtemp(prefix="gpu-remote-", dir="/tmp"))
    note.write_text(str(folder))
    return folder


def _lock(root: Path) -> int:
    """Become the one agent of `root`; kill one that does not end. Held for as long as this one lives."""
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    frozen_at = time.monotonic() + ANSWER_LIMIT
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps([os.getpid(), start_time(os.getpid())]).encode(), 0)
            return lock
        if time.monotonic() > frozen_at:
            _kill_holder(lock)
        time.sleep(0.005)


def _kill_holder(lock: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        pid, started = json.loads(os.pread(lock, 100, 0))
        if start_time(pid) == started:
            os.kill(pid, signal.SIGKILL)


def _serve(root: Path, version: str, old: dict[str, Any] | None, ready: Callable[[], None]) -> None:
    """Take over from the `old` agent if there is one, then serve."""
    sockets = _socket_folder(root)
    kernels = found_kernels(root, sockets)
    subscribe(kernels)
    crashed = True
    if old:
        with contextlib.suppress(OSError, LookupError), Dialog(old["socket"], ANSWER_LIMIT) as dialog:
            take_over(kernels, dialog)
            crashed = False
    lock = _lock(root)
    if crashed:
        for kernel in kernels:
            kernel.take_over()
    agent = Agent(root, sockets, version)
    agent.keeper.adopt(kernels, crashed)
    # in place of the old socket at once: there is no moment at which nobody listens
    path, new = sockets / "agent", sockets / "agent.new"
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(new))
    listener.listen(64)
    new.replace(path)
    facts = root / "agent.json.new"
    facts.write_text(json.dumps({"version": version, "pid": os.getpid(), "socket": str(path)}))
    facts.replace(root / "agent.json")
    ready()
    agent.serve(listener)
    os.close(lock)


def _daemon(root: Path, version: str, old: dict[str, Any] | None, report: int) -> None:
    """Be the agent; what goes wrong before it serves is reported, later it is in its log."""
    os.setsid()
    if os.fork():
        os._exit(0)
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for target in range(3):
            os.dup2(null, target)
        log = root / "agent.log"
        flags = os.O_TRUNC if log.exists() and log.stat().st_size > _LOG_BYTES else os.O_APPEND
        out = os.open(log, os.O_WRONLY | os.O_CREAT | flags, 0o600)
        for target in (1, 2):
            os.dup2(out, target)
        os.chdir("/")
        os.umask(0o077)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < _FILES:
            resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES if hard < 0 else min(_FILES, hard), hard))
        _serve(root, version, old, lambda: os.close(report))
        code = 0
    except BaseException as e:
        with contextlib.suppress(OSError):
            traceback.print_exc()
            os.write(report, f"{type(e).__name__}: {e}".encode()[:4000])
    finally:
        os._exit(code)  # not waiting for a folder that is being looked at


def _start(root: Path, version: str, old: dict[str, Any] | None, starting: int) -> None:
    """Start an agent and return when it serves; exit saying why when it does not."""
    read, write = os.pipe()
    if not (pid := os.fork()):
        os.close(read)
        os.close(starting)  # a copy would hold the lock
        _daemon(root, version, old, write)
    os.close(write)
    os.waitpid(pid, 0)
    said, end = b"", time.monotonic() + _START_LIMIT
    while select.select([read], [], [], max(0, end - time.monotonic()))[0]:
        if not (data := os.read(read, 4096)):
            break
        said += data
    else:
        said = b"it is not ready after %d s" % _START_LIMIT
    if said:
        sys.exit(f"the agent did not start: {said.decode(errors='replace')}")


def main() -> None:
    """Start an agent if that is needed, and say which one serves."""
    root, version = Path(sys.argv[1]), sys.argv[2]
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    starting = os.open(root / "starting", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(starting, fcntl.LOCK_EX)  # one starter at a time
    current = _current(root)
    if current is None or _outdated(current["version"], version):
        _start(root, version, current, starting)
        current = _current(root)
    if current is None:
        sys.exit("the agent started, but does not answer")
    print(json.dumps(current))


if __name__ == "__main__":
    main()
