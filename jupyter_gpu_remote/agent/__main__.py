"""``python -m jupyter_gpu_remote.agent ROOT VERSION``: start the agent unless as new a one runs.

Prints one JSON object: version, pid and socket of the agent that serves afterwards.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import wire
from .kernels import Kernel
from .server import Agent

_LIMIT = 20.0
_SUBSCRIBED = 0.5
"""Seconds to wait for a kernel to confirm that it sends to us as well."""


def ask(path: str, op: str, **arguments: Any) -> Any:
    """Put one request to the agent that listens at `path` and return its answer.

    Raises:
        OSError: Nobody listens there, or the answer does not come.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_LIMIT)
        connection.connect(path)
        connection.sendall(wire.pack_json(wire.AGENT, {"op": op, "id": 0, **arguments}))
        decoder = wire.Decoder()
        while data := connection.recv(1 << 16):
            for record in decoder.feed(data):
                return json.loads(record.parts[0]).get("result")
    raise ConnectionError("the agent closed the connection")


def _outdated(running: str, offered: str) -> bool:
    """Return whether an agent should give way: to a newer version, or to other code of the same one."""

    def numbers(version: str) -> list[int]:
        return [int(n) for n in version.partition("+")[0].split(".")]

    return running != offered and numbers(running) <= numbers(offered)


def _current(root: Path) -> dict[str, Any] | None:
    """Return the facts of the agent that runs, None when none does."""
    try:
        facts: dict[str, Any] = json.loads((root / "agent.json").read_text())
        status = ask(facts["socket"], "ping")
    except (OSError, ValueError, KeyError):
        return None
    return facts if status == "pong" else None


def _socket_folder(root: Path) -> Path:
    """Return a short private folder for sockets, the same one for each agent of `root`."""
    note = root / "sockets"
    if note.exists():
        folder = Path(note.read_text())
        try:
            stat = folder.lstat()
        except OSError:
            stat = None
        if stat and stat.st_uid == os.getuid() and stat.st_mode & 0o777 == 0o700:
            return folder
    folder = Path(tempfile.mkdtemp(prefix="gpu-remote-", dir=os.environ.get("XDG_RUNTIME_DIR")))
    note.write_text(str(folder))
    return folder


def _found_kernels(root: Path, sockets: Path) -> list[Kernel]:
    """Return the kernels of an earlier agent that still run, connected."""
    kernels = []
    for folder in sorted(root.glob("kernels/*/")):
        kernel = Kernel(folder.name, folder, sockets)
        if kernel.find():
            kernel.connect()
            kernels.append(kernel)
    end = time.monotonic() + _SUBSCRIBED
    for kernel in kernels:
        kernel.sockets[wire.IOPUB].poll(int(max(0, end - time.monotonic()) * 1000))
    return kernels


def _daemonize(log: Path) -> bool:
    """Fork twice; return False in the process that called, True in the daemon."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    return True


def _serve(root: Path, version: str, old: dict[str, Any] | None, locked: int) -> None:
    os.umask(0o077)
    sockets = _socket_folder(root)
    kernels = _found_kernels(root, sockets)
    if old:
        ask(old["socket"], "release")
    # held for as long as this agent lives; the one before lets go when it ends
    end = time.monotonic() + _LIMIT
    while True:
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError("another agent does not end") from None
            time.sleep(0.005)
    path = sockets / "agent"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    agent = Agent(root, sockets, version)
    agent.adopt(kernels, crashed=old is None)
    new = root / "agent.json.new"
    new.write_text(json.dumps({"version": version, "pid": os.getpid(), "socket": str(path)}))
    new.replace(root / "agent.json")
    agent.serve(listener)


def main() -> None:
    """Start an agent if that is needed, and say which one serves."""
    root, version = Path(sys.argv[1]), sys.argv[2]
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    starting = os.open(root / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(starting, fcntl.LOCK_EX)  # one starter at a time
    current = _current(root)
    if current is None or _outdated(current["version"], version):
        log = root / "agent.log"
        if _daemonize(log):
            os.close(starting)
            os.chdir("/")
            _serve(root, version, current, os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600))
            return
        old_pid, end = (current or {}).get("pid"), time.monotonic() + _LIMIT
        while (current := _current(root)) is None or current["pid"] == old_pid:
            if time.monotonic() > end:
                sys.exit(f"the agent did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.005)
    print(json.dumps(current))


if __name__ == "__main__":
    main()
