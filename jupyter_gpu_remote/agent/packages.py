"""The packages that notebooks need: each set in an environment of its own, beside that of the kernels.

``~/.gpu-remote/packages/KEY`` is such an environment, whole or not there. ``KEY.json`` says how far it is,
and ``KEY.lock`` is held for as long as somebody builds it. So whoever is killed at any point leaves what the
next call understands.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

INSTALLING, READY, FAILED = "installing", "ready", "failed"
_CHECK_LIMIT = 30.0
"""Seconds that a Python may take to say what it has."""
_TRIES, _PAUSE = 20, 0.01
"""Whoever only looks whether a lock is held holds it for a moment."""


def ensure(needs: Mapping[str, Any], python: str, folder: str) -> dict[str, Any]:
    """Have packages installed, by a process of their own; what failed before is tried again.

    Args:
        needs: The fields of `environment.Needs`.
        python: The kernel's interpreter.
        folder: The notebook's folder here, which paths in the requirements start from.

    Returns:
        The state, as in `read`, with the ``file`` where it can be followed; ``lacks`` is ``uv`` where that
        must be brought first.

    Raises:
        OSError: Nothing can be written here.
    """
    requirements = list(needs["requirements"])
    file = packages_folder() / f"{_key(requirements, python, folder)}.json"
    state = read(file)
    if state.get("state") == READY and Path(state["path"]).is_dir():
        return {**state, "file": str(file)}
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(file) as lock:
        state = {"state": INSTALLING, "since": time.time(), "step": "starting", "path": ""}
        state.update(
            {name: needs.get(name) or [] for name in ("notes", "modules")}, source=needs.get("source", "")
        )
        if lock is None:
            found = read(file)
            # what failed stands there until whoever tries again has written
            return {**(state if found.get("state") == FAILED else {**state, **found}), "file": str(file)}
        if _are_met(requirements, python):
            return {**state, "state": READY, "step": "", "file": ""}
        uv = find_uv(python)
        if uv is None:
            lacks = {"lacks": "uv", "architecture": platform.machine(), "libc": platform.libc_ver()[0]}
            return {**state, "state": FAILED, "error": "There is no uv on the machine.", "file": "", **lacks}
        write(file, state)
        job = {"requirements": requirements, "python": python, "folder": folder, "uv": uv, "cuda": cuda()}
        _start(file, lock, job)
    return {**state, "file": str(file)}


def packages_folder() -> Path:
    """Return where the environments lie."""
    return Path.home() / ".gpu-remote" / "packages"


def read(file: Path) -> dict[str, Any]:
    """Return how far an installation is; empty when nobody has begun it.

    ``state``, ``since`` (seconds since the epoch), ``step`` (what is done now), ``path`` (of the environment;
    empty when the kernel's own Python will do), ``source``, ``notes``, ``modules`` (what can be imported in
    the end; empty when not known), ``missing`` (why a package was left out, by name), ``error``, ``hint``.
    """
    try:
        state: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return state


def write(file: Path, state: Mapping[str, Any]) -> None:
    """Write a state that a reader sees as a whole."""
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(state), "utf-8")
    new.replace(file)


def is_under_way(file: Path) -> bool:
    """Return whether somebody is building the environment whose state is in `file`."""
    try:
        with file.with_suffix(".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@functools.lru_cache(maxsize=1)
def cuda() -> int:
    """Return the newest CUDA that the driver knows, as 12; 0 without one or without a GPU."""
    version = ctypes.c_int(0)
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2():
            return 0
        nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version))
        nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return 0
    return version.value // 1000


def _key(requirements: Sequence[str], python: str, folder: str) -> str:
    # the same requirements are the same environment in all folders, unless they name something in them
    local = ("./", "-e ./", "--find-links ./")
    place = folder if any(line.startswith(local) for line in requirements) else ""
    parts = [requirements, os.path.realpath(python), cuda(), place]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[int | None]:
    """Hold the lock of an environment; yield its descriptor, or None when somebody builds it already."""
    with file.with_suffix(".lock").open("ab") as lock:
        for _ in range(_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_PAUSE)
        else:
            yield None
            return
        yield lock.fileno()  # closing lets go of it, unless a child has it too


def _are_met(requirements: Sequence[str], python: str) -> bool:
    """Return whether the kernel's own Python has it all."""
    if not requirements:
        return True
    command = [python, str(Path(__file__).with_name("satisfied.py")), json.dumps(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, cwd="/", timeout=_CHECK_LIMIT, check=False)
        return json.loads(done.stdout) is True
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False


def find_uv(python: str) -> str | None:
    """Return the uv that was brought here, else one that is here anyway."""
    ours = Path.home() / ".gpu-remote" / "bin" / "uv"
    beside = Path(python).with_name("uv")
    return next((str(p) for p in (ours, beside) if os.access(p, os.X_OK)), None) or shutil.which("uv")


def _start(file: Path, lock: int, job: Mapping[str, Any]) -> None:
    with file.with_suffix(".log").open("wb") as log:
        child = subprocess.Popen(
            # by its real name: in a kernel this package has another
            [job["python"], "-m", "jupyter_gpu_remote.agent.installer", str(file), str(lock)],
            cwd=Path(__file__).parents[2],  # where this package is imported from
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,
        )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError), child.stdin:
        child.stdin.write(json.dumps(job).encode())  # an index's address may hold a password: not for an argv
    _children[:] = [c for c in _children if c.poll() is None]
    _children.append(child)


_children: list[subprocess.Popen[bytes]] = []
"""Kept so that those that have ended are waited for."""
