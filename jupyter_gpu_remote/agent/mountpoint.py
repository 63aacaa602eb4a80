"""The folder that something is mounted on, and what is known of it without touching what is mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SUDO_LIMIT = 10.0
_OURS = "fuse.rclone"


class Refused(OSError):
    """Something cannot be mounted, or not be let go; says why."""


def source_of(path: str) -> str | None:
    """Return what rclone mounted at `path`; None when it mounted nothing there.

    A dead mount is told like any other, and nothing waits for it: only the system's table is read.
    """
    wanted = {path, str(Path(path).parent.resolve() / Path(path).name)}
    found = [source for place, kind, source in _mounts() if place in wanted and kind == _OURS]
    return found[-1] if found else None


def _mounts() -> Iterator[tuple[str, str, str]]:
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        kind, source = after.split(" ", 2)[:2]
        yield _plain(before.split(" ", 5)[4]), kind, _plain(source)


def _plain(escaped: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped)


class Place:
    """An empty folder to mount on, held open so that it can be reached below what is mounted.

    Args:
        path: The folder; made if need be.

    Raises:
        Refused: It can't be mounted on.
    """

    def __init__(self, path: str) -> None:
        self.made = False
        """Whether it was made for this."""
        place = Path(path)
        try:
            if not os.path.lexists(place):
                _make(place)
                self.made = True
            elif place.is_mount():
                raise Refused(f"something else is mounted at {path}")
            self._descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            raise Refused(f"{path} is no folder") from None
        except PermissionError:
            raise Refused(f"only root may use {path}; mount it below your home: ~/data") from None
        except Refused:
            raise
        except OSError as e:
            raise Refused(f"{path} cannot be used: {e.strerror}") from None
        try:
            with os.scandir(self._descriptor) as entries:
                if next(entries, None) is not None:
                    raise Refused(f"{path} is not empty, and what is in it would be hidden")
            with contextlib.suppress(OSError):
                os.fchmod(self._descriptor, 0o700)  # fusermount insists on it
        except BaseException:
            self.close()
            raise

    def seal(self) -> None:
        """Let nobody write into the bare folder, should what is mounted on it be dropped."""
        with contextlib.suppress(OSError):  # somebody else's folder
            os.fchmod(self._descriptor, 0o500)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def give_back(path: str, made: bool) -> None:
    """Leave a folder as it was before it was mounted on; delete it if it was `made` for that."""
    place = Path(path)
    with contextlib.suppress(OSError):
        if not place.is_mount():
            place.chmod(0o755)
            if made:
                place.rmdir()  # fails when it is not empty


def _make(place: Path) -> None:
    """Make a folder; where only root may, as root, if that needs no password."""
    try:
        place.mkdir(parents=True)
    except PermissionError:
        owner = ["-o", str(os.getuid()), "-g", str(os.getgid())]
        argv = ["sudo", "-n", "install", "-d", *owner, "--", str(place)]
        try:
            subprocess.run(argv, capture_output=True, timeout=_SUDO_LIMIT, check=True)
        except (OSError, subprocess.SubprocessError):
            raise PermissionError(errno.EACCES, "only root may make it") from None
