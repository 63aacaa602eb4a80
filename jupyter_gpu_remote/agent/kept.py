"""What is kept on disk of a bucket that this machine uses, so that a later agent goes on with it.

A folder readable by this user alone: ``mount.json`` with the facts; rclone's configuration and credentials.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import rclone
from .mountpoint import Refused

REMOTE = "bucket"
"""What rclone's configuration calls it."""
NAMED = 200
"""Files that are named, of those on their way."""
NOTHING: Mapping[str, Any] = {
    "names": [],
    "count": 0,
    "bytes": 0,
    "open": [],
    "outputs": 0,
    "failing": False,
}
"""What `Kept.waiting` returns when all is in the bucket."""
_FILE = re.compile(r"[a-z][a-z.]{0,30}")
_ERROR = re.compile(r" (?:ERROR|CRITICAL|NOTICE) *: (.*(?:fail|error|expired).*)", re.IGNORECASE)
_LOG_TAIL = 20_000


class Kept(ABC):
    """One bucket in use.

    Args:
        folder: What is kept of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.why = ""
        """Why it is not up, as far as that is known."""
        self.lock = threading.Lock()
        """Held by who begins or ends it."""

    @property
    def path(self) -> str:
        """The folder of the machine that it is about."""
        return str(self.facts["path"])

    def make(self, facts: Mapping[str, Any], files: Mapping[str, str]) -> None:
        """Write down what is wanted.

        Args:
            facts: ``url``, ``path``, ``root`` (as rclone names it), ``read_only``, ``copies``, ``expires``.
            files: The configuration and the credentials, by name.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError):  # what another one of this name left unsent
            self.facts = json.loads((self.folder / "mount.json").read_text())
        self.facts.update(facts, ended=False)
        self.renew(files, facts["expires"])

    def renew(self, files: Mapping[str, str], expires: float) -> None:
        """Replace credentials; rclone reads them when its own have expired."""
        for name, text in files.items():
            if not _FILE.fullmatch(name):
                raise ValueError(f"{name!r} is no file of a mount")
            self._write(name, text)
        self.facts["expires"] = expires
        self._save()

    def find(self) -> bool:
        """Read the facts that an earlier agent wrote; False when it is in use no more."""
        try:
            self.facts = json.loads((self.folder / "mount.json").read_text())
            return bool(self.path) and not self.facts["ended"]
        except (OSError, ValueError, KeyError):
            return False

    def _save(self) -> None:
        self._write("mount.json", json.dumps(self.facts))

    def _write(self, name: str, text: str) -> None:
        new = self.folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
        new.replace(self.folder / name)

    def look(self, hurry: bool = False, queues: bool = True) -> dict[str, Any]:
        """Tell what there is to know of it.

        Args:
            hurry: Have what waits for its turn uploaded now.
            queues: Also tell what is on its way; see `waiting`.
        """
        state = {name: self.facts[name] for name in ("url", "path", "read_only", "expires")}
        state.update(copies=self.facts.get("copies", False), up=self.up(), why=self.why, error="")
        state.update({name: value for name, value in NOTHING.items() if name != "failing"})
        if state["up"] and queues and not state["read_only"]:
            try:
                state.update(self.waiting(hurry))
                state["error"] = self.last_error() if state.pop("failing") else ""
            except OSError as e:
                state.update(up=False, why=f"what is on its way cannot be told: {e}")
        return state

    def last_error(self) -> str:
        """Return the last error that rclone wrote."""
        try:
            with (self.folder / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
                errors = _ERROR.findall(log.read().decode("utf-8", "replace"))
        except OSError:
            return ""
        return errors[-1].strip()[-1000:] if errors else ""

    @abstractmethod
    def up(self) -> bool:
        """Return whether what is written at its path goes to the bucket."""

    @abstractmethod
    def begin(self) -> None:
        """Use the bucket, and see that it answers.

        Raises:
            Lacking: The machine lacks something.
            Refused: The path can't be used, or the bucket not be reached.
        """

    def end(self, anyway: bool = False) -> None:
        """Use it no more.

        Raises:
            Refused: Something is not in the bucket yet, and is not to be let go `anyway`.
        """
        if not anyway and self.up() and (count := self.waiting(hurry=True)["count"]):
            are = "file is" if count == 1 else "files are"
            raise Refused(f"{count} {are} not in {self.facts['url']} yet")
        self._let_go()

    @abstractmethod
    def _let_go(self) -> None:
        """Use it no more, whatever is not there yet."""

    @abstractmethod
    def waiting(self, hurry: bool = False) -> dict[str, Any]:
        """Tell what was written here and is not in the bucket yet; with `hurry`, have it uploaded now.

        Returns:
            ``names`` (the first of them), ``count``, ``bytes``, ``open`` (names of those that somebody may
            still write to), ``outputs`` (how many pieces of what cells put out are not there yet),
            ``failing`` (whether an upload failed and is tried again).
        """

    def _rclone(self, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Start rclone with the configuration of the bucket; what it complains of goes into the log."""
        argv = [str(rclone.program()), *words, "--config", "rclone.conf"]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(argv, cwd=self.folder, env=rclone.environment(), stderr=log, **options)


def name_of(url: str, path: str) -> str:
    """Return the name of the folder in which a bucket's use is kept."""
    return hashlib.sha256(f"{url}\0{path}".encode()).hexdigest()[:12]
