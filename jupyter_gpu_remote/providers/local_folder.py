"""A `local` machine as it lies on disk, and what runs on it.

Its folder holds what it is (``machine.json``, written once), its ``home``, the log of its server, where
that server listens (``address.json``), and a ``lock`` that is held for as long as the server lives. So
nothing depends on a pid, and whoever is killed at any point leaves what the next call understands.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ProviderError

LIMIT = 20.0
"""Seconds to wait for another process that is at work here, or for processes to end."""


def read(file: Path) -> Mapping[str, Any]:
    """Return the JSON object in `file`."""
    record: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record


def marks(directory: Path) -> dict[str, str]:
    """Return the environment variables by which a process of the machine is known."""
    # a name is unique in one state folder only
    return {"GPU_REMOTE_MACHINE": directory.name, "GPU_REMOTE_MACHINE_DIR": str(directory)}


def make(directory: Path, machine: Mapping[str, Any]) -> None:
    """Make the machine's folder, whole or not at all."""
    unfinished = Path(tempfile.mkdtemp(prefix=".new-", dir=directory.parent))  # mode 0700
    (unfinished / "home").mkdir(mode=0o700)
    (unfinished / "machine.json").write_text(json.dumps(machine), encoding="utf-8")
    unfinished.rename(directory)


def start(directory: Path) -> None:
    """Start the machine's server unless it runs, or ran: a machine that died stays dead."""
    if (directory / "address.json").exists():
        return
    with (directory / "lock").open("a") as lock, (directory / "server.log").open("ab") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        server = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.local_server", str(directory)],
            cwd=directory,  # modules are looked for here first: never in a folder that the user fills
            env=read(directory / "machine.json")["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # the lock with it: at no moment is there a server and a free lock; what it starts gets no copy
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )
    # leaves no zombie of it for as long as this process lives
    threading.Thread(target=server.wait, name=f"end of {directory.name}", daemon=True).start()


def lives(directory: Path) -> bool:
    """Return whether the machine's server runs; needs `locked`, so as not to be in the way of `start`."""
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def end_processes(directory: Path) -> None:
    """Kill what runs on the machine, this process excepted.

    Raises:
        ProviderError: Something does not end.
    """
    import psutil

    end = time.monotonic() + LIMIT
    while victims := _processes(directory):
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(victims, timeout=0.1)
        if time.monotonic() > end:
            pids = ", ".join(str(p.pid) for p in victims)
            raise ProviderError(
                f"Processes of the machine {directory.name} do not end: {pids}.",
                hint="They wait for the system (a disk or a network mount); try again.",
            )


def _processes(directory: Path) -> list[Any]:
    """Return what carries the machine's marks, and its descendants, which may have dropped them."""
    import psutil

    wanted = marks(directory).items()
    facts = {}
    for process in psutil.process_iter():  # its `info` would be shared with other threads
        with suppress(psutil.NoSuchProcess):
            facts[process] = process.as_dict(["ppid", "environ"])
    parents = {p: known["ppid"] for p, known in facts.items()}
    found = more = {p.pid: p for p, known in facts.items() if wanted <= (known["environ"] or {}).items()}
    while more:
        more = {p.pid: p for p, parent in parents.items() if parent in more and p.pid not in found}
        found = found | more
    return [p for pid, p in found.items() if pid != os.getpid()]


@contextmanager
def locked(root: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes and threads from changing which machines there are in `root`.

    Raises:
        ProviderError: Another one holds it for longer than `LIMIT`.
    """
    end = time.monotonic() + LIMIT
    with (root / ".lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ProviderError(
                        f"Another process has kept the machines in {root} locked for {LIMIT:g} s.",
                        hint=f"See which one it is with: fuser {root / '.lock'}.",
                    ) from None
                time.sleep(0.01)
        try:
            yield
        finally:
            # closing is not enough when another thread forked meanwhile
            fcntl.flock(lock, fcntl.LOCK_UN)


def remove(directory: Path) -> None:
    """Remove the machine's folder, and what earlier calls that were cut short left beside it.

    Raises:
        ProviderError: Something in it cannot be removed.
    """
    root = directory.parent
    with locked(root):
        if directory.exists():
            end_processes(directory)  # what was started since the caller did so
            for mount in map(read, directory.glob("home/.gpu-remote/host/*/mounts/*/mount.json")):
                if not mount["ended"]:
                    _unmount(Path(mount["path"]))
            # out of sight at once, however long the rest takes
            directory.rename(tempfile.mkdtemp(prefix=".gone-", dir=root) + "/machine")
        for unfinished in root.glob(".new-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        leftovers = list(root.glob(".gone-*"))
    for leftover in leftovers:
        _remove_tree(leftover)


def _remove_tree(path: Path) -> None:
    if mounted := _unmount(path):
        raise ProviderError(
            f"Nothing is removed from {path}: {mounted[0]} is mounted there, and what is in it would go too.",
            hint=f"Unmount it (umount {mounted[0]}), then delete the machine again.",
        )
    with suppress(FileNotFoundError):  # another process removes it too
        try:
            shutil.rmtree(path)
        except PermissionError:
            # folders made read-only over there
            for folder, subfolders, _ in os.walk(path):
                for name in subfolders:
                    inner = Path(folder, name)
                    if not inner.is_symlink():
                        inner.chmod(0o700)
            try:
                shutil.rmtree(path)
            except PermissionError as e:
                raise ProviderError(
                    f"The files of a removed machine stay in {path}: {e}.", hint="Remove them as their owner."
                ) from e


def _unmount(path: Path) -> list[str]:
    """Unmount the buckets below `path`, whose servers are dead, and return what else is mounted there."""
    import psutil

    def mounted(kind: str = "") -> list[str]:
        below = (p for p in psutil.disk_partitions(all=True) if Path(p.mountpoint).is_relative_to(path))
        return [p.mountpoint for p in below if p.fstype.startswith(kind)]

    for point in reversed(mounted("fuse")):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["fusermount3", "-u", "-z", point], capture_output=True, timeout=LIMIT)
    return mounted()


if __name__ == "__main__":
    end_processes(Path(sys.argv[1]))  # how such a machine is powered off
