"""The buckets that this machine uses: begun, watched, mounted again, drained."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .copied import Copied
from .kept import Kept, name_of
from .mount import Mount
from .rclone import VERSION, Lacking, place

_PAUSE = 0.2
"""Seconds between two looks at a queue that is being drained."""
_AGAIN = 15.0
"""Seconds between two attempts to mount again what was dropped."""


class Mounts:
    """All mounts of one machine, and its folders that are copied. What takes time is done in threads.

    Args:
        folder: What is kept of them.
        sockets: Folder for unix sockets.
        journals: Returns the journals of the kernels that work in a folder, by name.
    """

    def __init__(
        self, folder: Path, sockets: Path, journals: Callable[[str], Mapping[str, Path]] = lambda path: {}
    ) -> None:
        self._folder = folder
        self._sockets = sockets
        self._journals = journals
        self._mounts: dict[str, Kept] = {}
        self._pool = ThreadPoolExecutor(8, "mounts")
        self._repairs: dict[str, tuple[float, Future[Any]]] = {}
        self._drain: Future[None] | None = None
        for kept in sorted(folder.glob("*/")):
            mount = self._new(kept, copies=False)
            if mount.find():
                if mount.facts.get("copies"):
                    mount = self._new(kept, copies=True)
                    mount.find()
                self._mounts[mount.path] = mount

    def _new(self, kept: Path, copies: bool) -> Kept:
        return Copied(kept, self._journals) if copies else Mount(kept, self._sockets)

    def __bool__(self) -> bool:
        return bool(self._mounts)

    def up(self) -> bool:
        """Return whether all are mounted."""
        return all(mount.up() for mount in list(self._mounts.values()))

    def begin(
        self,
        path: str,
        url: str,
        root: str,
        read_only: bool,
        expires: float,
        files: Mapping[str, str],
        copies: bool = False,
    ) -> Future[dict[str, Any]]:
        """Mount a bucket or copy a folder into it; or, where that is done already, give it new credentials.

        Args:
            path: Where; ``~`` and what is relative starts from the home folder.
            url: What is mounted, for people.
            root: What is mounted, for rclone.
            read_only: Whether nothing can be written.
            expires: When the credentials do, in Unix seconds; 0 for never.
            files: Configuration and credentials, by name.
            copies: Whether the folder at `path` is copied to the bucket; nothing is mounted then.

        Returns:
            What `look` tells of it; or why it was ``refused``, what the machine ``lacks``, and a ``hint``.
        """
        facts = {"url": url, "root": root, "read_only": read_only, "expires": expires, "copies": copies}
        return self._pool.submit(self._begin, path, facts, files)

    def _begin(self, path: str, facts: dict[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
        try:
            path = _absolute(path)
        except ValueError as e:
            return {"refused": str(e)}
        new = self._new(self._folder / name_of(facts["url"], path), facts["copies"])
        mount = self._mounts.setdefault(path, new)
        with mount.lock:
            if mount is not new and any(mount.facts.get(n) != facts[n] for n in ("url", "read_only")):
                return {"refused": _occupied(mount)}
            fresh = not mount.facts
            try:
                mount.make({**facts, "path": path}, files)
                if not mount.up():
                    mount.begin()
                return mount.look(hurry=True)  # what failed for want of credentials is tried again
            except Lacking as e:
                mount.why = str(e)
                self._forget(mount, fresh)
                facts = {"place": str(place()), "version": VERSION, "architecture": platform.machine()}
                return {**facts, "lacks": e.what, "refused": str(e), "hint": e.hint}
            except OSError as e:
                mount.why = str(e)
                self._forget(mount, fresh)
                return {"refused": str(e)}

    def _forget(self, mount: Kept, fresh: bool) -> None:
        """Keep nothing of a mount that never was; one that was dropped is tried again."""
        if fresh:
            self._mounts.pop(mount.path, None)
            mount.end(anyway=True)

    def end(self, path: str, anyway: bool) -> Future[dict[str, Any]]:
        """Unmount what is mounted at `path`; the answer says why, as ``refused``, where that is not done.

        Args:
            path: Where.
            anyway: Also when something on it is not in the bucket yet.
        """
        return self._pool.submit(self._end, path, anyway)

    def _end(self, path: str, anyway: bool) -> dict[str, Any]:
        try:
            mount = self._mounts[_absolute(path)]
        except (KeyError, ValueError):
            known = ", ".join(self._mounts) or "none"
            return {"refused": f"nothing is mounted there; mounts there are: {known}"}
        with mount.lock:
            try:
                mount.end(anyway)
            except OSError as e:
                return {"refused": str(e)}
            self._mounts.pop(mount.path, None)
        return {}

    def look(self, hurry: bool = False, queues: bool = True) -> Future[list[dict[str, Any]]]:
        """Tell of all of them, mounting again first what was dropped; see `Mount.look`."""
        return self._pool.submit(self._look, hurry, queues)

    def _look(self, hurry: bool, queues: bool = True) -> list[dict[str, Any]]:
        mounts = list(self._mounts.values())
        for mount in mounts:
            if not mount.up():
                self._repair(mount)
        return [mount.look(hurry, queues) for mount in mounts if self._mounts.get(mount.path) is mount]

    def look_around(self) -> None:
        """Mount again what was dropped, and copy what is to be copied."""
        now = time.monotonic()
        for path, mount in list(self._mounts.items()):
            at, work = self._repairs.get(path, (-_AGAIN, None))
            copies = isinstance(mount, Copied) and mount.up()
            pause = mount.pause if isinstance(mount, Copied) and copies else _AGAIN
            if now - at >= pause and (work is None or work.done()):
                if copies:
                    self._repairs[path] = (now, self._pool.submit(mount.look))
                elif not mount.up():
                    self._repairs[path] = (now, self._pool.submit(self._repair, mount))

    def _repair(self, mount: Kept) -> None:
        with mount.lock:
            if mount.up() or self._mounts.get(mount.path) is not mount:
                return
            try:
                mount.begin()
                print(f"{mount.facts['url']} was dropped; it is mounted again at {mount.path}", flush=True)
            except (OSError, Lacking) as e:
                mount.why = str(e)

    def drained(self, limit: float) -> bool:
        """Begin to upload all that waits; return whether it is done, or the first to ask has waited `limit`.

        What is not in the buckets by then is written to the log.
        """
        if not self._mounts:
            return True
        if self._drain is None:
            self._drain = self._pool.submit(self._drain_all, limit)
        return self._drain.done()

    def stay(self) -> None:
        """Forget about a drain: the machine goes on."""
        self._drain = None

    def _drain_all(self, limit: float) -> None:
        end = time.monotonic() + limit
        while left := [state for state in self._look(hurry=True) if state["count"] or state["outputs"]]:
            if time.monotonic() > end:
                for state in left:
                    names = [*state["names"], *(["what cells put out last"] if state["outputs"] else [])]
                    print(f"not in {state['url']}: {', '.join(names)}", flush=True)
                return
            time.sleep(_PAUSE)

    def quit(self) -> None:
        """Unmount all; what is not uploaded stays in its cache."""
        for mount in list(self._mounts.values()):
            with mount.lock:
                mount.end(anyway=True)
        self._mounts.clear()


def _occupied(mount: Kept) -> str:
    url, path = mount.facts["url"], mount.path
    if mount.facts.get("copies"):
        return f"{path} is copied to {url} already"
    how = "read-only" if mount.facts["read_only"] else "for reading and writing"
    return f"{url} is mounted at {path} already, {how}"


def _absolute(path: str) -> str:
    """Return a path as the system names it, without looking at it.

    Raises:
        ValueError: It names the home folder itself, or the root.
    """
    home = Path.home()
    named = Path(os.path.normpath(home / Path(path).expanduser()))
    if named in (home, *home.parents):
        raise ValueError(f"{path} holds your home folder; name a folder below it, such as ~/data")
    return str(named)
