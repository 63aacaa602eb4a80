"""What must be there for remote cells to work, and what to do where it is not."""

from __future__ import annotations

import platform
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .config import GpuRemote
from .errors import ConfigurationError, GpuRemoteError, ProviderAuthError
from .model import Machine
from .providers.base import load_provider, provider_names
from .registry import Registry

_ASK_LIMIT = 30.0


@dataclass(frozen=True)
class Check:
    """How one thing stands.

    Attributes:
        ok: Whether it is as it should be.
        text: What was found.
        hint: The next step when it is not.
        needed: Whether nothing works without it.
    """

    ok: bool
    text: str
    hint: str = ""
    needed: bool = False


def checks(config: GpuRemote, registry: Registry) -> Iterator[Check]:
    """Check one thing after the other."""
    yield _python()
    yield from _programs()
    yield from _providers(config)
    yield from _state(registry)
    yield from _masters()


def _python() -> Check:
    version = f"Python {platform.python_version()} at {sys.executable}"
    return Check(sys.version_info >= (3, 10), version, "Use Python 3.10 or newer.", needed=True)


def _programs() -> Iterator[Check]:
    ssh, rsync = _version("ssh", "-V"), _version("rsync", "--version")
    yield Check(bool(ssh), f"ssh: {ssh or 'not here, paramiko serves instead (slower)'}", "Install OpenSSH.")
    yield Check(
        bool(rsync),
        f"rsync: {rsync or 'not here, files travel whole'}",
        "Install rsync: it sends only changes.",
    )


def _version(program: str, option: str) -> str:
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        said = subprocess.run([path, option], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (said.stdout or said.stderr).strip().partition("\n")[0]


def _providers(config: GpuRemote) -> Iterator[Check]:
    names = provider_names()

    def ask(name: str) -> Check:
        try:
            machines = load_provider(name, config).machines()
        except (ProviderAuthError, ConfigurationError) as e:
            return Check(False, f"{name}: cannot be used: {e.message}", e.hint or f"Set up {name}.")
        except GpuRemoteError as e:
            return Check(False, f"{name}: does not answer: {e.message}", e.hint or "Try again.")
        except Exception as e:  # one provider's bug must not hide the others
            return Check(False, f"{name}: failed: {e!r}", "Run it with --debug, and report it.")
        return Check(True, f"{name}: can be used, {len(machines)} of our machines there")

    pool = ThreadPoolExecutor(max(1, len(names)))
    try:
        asked = {name: pool.submit(ask, name) for name in names}
        for name, answer in asked.items():
            try:
                yield answer.result(_ASK_LIMIT)
            except futures.TimeoutError:  # one must not keep the others
                yield Check(False, f"{name}: no answer within {_ASK_LIMIT:.0f} s", "Check the network.")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if not names:
        yield Check(False, "no provider is installed", "Install jupyter_gpu_remote again.", needed=True)


def _state(registry: Registry) -> Iterator[Check]:
    try:
        machines = registry.machines()
        registry.note("checked", "", "")  # can it be written?
        mode = stat.S_IMODE(registry.path.stat().st_mode)
    except GpuRemoteError as e:
        yield Check(False, f"state file: {e.message}", e.hint, needed=True)
        return
    private = not mode & 0o077 or sys.platform == "win32"
    yield Check(
        private,
        f"state file: {registry.path}, {len(machines)} machines"
        + ("" if private else ", others can read it"),
        f"chmod 600 {registry.path}",
    )
    left = [m.name for m in machines if _abandoned(m, registry)]
    if left:
        yield Check(False, f"launches that nobody goes on with: {', '.join(left)}", "jupyter gpu-remote reap")


def _abandoned(machine: Machine, registry: Registry) -> bool:
    return not machine.ready_at and registry.lease_owner(machine.name) is None


def _masters() -> Iterator[Check]:
    try:
        used, stale = control_sockets()
    except GpuRemoteError as e:
        yield Check(False, f"SSH connections: {e.message}", e.hint, needed=True)
        return
    yield Check(
        not stale,
        f"SSH connections: {len(used)} control sockets in use, {len(stale)} left behind",
        "jupyter gpu-remote reap",
    )


def control_sockets() -> tuple[list[Path], list[Path]]:
    """Return the control sockets of our SSH connections: those in use, and those whose ssh is gone."""
    if sys.platform == "win32":
        return [], []
    from .transport.controldir import control_dir

    used: list[Path] = []
    stale: list[Path] = []
    for path in sorted(control_dir().iterdir()):
        if path.is_socket():
            (used if _listens(str(path)) else stale).append(path)
    return used, stale


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
