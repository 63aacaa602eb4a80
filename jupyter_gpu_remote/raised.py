"""What the user's code raised over there, raised here: under its own name, shown once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import GpuRemoteError, KernelError


class RemoteError(Exception):
    """What the user's code raised over there; its class is made to bear the remote one's name.

    Args:
        reply: The content of the execute reply.
        shown: Whether the frontends have it already, in its place among the outputs.
    """

    def __init__(self, reply: dict[str, Any], shown: bool) -> None:
        super().__init__(reply.get("evalue", ""))
        self.shown = shown
        self._traceback = reply.get("traceback") or []

    def _render_traceback_(self) -> list[str]:
        return list(self._traceback)


def remote_error(reply: dict[str, Any], shown: bool) -> Exception:
    """Return the error of an execute reply, named and shown as the remote kernel shows it."""
    if reply["status"] == "aborted":
        return KernelError(
            "The remote kernel did not run this cell, because one before it failed.", hint="Run it again."
        )
    cls: type[Exception] = type(reply["ename"], (RemoteError,), {"__module__": "remote"})
    return cls(reply, shown)


def show_once(shell: Any) -> None:
    """Keep `shell` from publishing the error of a remote cell again when the local cell raises it."""
    publish = shell._showtraceback

    def show(etype: Any, evalue: Any, traceback: list[str]) -> None:
        if getattr(evalue, "shown", False) and isinstance(evalue, RemoteError):
            shell._last_traceback = traceback
        else:
            publish(etype, evalue, traceback)

    shell._showtraceback = show


@contextmanager
def without_traceback() -> Iterator[None]:
    """Let IPython show our errors as messages alone."""
    try:
        yield
    except (GpuRemoteError, KeyboardInterrupt) as e:
        text = ": ".join(filter(None, (type(e).__name__, str(e))))
        e._render_traceback_ = lambda: text.splitlines()  # type: ignore[union-attr]
        raise
