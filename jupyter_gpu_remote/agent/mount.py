"""One bucket mounted on this machine: the rclone that does it, its folder, and what is on its way.

The rclone is of a process session of its own, so it outlives the agent; a later agent finds it by the
``mount.json`` in its folder. The folder also holds its configuration and credentials, readable by this user
alone, and its cache: what was written and is not in the bucket yet lies there, and a later rclone uploads it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Set
from pathlib import Path
from typing import Any

from . import mountpoint, rclone
from .kept import NAMED, NOTHING, REMOTE, Kept
from .mountpoint import Place, Refused
from .openfiles import open_for_writing
from .process import start_time
from .recovery import recover
from .unsent import Unsent

_LIMIT = 20.0
"""Seconds until a mount is there, and for the bucket's first answer."""
_END_LIMIT = 10.0
_STEP = 0.01
_OVERDUE = -1e6
_FLAGS = (
    # what is read is kept as well: an epoch later it is read again
    *("--vfs-cache-mode", "full", "--vfs-cache-max-age", "24h", "--vfs-cache-min-free-space", "2G"),
    *("--vfs-write-back", "1s", "--vfs-fast-fingerprint", "--transfers", "16"),
    # a bucket is far away: several requests at once fill the way to it
    *("--vfs-read-chunk-streams", "4", "--vfs-read-chunk-size", "8M"),
    # a bucket may be away for a minute: who reads or writes waits for it then, and does not fail
    *("--dir-cache-time", "10s", "--contimeout", "10s", "--low-level-retries", "40"),
    *("--log-level", "NOTICE", "--rc", "--rc-no-auth"),
)
_S3_FLAGS = ("--ignore-checksum",)
"""S3 checks the MD5 that comes with each request; one more, computed on the way, tells nothing new."""


class Mount(Kept):
    """One mount.

    Args:
        folder: What is kept of it.
        sockets: Folder for unix sockets; short path, open to this user alone.
    """

    def __init__(self, folder: Path, sockets: Path) -> None:
        super().__init__(folder)
        self._socket = sockets / f"mount-{folder.name}"
        self._child: subprocess.Popen[bytes] | None = None
        self._unsent: Unsent | None = None

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
        rclone.program()
        self._end_process()
        place = Place(self.path)
        try:
            self.facts["made"] = place.made or self.facts.get("made", False)
            self._start()
            self._ask_bucket()
            place.seal()
            self.why = ""
        except OSError:
            self._end_process()
            mountpoint.give_back(self.path, self.facts["made"])
            raise
        finally:
            place.close()

    def _start(self) -> None:
        self._socket.unlink(missing_ok=True)
        if not self.facts["read_only"]:
            recover(self.folder / "cache")
        self._child = self._rclone(
            *("mount", f"{REMOTE}:{self.facts['root']}", self.path, *_FLAGS),
            *(_S3_FLAGS if self.facts["url"].startswith("s3:") else ()),
            *("--cache-dir", "cache", "--rc-addr", f"unix://{self._socket}"),
            *("--devname", self.facts["url"], *(["--read-only"] if self.facts["read_only"] else [])),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
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

    def _let_go(self) -> None:
        """Unmount it."""
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

    def waiting(self, hurry: bool = False) -> dict[str, Any]:
        """See `Kept.waiting`."""
        if self.facts["read_only"]:
            return dict(NOTHING)
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
            "names": sorted(sizes)[:NAMED],
            "count": len(sizes),
            "bytes": max(0, sum(sizes.values()) - sent),
            "open": sorted(written)[:NAMED],
            "failing": any(item["tries"] for item in queue),
        }

    def _written(self, candidates: Set[str]) -> dict[str, int]:
        """Return those that somebody may still write to, and how large they are by now."""
        found = {}
        for name in candidates & set(open_for_writing(self.path)) if candidates else ():
            with contextlib.suppress(OSError):  # rclone writes down its size when it is closed
                found[name] = Path(self.path, name).stat().st_size
        return found
