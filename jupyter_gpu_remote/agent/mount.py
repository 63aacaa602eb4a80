"""One bucket mounted on this machine: the rclone that does it, its folder, and what is on its way.

The rclone is of a process session of its own, so it outlives the agent; a later agent finds it by the
``mount.json`` in its folder. The folder also holds its configuration and credentials, readable by this user
alone, and its cache: what was written and is not in the bucket yet lies there, and a later rclone uploads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from . import mountpoint, rclone
from .mountpoint import Place, Refused
from .openfiles import open_for_writing
from .process import start_time
from .unsent import Unsent

REMOTE = "bucket"
"""What rclone's configuration calls it."""
_LIMIT = 20.0
"""Seconds until a mount is there, and for the bucket's first answer."""
_END_LIMIT = 10.0
_STEP = 0.01
_OVERDUE = -1e6
_NAMED = 200
"""Files that are named, of those on their way."""
_FILE = re.compile(r"[a-z][a-z.]{0,30}")
_ERROR = re.compile(r" (?:ERROR|CRITICAL|NOTICE) *: (.*(?:fail|error|expired).*)", re.IGNORECASE)
_LOG_TAIL = 20_000
_FLAGS = (
    # what is read is kept as well: an epoch later it is read again
    *("--vfs-cache-mode", "full", "--vfs-cache-max-age", "24h", "--vfs-cache-min-free-space", "2G"),
    *("--vfs-write-back", "1s", "--vfs-fast-fingerprint", "--transfers", "8"),
    # a bucket is far away: several requests at once fill the way to it
    *("--vfs-read-chunk-streams", "4", "--vfs-read-chunk-size", "8M"),
    # a bucket may be away for a minute: who reads or writes waits for it then, and does not fail
    *("--dir-cache-time", "10s", "--contimeout", "10s", "--low-level-retries", "40"),
    *("--log-level", "NOTICE", "--rc", "--rc-no-auth"),
)
_KEPT = re.compile(r"HOME|PATH|LANG|GPU_REMOTE_\w+|\w+_(?i:proxy)")
"""Environment variables that rclone gets; nothing else here is to change what it does."""
_ENVIRONMENT = {
    "AWS_CONFIG_FILE": "aws.config",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Mount:
    """One mount.

    Args:
        folder: What is kept of it.
        sockets: Folder for unix sockets; short path, open to this user alone.
    """

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.why = ""
        """Why it is not up, as far as that is known."""
        self.lock = threading.Lock()
        """Held by who begins or ends it."""
        self._socket = sockets / f"mount-{folder.name}"
        self._child: subprocess.Popen[bytes] | None = None
        self._unsent: Unsent | None = None

    @property
    def path(self) -> str:
        """Where it is mounted."""
        return str(self.facts["path"])

    # -- what is kept of it -------------------------------------------------------------------------

    def make(self, facts: Mapping[str, Any], files: Mapping[str, str]) -> None:
        """Write down what is to be mounted.

        Args:
            facts: ``url``, ``path``, ``root`` (as rclone names it), ``read_only``, ``expires``.
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
        """Read the facts that an earlier agent wrote; False when it is no mount any more."""
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

    # -- life ---------------------------------------------------------------------------------------

    def alive(self) -> bool:
        """Return whether its rclone runs."""
        if self._child is not None:
            self._child.poll()  # leaves no zombie
        started = self.facts.get("started")
        return started is not None and start_time(self.facts["pid"]) == int(started)

    def up(self) -> bool:
        """Return whether what is written at its path goes to the bucket."""
        return self.alive() and self._is_mounted()

    def _is_mounted(self) -> bool:
        return mountpoint.source_of(self.path) == str(self.facts["url"])

    def begin(self) -> None:
        """Mount it, and see that the bucket answers.

        Raises:
            Lacking: The machine cannot mount.
            Refused: The path can't be used, or the bucket not be reached; nothing is mounted.
        """
        rclone.fusermount()
        program = rclone.program()
        self._end_process()
        place = Place(self.path)
        try:
            self.facts["made"] = place.made or self.facts.get("made", False)
            self._start(program)
            self._ask_bucket()
            place.seal()
            self.why = ""
        except OSError:
            self._end_process()
            mountpoint.give_back(self.path, self.facts["made"])
            raise
        finally:
            place.close()

    def _start(self, program: Path) -> None:
        self._socket.unlink(missing_ok=True)
        argv = [str(program), "mount", f"{REMOTE}:{self.facts['root']}", self.path, *_FLAGS]
        argv += ["--config", "rclone.conf", "--cache-dir", "cache", "--rc-addr", f"unix://{self._socket}"]
        argv += ["--devname", self.facts["url"], *(["--read-only"] if self.facts["read_only"] else [])]
        self._write("log", "")
        with (self.folder / "log").open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                cwd=self.folder,
                env={name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
                | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o022,
            )
        self.facts.update(pid=self._child.pid, started=start_time(self._child.pid))
        self._save()
        end = time.monotonic() + _LIMIT
        while not self._is_mounted():
            if self._child.poll() is not None:
                raise Refused(self.last_error() or f"rclone exited with code {self._child.returncode}")
            if time.monotonic() > end:
                raise Refused(f"it was not mounted within {_LIMIT:.0f} s: {self.last_error()}")
            time.sleep(_STEP)

    def _ask_bucket(self) -> None:
        """See that the bucket answers from here, to these credentials."""
        try:
            with rclone.Control(self._socket, _LIMIT) as control:
                control.ask("operations/stat", fs=f"{REMOTE}:{self.facts['root']}", remote=".gpu-remote")
        except TimeoutError:
            what = f"{self.facts['url']} does not answer this machine within {_LIMIT:.0f} s"
            raise Refused(f"{what}. {self.last_error()}".strip()) from None

    def end(self, anyway: bool = False) -> None:
        """Unmount it.

        Raises:
            Refused: Something on it is not in the bucket yet, and it is not to be let go `anyway`.
        """
        if not anyway and self.up() and (count := self.waiting()["count"]):
            raise Refused(
                f"{count} {'file is' if count == 1 else 'files are'} not in {self.facts['url']} yet"
            )
        self._end_process()
        mountpoint.give_back(self.path, self.facts.get("made", False))
        if Unsent(self.folder / "cache" / "vfsMeta").look():  # mounted again, it is uploaded
            self.facts["ended"] = True
            self._save()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_process(self) -> None:
        """End its rclone, if one runs, and take away the dead mount that may be left of it."""
        for number in (signal.SIGTERM, signal.SIGKILL):  # at the first it unmounts
            end = time.monotonic() + _END_LIMIT
            if self.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.facts["pid"], number)
            while self.alive() and time.monotonic() < end:
                time.sleep(_STEP)
        if self.facts.get("pid") and self._is_mounted():
            argv = [rclone.fusermount(), "-u", "-z", self.path]
            subprocess.run(argv, capture_output=True, timeout=_END_LIMIT, check=False)

    # -- what is on its way -------------------------------------------------------------------------

    def look(self, hurry: bool = False, queues: bool = True) -> dict[str, Any]:
        """Tell what there is to know of it.

        Args:
            hurry: Have what waits for its turn uploaded now.
            queues: Also tell what is on its way; see `waiting`.
        """
        state = {name: self.facts[name] for name in ("url", "path", "read_only", "expires")}
        state.update(up=self.up(), why=self.why, error="", names=[], count=0, bytes=0, open=[])
        if state["up"] and queues and not state["read_only"]:
            try:
                state.update(self.waiting(hurry))
                state["error"] = self.last_error() if state.pop("failing") else ""
            except OSError as e:
                state.update(up=False, why=f"what is on its way cannot be told: {e}")
        return state

    def waiting(self, hurry: bool = False) -> dict[str, Any]:
        """Tell what was written here and is not in the bucket yet.

        Returns:
            ``names`` (the first of them), ``count``, ``bytes``, ``open`` (names of those that somebody may
            still write to), ``failing`` (whether an upload failed and is tried again).
        """
        if self.facts["read_only"]:
            return {"names": [], "count": 0, "bytes": 0, "open": [], "failing": False}
        with rclone.Control(self._socket) as control:
            self._unsent = self._unsent or Unsent(Path(control.ask("vfs/stats")["diskCache"]["pathMeta"]))
            sizes = self._unsent.look()
            queue = control.ask("vfs/queue")["queue"] or [] if sizes else []
            moving = control.ask("core/stats").get("transferring") or [] if queue else []
            for item in queue if hurry else ():
                if not item["uploading"] and item["expiry"] > 0:
                    with contextlib.suppress(OSError):  # uploaded meanwhile
                        control.ask("vfs/queue-set-expiry", id=item["id"], expiry=_OVERDUE)
        waits = {item["name"]: item["size"] for item in queue}
        written = self._written(sizes.keys() - waits.keys())
        sizes.update({**waits, **written})
        sent = sum(item.get("bytes", 0) for item in moving if item["name"] in sizes)
        return {
            "names": sorted(sizes)[:_NAMED],
            "count": len(sizes),
            "bytes": max(0, sum(sizes.values()) - sent),
            "open": sorted(written)[:_NAMED],
            "failing": any(item["tries"] for item in queue),
        }

    def _written(self, candidates: Set[str]) -> dict[str, int]:
        """Return those that somebody may still write to, and how large they are by now."""
        found = {}
        for name in candidates & set(open_for_writing(self.path)) if candidates else ():
            with contextlib.suppress(OSError):  # rclone writes down its size when it is closed
                found[name] = Path(self.path, name).stat().st_size
        return found

    def last_error(self) -> str:
        """Return the last error that rclone wrote."""
        try:
            with (self.folder / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
                errors = _ERROR.findall(log.read().decode("utf-8", "replace"))
        except OSError:
            return ""
        return errors[-1].strip()[-1000:] if errors else ""


def name_of(url: str, path: str) -> str:
    """Return the name of the folder of a mount."""
    return hashlib.sha256(f"{url}\0{path}".encode()).hexdigest()[:12]
