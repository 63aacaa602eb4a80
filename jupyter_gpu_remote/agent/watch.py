"""Whether a folder changed since it was last looked at, asked and answered in microseconds.

inotify queues an event before the write that causes it returns, so on Linux the answer is exact: a
``%%writefile`` just before a cell is never missed. Elsewhere events come late, and `changed` gives them a
moment. See ``docs/adr/0003-a-watcher-is-asked.md``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Protocol

from .manifest import NEVER

_SETTLE_MS = 50
"""How long FSEvents and Windows get to tell of a write that has returned."""


class Watch(Protocol):
    """A folder's watcher; `Folder.scan` calls `reset`, then `enter` for each folder before it lists it."""

    def changed(self) -> bool:
        """Return whether anything may have changed since the last `reset`; true before the first."""

    def reset(self) -> None:
        """Forget what has changed so far."""

    def enter(self, folder: bytes) -> None:
        """Watch the entries of `folder` too; no effect when they are watched."""

    def pardon(self, paths: Container[bytes], untouched: Callable[[], bool]) -> None:
        """Take what happened at `paths` for our own doing, as long as they are `untouched` since."""

    def close(self) -> None:
        """Stop watching."""


def watch(root: str) -> Watch:
    """Return a watcher of `root` for this system."""
    return Inotify() if sys.platform == "linux" else Notify(root)


class Inotify:
    """Linux. Watches exactly the folders it is told to, so ignored ones cost nothing."""

    def __init__(self) -> None:
        from inotify_simple import INotify, flags

        self._mask = (
            flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE | flags.MOVED_FROM | flags.MOVED_TO
            | flags.CREATE | flags.DELETE | flags.DELETE_SELF | flags.MOVE_SELF
            | flags.ONLYDIR | flags.DONT_FOLLOW | flags.EXCL_UNLINK
        )  # fmt: skip
        self._changed = True
        self._blind = False
        self._folders: dict[int, bytes] = {}
        self._inotify: Any = None
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError:
            self._blind = True

    def changed(self) -> bool:
        """Return whether anything may have changed; an event lost to a full queue counts."""
        if not self._changed and not self._blind:
            self._changed = bool(self._drain())
        return self._changed or self._blind

    def reset(self) -> None:
        """Forget what has changed so far, and try again to see where the limit of watches was reached."""
        if self._inotify is not None:
            self._drain()
            self._blind = False
        self._changed = False

    def enter(self, folder: bytes) -> None:
        """Watch the entries of `folder`; when the system has no watch left, all is called changed."""
        if self._blind:
            return
        try:
            self._folders[self._inotify.add_watch(folder, self._mask)] = folder
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            self._changed = True
        except OSError:
            self._blind = True

    def pardon(self, paths: Container[bytes], untouched: Callable[[], bool]) -> None:
        """Take what happened at `paths` for our own doing, as long as they are `untouched` since."""
        if not self._changed and not self._blind:
            # drained first: a write that comes after that makes an event of its own
            self._changed = any(path not in paths for path in self._drain()) or not untouched()

    def close(self) -> None:
        """Stop watching; from then on all is called changed."""
        self._blind = True
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _drain(self) -> list[bytes]:
        return [
            self._folders.get(event.wd, b"") + b"/" + os.fsencode(event.name)
            for event in self._inotify.read(timeout=0)
            if event.name not in NEVER
        ]


class Notify:
    """macOS and Windows, through watchfiles.

    Args:
        root: The folder, watched with all below it.
    """

    def __init__(self, root: str) -> None:
        from watchfiles._rust_notify import RustNotify

        self._root = Path(root).resolve()
        self._changed = True
        self._notify = RustNotify([str(self._root)], False, False, 0, True, True)

    def changed(self) -> bool:
        """Return whether anything may have changed, waiting a moment for events under way."""
        self._changed = self._changed or self._drain()
        return self._changed

    def reset(self) -> None:
        """Forget what has changed so far."""
        self._drain()
        self._changed = False

    def enter(self, folder: bytes) -> None:
        """Do nothing: all below the root is watched."""

    def pardon(self, paths: Container[bytes], untouched: Callable[[], bool]) -> None:
        """Do nothing: these events come too late to be told apart."""

    def close(self) -> None:
        """Stop watching."""
        self._notify.close()

    def _drain(self) -> bool:
        events = self._notify.watch(_SETTLE_MS, 5, _SETTLE_MS, None)
        if not isinstance(events, set):
            return False
        return any(NEVER.isdisjoint(Path(path).relative_to(self._root).parts) for _, path in events)
