"""A folder of this machine whose files are copied into a bucket as they are written.

Nothing is mounted: the folder stays what it is, and is quick. A file is copied again whenever it has changed;
one that is deleted here stays in the bucket.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import rclone
from .kept import NAMED, NOTHING, REMOTE, Kept
from .manifest import NEVER
from .mountpoint import Refused
from .openfiles import open_for_writing

NUMBER = "{n}"
"""What stands for the number of a run in a URL."""
_LIMIT = 20.0
"""Seconds for the bucket's first answer."""
_PAUSE = 2.0
"""Seconds from the end of one transfer to the beginning of the next, unless there is a hurry."""
_STEP = 0.05
_FLAGS = (
    *("--transfers", "8", "--no-traverse", "--retries", "1", "--contimeout", "10s", "--timeout", "60s"),
    # a log that grows is copied as far as it goes
    *("--local-no-check-updated", "--log-level", "NOTICE"),
)

Look = dict[str, tuple[int, int]]
"""Size and time of change, in nanoseconds, by name."""


class Copied(Kept):
    """One folder that is copied into a bucket.

    Args:
        folder: What is kept of it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._sent: Look | None = None
        self._failed = False
        self._ended = 0.0
        self._running: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._over = False

    def up(self) -> bool:
        """Return whether it has begun; a folder can't be dropped."""
        return bool(self.facts.get("began"))

    def begin(self) -> None:
        """See that the bucket answers, and note what is in the folder; see `Kept.begin`."""
        rclone.program()
        Path(self.path).mkdir(parents=True, exist_ok=True)
        if NUMBER in self.facts["root"]:
            beside, _, pattern = str(self.facts["root"]).rstrip("/").rpartition("/")
            number = str(next_number(self._folders(beside), pattern))
            put = {key: str(self.facts[key]).replace(NUMBER, number) for key in ("url", "root")}
            self.facts.update(put, numbered=True)
        else:
            self._folders(self.facts["root"])
        # of a run that is numbered, what was here before is none of its results
        self._note(_look(self.path) if self.facts.get("numbered") else {})
        self.facts["began"] = True
        self._save()

    def _folders(self, root: str) -> list[str]:
        """Return the names of the folders in the bucket below `root`.

        Raises:
            Refused: It does not answer, or not to these credentials.
        """
        argv = [str(rclone.program()), "lsf", "--dirs-only", "--config", "rclone.conf", "--contimeout", "10s"]
        argv += ["--low-level-retries", "2", "--retries", "1", f"{REMOTE}:{root}"]
        try:
            done = subprocess.run(
                argv,
                cwd=self.folder,
                env=rclone.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                timeout=_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            url = self.facts["url"]
            raise Refused(f"{url} does not answer this machine within {_LIMIT:.0f} s") from None
        (self.folder / "log").write_text(done.stderr, errors="surrogateescape")
        if done.returncode not in (0, 3):  # 3: there is no such folder yet
            raise Refused(self.last_error() or done.stderr.strip()[-300:])
        return [line.rstrip("/") for line in done.stdout.splitlines()]

    def end(self, anyway: bool = False) -> None:
        """Copy it no more; see `Kept.end`."""
        if not anyway and self.up() and (count := self.waiting(hurry=True)["count"]):
            raise Refused(
                f"{count} {'file is' if count == 1 else 'files are'} not in {self.facts['url']} yet"
            )
        self._over = True
        while self._running is not None and self._running.is_alive():
            if (process := self._process) is not None:  # it may be about to begin
                process.kill()
            self._running.join(_STEP)
        shutil.rmtree(self.folder, ignore_errors=True)

    def waiting(self, hurry: bool = False) -> dict[str, Any]:
        """See `Kept.waiting`; what waits is copied in any case, only later without a hurry."""
        changed = self._changed()
        if not changed:
            self._failed = False
            return dict(NOTHING)
        busy = self._running is not None and self._running.is_alive()
        if not busy and not self._over and (hurry or time.monotonic() - self._ended > _PAUSE):
            self._running = threading.Thread(target=self._copy, args=(changed,), name="copy", daemon=True)
            self._running.start()
        written = [name for name in open_for_writing(self.path) if name in changed]
        return {
            "names": sorted(changed)[:NAMED],
            "count": len(changed),
            "bytes": sum(size for size, _ in changed.values()),
            "open": written[:NAMED],
            "failing": self._failed,
        }

    def _changed(self) -> Look:
        if self._sent is None:
            try:
                known = json.loads((self.folder / "sent.json").read_text())
                self._sent = {name: tuple(facts) for name, facts in known.items()}
            except (OSError, ValueError):
                self._sent = {}
        sent = self._sent
        return {name: facts for name, facts in _look(self.path).items() if sent.get(name) != facts}

    def _copy(self, files: Look) -> None:
        argv = [str(rclone.program()), "copy", self.path, f"{REMOTE}:{self.facts['root']}", *_FLAGS]
        argv += ["--config", "rclone.conf", "--files-from-raw", "-"]
        try:
            with (self.folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    argv,
                    cwd=self.folder,
                    env=rclone.environment(),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    text=True,
                    errors="surrogateescape",
                )
            self._process.communicate("\n".join(name for name in files if "\n" not in name))
            self._failed = self._process.returncode != 0
            if not self._failed:
                unnamed = {name for name in files if "\n" in name}  # rclone's list has a line for each file
                self._note({**(self._sent or {}), **{n: f for n, f in files.items() if n not in unnamed}})
        except OSError:  # the folder is gone, for it ended
            self._failed = True
        finally:
            self._process = None
            self._ended = time.monotonic()

    def _note(self, sent: Look) -> None:
        self._sent = sent
        self._write("sent.json", json.dumps(sent))


def next_number(names: list[str], pattern: str) -> int:
    """Return the number that comes after those of folders named like ``run-{n}``."""
    before, after = (re.escape(part) for part in pattern.split(NUMBER))
    found = [re.fullmatch(f"{before}([0-9]{{1,9}}){after}", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0) + 1


def _look(folder: str) -> Look:
    """Return what is in a folder, links and what never leaves a machine left out."""
    found: Look = {}
    for entry in _files(folder):
        with contextlib.suppress(OSError):  # gone meanwhile
            facts = entry.stat(follow_symlinks=False)
            found[os.path.relpath(entry.path, folder)] = (facts.st_size, facts.st_mtime_ns)
    return found


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    todo = [folder]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and entry.name not in NEVER:
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry
