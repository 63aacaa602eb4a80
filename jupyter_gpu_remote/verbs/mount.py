"""The verbs about buckets: mounted on a machine, and read from here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigurationError, StorageError
from ..model import Machine
from ..storage.mounts import Mounts, State
from ..storage.told import left_behind, on_its_way
from ..storage.urls import parse_bucket, parse_mount
from ..tables import Table
from .desk import Desk
from .there import visit
from .words import NAME, SHARED, argument

verb = SHARED.verb


@contextmanager
def _mounts(desk: Desk, machine: Machine) -> Iterator[Mounts]:
    """Give the mounts of a machine; a notebook's own know what is to be renewed from now on."""
    if (own := _own(desk, machine)) is not None:
        yield own
        return
    with visit(desk, machine) as there:
        yield there.mounts


def _own(desk: Desk, machine: Machine) -> Mounts | None:
    notebook = desk.notebook
    if notebook is None or notebook.live is None or notebook.live.machine.name != machine.name:
        return None
    return notebook.mounts if notebook.kernel is not None and notebook.kernel.is_open else None


@verb(
    "Mount a bucket on a machine.",
    argument("what", metavar="URL:PATH", help="s3://bucket/folder:/data, gs://bucket:~/data:ro"),
    NAME,
    argument("--create", action="store_true", help="make the bucket first, private and encrypted"),
    argument(
        "--days", type=int, metavar="N", help="with --create: delete files N days after they are written"
    ),
)
def mount(desk: Desk, what: str, name: str = "", create: bool = False, days: int | None = None) -> None:
    """Mount a bucket.

    Raises:
        StorageError: It can't be made or mounted.
        ConfigurationError: The days mean nothing.
    """
    if days is not None and (days < 1 or not create):
        raise ConfigurationError(
            "--days is a rule for a new bucket: a number of days, after --create.",
            hint="The lifecycle rules of a bucket that exists are set in the console of its cloud.",
        )
    wanted, machine = parse_mount(what), desk.machine(name)
    if create:
        from ..storage.create import create_bucket

        desk.say(create_bucket(wanted.bucket, desk.config.region or machine.offer.region, days or 0))
    with _mounts(desk, machine) as known:
        state = known.mount(wanted, desk.report)
    desk.report("", "")
    until = time.strftime("%H:%M", time.localtime(state["expires"])) if state["expires"] else ""
    good = f" Its credentials are good until {until}; an open notebook renews them." if until else ""
    desk.say(f"{wanted.bucket} is mounted at {state['path']} on {machine.name}.{good}")


@verb(
    "Unmount a bucket, or copy a folder no more, once all that was written is in the bucket.",
    argument("path", metavar="PATH", help="where it is mounted, or the folder, as `mounts` lists it"),
    NAME,
    argument("--yes", action="store_true", help="also when something is not in the bucket yet"),
)
def unmount(desk: Desk, path: str, name: str = "", yes: bool = False) -> None:
    """Unmount a bucket.

    Raises:
        StorageError: Something is not in the bucket, or is still being written.
    """
    machine = desk.machine(name)
    with _mounts(desk, machine) as known:
        if not yes:
            known.flush(desk.progress)
            desk.report("", "")
        known.unmount(path, anyway=yes)
    desk.say(f"{path} is unmounted on {machine.name}.")


@verb("List what is mounted on a machine, and what is on its way to buckets.", NAME)
def mounts(desk: Desk, name: str = "") -> None:
    """Show the mounts of a machine."""
    machine = desk.machine(name)
    with _mounts(desk, machine) as known:
        states = known.look()
    if not states:
        desk.say(f"Nothing is mounted on {machine.name}.")
        return
    rows = [(state["path"], state["url"], _how(state), _state(state)) for state in states]
    desk.say(Table(("PATH", "BUCKET", "", "STATE"), rows))


def _how(state: State) -> str:
    return "read-only" if state["read_only"] else "copied" if state["copies"] else ""


def _state(state: State) -> str:
    if not state["up"]:
        return f"dropped: {state['why']}" if state["why"] else "dropped"
    return on_its_way([state]) or "all is in the bucket"


@verb("Wait until all that was written is in its buckets.", NAME)
def flush(desk: Desk, name: str = "") -> None:
    """Drain all mounts of a machine.

    Raises:
        StorageError: Something is not there; the message names it.
    """
    machine = desk.machine(name)
    with _mounts(desk, machine) as known:
        left = known.flush(desk.progress)
    desk.report("", "")
    if left:
        names = "; ".join(left_behind(left))
        raise StorageError(
            f"Not all that was written on {machine.name} has reached its bucket: {names}.",
            hint="Close files that are still open; see `mounts` for the rest.",
            billed="The machine still runs." if machine.offer.price else "",
        )
    desk.say("All that was written is in its buckets.")


@verb("List what is in a bucket.", argument("url", metavar="URL", help="s3://bucket/folder"))
def ls(desk: Desk, url: str) -> None:
    """List a folder of a bucket, read from here."""
    from ..storage.browse import listing

    rows = listing(parse_bucket(url))
    desk.say(Table(("NAME", "SIZE", "CHANGED"), rows) if rows else f"There is nothing in {url}.")


@verb(
    "Copy from a bucket to here, or from here into a bucket.",
    argument("source", metavar="FROM", help="s3://bucket/file, or a file here"),
    argument("target", metavar="TO", nargs="?", default=".", help="a file or folder here, or in a bucket"),
)
def cp(desk: Desk, source: str, target: str = ".") -> None:
    """Copy files or folders."""
    from ..storage.browse import copy

    said = copy(source, target, desk.folder, desk.report)
    desk.report("", "")
    desk.say(said)
