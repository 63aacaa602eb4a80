"""Bring the agent onto a machine and make sure that it runs.

One command over SSH when all is there already. Otherwise a second one brings the agent's files and uv, and
a third one has uv build an environment over there; the machine needs nothing but a Python 3.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__
from .config import state_dir
from .errors import EnvironmentBuildError
from .transport.base import Transport

Report = Callable[[str], None]

_HERE = Path(__file__).parent
_BUNDLED = ("agent", "variables")
_REQUIREMENTS = [
    "blake3>=1",
    "cloudpickle>=3.1,<4",
    "inotify_simple>=1.3",
    "ipykernel>=7.4,<8",
    "ipywidgets>=8.1,<9",
    "zstandard>=0.23",
]
_BUILT = "/.gpu-remote/env/"
_BILLED = "The machine still runs."
_START_LIMIT = 90.0
_PUSH_LIMIT = 600.0
_BUILD_LIMIT = 900.0
"""Seconds; a slow home connection pushes uv (20 MB), a slow mirror serves 70 MB of packages."""
_STEPS = {
    "start": "starting the agent",
    "copy": "copying the agent",
    "build": "installing Python packages",
}
_HINTS = {
    "No space left": "Make room on its disk: `df -h ~` over there.",
    "Read-only file system": "The home folder over there must be writable, so that the agent can live in it.",
    "Permission denied": "The home folder over there must be writable, so that the agent can live in it.",
}


@dataclass(frozen=True)
class Agent:
    """The agent that runs on a machine.

    Attributes:
        home: The user's home folder over there.
        socket: The unix socket that the agent listens on.
        python: The interpreter for kernels.
    """

    home: str
    socket: str
    python: str


@functools.lru_cache(maxsize=1)
def bundle() -> tuple[str, dict[str, int], bytes]:
    """Return the hash of the agent's files, their names and sizes, and them all as a gzipped tar."""
    buffer, digest, sizes = io.BytesIO(), hashlib.sha256(), {}
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(f"jupyter_gpu_remote/{name}")
            sizes[info.name] = len(data)
            info.size, info.mode = len(data), 0o600
            archive.addfile(info, io.BytesIO(data))
            digest.update(f"{name}:{len(data)}:".encode() + data)

        add("__init__.py", b"")
        for package in _BUNDLED:
            for file in sorted((_HERE / package).glob("*.py")):
                add(f"{package}/{file.name}", file.read_bytes())
    return digest.hexdigest()[:12], sizes, buffer.getvalue()


def ensure_agent(
    transport: Transport, python: str, report: Report, policy: Mapping[str, Any] | None = None
) -> Agent:
    """Make sure that the agent runs on the machine, in a version no older than ours.

    Args:
        transport: The way there.
        python: An interpreter over there to use as it is; empty builds an environment.
        report: Told what is going on, when it takes longer.
        policy: When the machine is to end itself, as `agent.guard.Policy` has it; None for never.

    Raises:
        EnvironmentBuildError: The machine has no usable Python, or the environment can't be built.
    """
    name, files, archive = bundle()
    if _BUILT in python:
        python = ""  # one that we built: it is made again when it is gone or out of date
    requirements = [f"python{sys.version_info[0]}.{sys.version_info[1]}", *_REQUIREMENTS]
    options = {
        "bundle": name,
        "files": files,
        "archive": len(archive),
        "version": f"{__version__}+{name}",
        "python": python,
        "environment": hashlib.sha256(json.dumps(requirements).encode()).hexdigest()[:12],
        "interpreter": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "requirements": _REQUIREMENTS,
        "policy": {"idle": 0.0, "poweroff": [], **(policy or {})},
    }
    step = functools.partial(_step, transport, python or "python3", options)
    answer = step("start", limit=_START_LIMIT)
    if answer["missing"]:
        if answer["system"] != "Linux":
            raise EnvironmentBuildError(
                f"The machine runs {answer['system']}; only Linux can run the agent.",
                hint="Name a Linux machine with --on.",
            )
        if python and "environment" in answer["missing"]:
            raise _no_python(python)
        if "uv" in answer["missing"]:
            report("copying the agent and uv")
            uv = _uv(answer["architecture"], answer["libc"])
            step("copy", input=archive + uv, limit=_PUSH_LIMIT)
        elif "bundle" in answer["missing"]:
            report("copying the agent")
            step("copy", input=archive, limit=_PUSH_LIMIT)
        what = "build" if "environment" in answer["missing"] else "start"
        report(_STEPS[what])
        answer = step(what, limit=_BUILD_LIMIT)
        if answer["missing"]:
            raise EnvironmentBuildError(
                f"What was set up on the machine is not there: {', '.join(answer['missing'])}.",
                billed=_BILLED,
                hint="Look at `~/.gpu-remote` over there; it may be deleted while no cell runs.",
            )
    return Agent(answer["home"], answer["agent"]["socket"], answer["python"])


