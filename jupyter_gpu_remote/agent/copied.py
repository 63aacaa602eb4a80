"""A folder of this machine whose files are copied into a bucket as they are written.

Nothing is mounted: the folder stays what it is, and is quick. A file is copied again whenever it has changed;
one that is deleted here stays in the bucket. With the folder of a notebook goes what its cells put out: the
journals of the kernels that work in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import rclone
from .kept import NAMED, NOTHING, REMOTE, Kept
from .manifest import NEVER, OUTPUTS
from .mountpoint import Refused
from .openfiles import open_for_writing

NUMBER = "{n}"
"""What stands for the number of a run in a URL."""
_LIMIT = 20.0
"""Seconds for the bucket's first answer."""
_PAUSE = 2.0
"""Seconds from the end of one transfer to the beginning of the next, unless there is a hurry."""
_STEP = 0.05
_EVERY = 1.0
"""Seconds between two looks at a folder that takes little time."""
_REST = 50
"""How many times as long as a look takes until the next one: a large folder is looked at less often."""
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
        journals: Returns the journals of the kernels that work in a folder, by name.
    """

    def __init__(self, folder: Path, journals: Callable[[str], Mapping[str, Path]]) -> None:
        super().__init__(folder)
        self.pause = _EVERY
        """Seconds until it is to be looked at again."""
        self._journals = journals
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
        self._note(self._look() if self.facts.get("numbered") else {})
        self.facts["began"] = True
        self._save()

    def _folders(self, root: str) -> list[str]:
        """Return the names of the folders in the bucket below `root`.

        Raises:
            Refused: It does not answer, or not to these credentials.
        """
        words = ("lsf", "--dirs-only", "--contimeout", "10s", "--low-level-retries", "2", "--retries", "1")
        try:
            code, said = self._run(*words, f"{REMOTE}:{root}", limit=_LIMIT)
        except subprocess.TimeoutExpired:
            url = self.facts["url"]
            raise Refused(f"{url} does not answer this machine within {_LIMIT:.0f} s") from None
        if code not in (0, 3):  # 3: there is no such folder yet
            raise Refused(self.last_error() or f"rclone exited with code {code}")
        return [line.rstrip("/") for line in said.splitlines()]

    def _run(self, *words: str, given: str = "", limit: float | None = None) -> tuple[int, str]:
        """Have rclone do something; return its exit code and what it wrote."""
        pipe = subprocess.PIPE
        self._process = process = self._rclone(
            *words, stdin=pipe, stdout=pipe, text=True, errors="surrogateescape"
        )
        try:
            said, _ = process.communicate(given, limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        finally:
            self._process = None
        return process.returncode, said

    def _let_go(self) -> None:
        """Copy it no more."""
        self._over = True
        while self._running is not None and self._running.is_alive():
            if (process := self._process) is not None:  # it may be about to begin
                process.kill()
            self._running.join(_STEP)
        shutil.rmtree(self.folder, ignore_errors=True)

    def waiting(self, hurry: bool = False) -> dict[str, Any]:
        """See `Kept.waiting`; what waits is copied in any case, only later without a hurry."""
        began = time.monotonic()
        changed = self._changed()
        self.pause = max(_EVERY, _REST * (time.monotonic() - began))
        if not changed:
            self._failed = False
            return dict(NOTHING)
        busy = self._running is not None and self._running.is_alive()
        if not busy and not self._over and (hurry or time.monotonic() - self._ended > _PAUSE):
            self._running = threading.Thread(target=self._copy, args=(changed,), name="copy", daemon=True)
            self._running.start()
        files = {name: size for name, (size, _) in changed.items() if not _is_output(name)}
        return {
            "names": sorted(files)[:NAMED],
            "count": len(files),
            "bytes": sum(files.values()),
            "open": [name for name in open_for_writing(self.path) if name in files][:NAMED] if files else [],
            "outputs": len(changed) - len(files),
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
        return {name: facts for name, facts in self._look().items() if sent.get(name) != facts}

    def _sources(self) -> dict[str, str]:
        """Return the folders that are copied, by the beginnings of the names that their files get."""
        journals = self._journals(self.path)
        return {"": self.path, **{f"{OUTPUTS}/{name}/": str(folder) for name, folder in journals.items()}}

    def _look(self) -> Look:
        """Return what there is, links and what never leaves a machine left out."""
        found: Look = {}
        for below, folder in self._sources().items():
            for entry in _files(folder):
                with contextlib.suppress(OSError):  # gone meanwhile
                    facts = entry.stat(follow_symlinks=False)
                    found[below + os.path.relpath(entry.path, folder)] = facts.st_size, facts.st_mtime_ns
        return found

    def _copy(self, changed: Look) -> None:
        try:
            sent = [self._send(*source, changed) for source in self._sources().items()]
            self._failed = not all(sent)
        except OSError:  # the folder is gone, for it ended
            self._failed = True
        finally:
            self._ended = time.monotonic()

    def _send(self, below: str, folder: str, changed: Look) -> bool:
        """Copy what changed in one of the folders; return whether all of it is there."""
        mine = [n for n in changed if (n.startswith(below) if below else not _is_output(n))]
        names = [name.removeprefix(below) for name in mine if "\n" not in name]  # rclone's list has lines
        if not names or self._over:
            return True
        target = f"{REMOTE}:{posixpath.join(self.facts['root'], below)}"
        argv = ("copy", folder, target, *_FLAGS, "--files-from-raw", "-")
        code, _ = self._run(*argv, given="\n".join(names))
        if code == 0:
            self._note({**(self._sent or {}), **{below + name: changed[below + name] for name in names}})
        return code == 0

    def _note(self, sent: Look) -> None:
        self._sent = sent
        self._write("sent.json", json.dumps(sent))


def next_number(names: list[str], pattern: str) -> int:
    """Return the number that comes after those of folders named like ``run-{n}``."""
    before, after = (re.escape(part) for part in pattern.split(NUMBER))
    found = [re.fullmatch(f"{before}([0-9]{{1,9}}){after}", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0) + 1


def _is_output(name: str) -> bool:
    return name.startswith(f"{OUTPUTS}/")


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    todo = [folder]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and entry.name not in NEVER:
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry
