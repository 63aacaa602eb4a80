"""Buckets that one machine uses, as this side has it done: what is wanted, what is on its way."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ..config import GpuRemote
from ..errors import GpuRemoteError, StorageError
from ..transport.base import Transport
from .access import Access, open_access
from .faults import explain
from .program import bring
from .urls import NUMBER, Wanted, parse_bucket, parse_mount, parse_out_dir

_MOUNT_LIMIT = 400.0
"""Seconds; the machine may have to install rclone first, and the bucket to answer."""
_LOOK_LIMIT = 60.0
_RENEW = 1200.0
"""Seconds before their end at which credentials are renewed."""
_EVERY = 30.0
"""Seconds between two looks whether it is time for that."""
PATIENCE = 60.0
"""Seconds that uploads may stand still before they are given up."""
_SOON, _PAUSE = 0.02, 1.0
"""Seconds between two looks, at first and at most: what is there soon is seen soon."""
_RUNS = "The machine still runs."

Progress = Callable[[int, int, str], None]
State = Mapping[str, Any]
"""What the agent tells of one mount."""


class Requests(Protocol):
    """What puts requests to the agent of a machine."""

    def request(self, op: str, timeout: float = ..., **arguments: Any) -> Any:
        """Ask the agent for something and return its answer."""


class Mounts:
    """The mounts of one machine.

    Args:
        agent: Who asks the machine's agent.
        transport: The way there.
        config: The user's settings.
        known: Whether something may be mounted there already.
        folder: Where the notebook's folder lies over there.
        on_kept: Called with the URL at which a copy of that folder is kept from now on.
    """

    def __init__(
        self,
        agent: Requests,
        transport: Transport,
        config: GpuRemote,
        known: bool = True,
        folder: str = "",
        on_kept: Callable[[str], None] = lambda url: None,
    ) -> None:
        self._folder = folder
        self._on_kept = on_kept
        self._agent = agent
        self._transport = transport
        self._config = config
        self._done: dict[str, str] = {}
        self._expires: dict[str, float] = {}
        self._any = known
        self._closed = threading.Event()
        self._renewer: threading.Thread | None = None

    # -- mounting -----------------------------------------------------------------------------------

    def ensure(self, config: GpuRemote, report: Callable[[str, str], None]) -> None:
        """See that what the settings name is mounted, and that all that was mounted still is.

        Raises:
            StorageError: It is not, and cannot be.
            ConfigurationError: A wanted mount can't be understood, or there are no credentials.
        """
        self._config = config
        if self._any:
            self._check(self.look(queues=False))
        for text in config.mount:
            if text not in self._done:
                self._done[text] = self.mount(parse_mount(text), report)["path"]
        for text in config.out_dir:
            if text not in self._done or NUMBER in text:
                state = self._copy(parse_out_dir(text, self._folder), report)
                self._done[text] = state["path"]
                if state["path"] == self._folder:
                    self._on_kept(state["url"])

    def _copy(self, wanted: Wanted, report: Callable[[str, str], None]) -> State:
        """Have a folder copied from now on, what went to another bucket before being there."""
        report("copying", f"{wanted.path} to {wanted.bucket}")
        before = [state for state in self.look() if state["path"] == wanted.path] if self._any else []
        if before and before[0]["copies"] and before[0]["url"] != str(wanted.bucket):
            self.flush(lambda done, total, what: report("copying", what))
            self.unmount(wanted.path)
        return self._put(wanted)

    def mount(self, wanted: Wanted, report: Callable[[str, str], None]) -> State:
        """Mount a bucket and return what the machine says of it.

        Raises:
            StorageError: It can't be mounted.
        """
        report("mounting", f"{wanted.bucket} at {wanted.path}")
        return self._put(wanted)

    def _put(self, wanted: Wanted) -> State:
        access = self._open(wanted)
        arguments = {
            "path": wanted.path,
            "url": str(wanted.bucket),
            "root": wanted.bucket.root,
            "read_only": wanted.read_only,
            "expires": access.expires,
            "files": dict(access.files),
            "copies": wanted.copies,
        }
        state = self._agent.request("mount", _MOUNT_LIMIT, **arguments)
        if state.get("lacks") == "rclone" and "place" in state:
            bring(self._transport, state["version"], state["architecture"], state["place"])
            state = self._agent.request("mount", _MOUNT_LIMIT, **arguments)
        if error := state.get("refused"):
            what = f"{wanted.bucket} could not be mounted at {wanted.path}"
            if wanted.copies:
                what = f"{wanted.path} can't be copied to {wanted.bucket}"
            raise StorageError(f"{what}: {explain(error)}.", hint=state.get("hint", ""), billed=_RUNS)
        self._note([state])
        return dict(state)

    def _open(self, wanted: Wanted) -> Access:
        role, share_keys = self._config.storage_role, self._config.share_keys
        return open_access(wanted.reach, wanted.read_only, role, share_keys)

    def unmount(self, path: str, anyway: bool = False) -> None:
        """Unmount what is at `path`.

        Raises:
            StorageError: Something there is not in the bucket yet, and is not to be left out `anyway`.
        """
        if error := self._agent.request("unmount", _LOOK_LIMIT, path=path, anyway=anyway).get("refused"):
            raise StorageError(f"{path} was not let go: {error}.", billed=_RUNS)
        self._expires.pop(path, None)
        self._done = {text: at for text, at in self._done.items() if at != path}

    # -- what is on its way -------------------------------------------------------------------------

    def look(self, hurry: bool = False, queues: bool = True) -> list[State]:
        """Return what the machine says of its mounts; what was dropped is mounted again first.

        Args:
            hurry: Have what waits for its turn uploaded now.
            queues: Also ask what is on its way.
        """
        states: list[State] = self._agent.request("mounts", _LOOK_LIMIT, hurry=hurry, queues=queues)
        self._any = False
        self._note(states)
        return states

    def _note(self, states: Iterable[State]) -> None:
        for state in states:
            self._any = True
            if state["expires"]:
                self._expires[state["path"]] = state["expires"]
                self._renew_from_now_on()

    @staticmethod
    def _check(states: Iterable[State]) -> None:
        for state in states:
            if not state["up"]:
                url, path = state["url"], state["path"]
                raise StorageError(
                    f"{url} is not mounted at {path} any more: {explain(state['why']) or 'it was dropped'}."
                    " What is written there now would stay on the machine.",
                    hint=f"Mend that and run the cell again; or let it be: `%remote unmount {path} --yes`.",
                    billed=_RUNS,
                )

    def pending(self) -> list[State]:
        """Return the mounts with something that is not in their bucket yet."""
        return [state for state in self.look() if state["count"]] if self._any else []

    def flush(self, progress: Progress, limit: float = math.inf, patience: float = PATIENCE) -> list[State]:
        """Have all that waits uploaded; what somebody still writes to is not waited for.

        Args:
            progress: Told how far it is.
            limit: Seconds it may take in all.
            patience: Seconds it goes on while nothing moves.

        Returns:
            The mounts with something left.
        """
        if not self._any:
            return []
        begin = moved = time.monotonic()
        most, least = 0, (0, 0)
        while left := [state for state in self.look(hurry=True) if state["count"] or not state["up"]]:
            now, bytes_left = time.monotonic(), sum(state["bytes"] for state in left)
            files_left = sum(state["count"] - len(state["open"]) for state in left)
            if (bytes_left, files_left) != least:
                moved, least = now, (bytes_left, files_left)
            if not files_left or now - begin > limit or now - moved > patience:
                break
            most = max(most, bytes_left)
            progress(most - bytes_left, most, "uploading to " + ", ".join(state["url"] for state in left))
            time.sleep(min(_PAUSE, (now - begin) / 16 + _SOON))
        return left

    # -- credentials --------------------------------------------------------------------------------

    def _renew_from_now_on(self) -> None:
        if self._renewer is None and not self._closed.is_set():
            self._renewer = threading.Thread(target=self._renew, name="credentials of mounts", daemon=True)
            self._renewer.start()

    def _renew(self) -> None:
        while not self._closed.wait(_EVERY):
            try:
                self.renew()
            except (GpuRemoteError, OSError):
                continue  # the next try may go better, and the next cell tells of it

    def renew(self) -> None:
        """Give new credentials to mounts whose own end soon.

        Raises:
            StorageError: There are none to be had.
        """
        if not any(at - time.time() < _RENEW for at in self._expires.values()):
            return
        for state in self.look():
            if state["expires"] and state["expires"] - time.time() < _RENEW:
                bucket = parse_bucket(state["url"])
                self._put(Wanted(bucket, state["path"], state["read_only"], state["copies"]))

    def close(self) -> None:
        """Renew nothing any more; the mounts stay."""
        self._closed.set()