def bring_uv(transport: Transport, python: str, architecture: str, libc: str) -> None:
    """Bring uv onto a machine.

    Args:
        transport: The way there.
        python: An interpreter over there.
        architecture: What `platform.machine` says over there.
        libc: What `platform.libc_ver` calls its C library.

    Raises:
        EnvironmentBuildError: It can't be had, or not be kept over there.
    """
    _step(transport, python, {"archive": 0}, "copy", limit=_PUSH_LIMIT, input=_uv(architecture, libc))


def _no_python(python: str) -> EnvironmentBuildError:
    return EnvironmentBuildError(
        f"There is no {python} on the machine.",
        billed=_BILLED,
        hint="Install it there: `sudo apt-get install python3`, or name another machine with --on.",
    )


def _step(
    transport: Transport, python: str, options: dict[str, Any], step: str, limit: float, input: bytes = b""
) -> dict[str, Any]:
    """Run one step of `agent/setup.py` over there and return its answer."""
    source = (_HERE / "agent" / "setup.py").read_text()
    argv = [python, "-I", "-c", source, json.dumps({"step": step, **options})]
    done = transport.run(argv, input=input, timeout=limit)
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode in (126, 127):
        raise _no_python(python)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = said or done.stdout.decode("utf-8", "replace").strip()
        raise EnvironmentBuildError(
            f"Setting up the machine failed while {_STEPS[step]}"
            f" (exit code {done.returncode}): {said[-1500:]}",
            billed=_BILLED,
            hint="Commands must run there without a terminal: try `true` over there by ssh.",
        ) from None
    if error := answer.get("error"):
        raise EnvironmentBuildError(
            f"Setting up the machine failed while {_STEPS[answer.get('step', step)]}: {error}"
            + (f"\n{said[-1500:]}" if said else ""),
            billed=_BILLED,
            hint=next((hint for sign, hint in _HINTS.items() if sign in error + said), ""),
        )
    return answer


def _packed(program: Path) -> bytes:
    """Return a program gzipped; kept, since that takes longer than sending it."""
    facts = program.stat()
    kept = state_dir() / "uv" / f"{facts.st_size}-{facts.st_mtime_ns}.gz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_bytes(gzip.compress(program.read_bytes(), compresslevel=1))
        new.replace(kept)
    return kept.read_bytes()


def _uv(architecture: str, libc: str) -> bytes:
    """Return uv for the machine, gzipped: the one installed here if it fits, else from the package index."""
    import uv

    if (platform.system(), platform.machine(), platform.libc_ver()[0]) == ("Linux", architecture, libc):
        return _packed(Path(uv.find_uv_bin()))
    kind = "manylinux" if libc else "musllinux"
    cache = state_dir() / "uv" / f"{importlib.metadata.version('uv')}-{kind}-{architecture}"
    if not (wheels := list(cache.glob("*.whl"))):
        # wheels name the oldest system that they run on; any of these is old enough
        tags = ["manylinux2014", "manylinux_2_28"] if libc else ["musllinux_1_1", "musllinux_1_2"]
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q"]
                + [f"--platform={tag}_{architecture}" for tag in tags]
                + ["-d", folder, f"uv=={importlib.metadata.version('uv')}"],
                capture_output=True,
                text=True,
                timeout=_PUSH_LIMIT,
                check=False,
            )
            if done.returncode:
                raise EnvironmentBuildError(
                    f"uv for {architecture} could not be downloaded: {done.stderr.strip()[-500:]}",
                    billed=_BILLED,
                    hint="Check that `pip download uv` works here.",
                )
            cache.mkdir(exist_ok=True)
            wheels = [w.replace(cache / w.name) for w in Path(folder).glob("*.whl")]
    with zipfile.ZipFile(wheels[-1]) as wheel:
        member = next(n for n in wheel.namelist() if n.endswith("/scripts/uv"))
        return gzip.compress(wheel.read(member), compresslevel=1)
