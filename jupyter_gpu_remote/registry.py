"""What this user has running, in one SQLite file that every kernel, server and command shares.

A change is one transaction: it compares the state, checks that the new one may follow, and appends the
event that tells the faces. A process killed at any moment leaves the file usable.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from . import jobtable, leases, spend
from .config import state_dir
from .errors import ConflictError, MachineNotFoundError, did_you_mean
from .model import TRANSITIONS, Address, Machine, MachineState, Offer
from .owner import Owner
from .statefile import StateFile, corrupt

KEPT_EVENTS = 5000

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE machines (name TEXT PRIMARY KEY, final INTEGER NOT NULL, machine TEXT NOT NULL)",
        leases.SCHEMA,
        "CREATE TABLE bindings (notebook TEXT PRIMARY KEY, machine TEXT NOT NULL)",
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL,"
        " kind TEXT NOT NULL, machine TEXT NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL)",
    ),
    spend.SCHEMA,
    jobtable.SCHEMA,
    jobtable.CELL_ID,
)


@dataclass(frozen=True)
class Event:
    """Something that happened; `id` only ever grows."""

    id: int
    at: float
    kind: str
    machine: str
    text: str
    data: Mapping[str, Any]


class Registry:
    """The machines of this user. Safe in any number of threads and processes; opened on first use.

    Args:
        path: The file; None is ``registry.sqlite`` in the state folder.

    Every method raises `RegistryError` when the file cannot be used.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or state_dir() / "registry.sqlite"
        self._file = StateFile(self.path, _MIGRATIONS)
        self.jobs = jobtable.JobTable(self._file)

    def add(self, machine: Machine) -> None:
        """Write down a new machine; raise `ConflictError` when its name was ever used."""
        with self._file.transaction() as db:
            try:
                row = (machine.name, machine.state.final, _dump(machine))
                db.execute("INSERT INTO machines VALUES (?, ?, ?)", row)
                spend.follow(db, machine)
            except sqlite3.IntegrityError:
                raise ConflictError(f"There is or was already a machine called {machine.name!r}.") from None
            self._note(db, "added", machine.name, machine.state.value, {"to": machine.state.value})

    def get(self, name: str) -> Machine:
        """Return the machine called `name`, also when it has ended.

        Raises:
            MachineNotFoundError: There never was one.
        """
        with self._file.connection() as db:
            return self._fetch(db, name)

    def machines(self, ended: bool = False) -> list[Machine]:
        """Return the machines that exist or may exist, oldest first; with `ended`, the gone ones too."""
        with self._file.connection() as db:
            rows = db.execute("SELECT machine FROM machines WHERE final <= ?", (ended,)).fetchall()
        return sorted((self._load(text) for (text,) in rows), key=lambda m: (m.created_at, m.name))

    def update(
        self,
        name: str,
        *,
        expect: MachineState | Collection[MachineState] | None = None,
        lease: leases.Lease | None = None,
        **changes: Any,
    ) -> Machine:
        """Change a machine, and return it as it is now, unless another process got there first.

        Args:
            name: Which one.
            expect: The state or states that it must be in.
            lease: Must still be held.
            changes: Fields of `Machine`. A new `state` must be one that may follow.

        Raises:
            ConflictError: It is in another state, or the lease is lost; nothing was changed.
            MachineNotFoundError: There is no machine of that name.
        """
        expected = (expect,) if isinstance(expect, MachineState) else expect
        with self._file.transaction() as db:
            old = self._fetch(db, name)
            if lease is not None:
                lease.check(db)
            if expected is not None and old.state not in expected:
                raise ConflictError(
                    f"{name!r} is {old.state.value}, not {' or '.join(s.value for s in expected)}."
                )
            new = replace(old, **changes)
            moved = new.state is not old.state
            if moved and new.state not in TRANSITIONS[old.state]:
                raise ConflictError(f"{name!r} is {old.state.value} and cannot become {new.state.value}.")
            if moved and new.state.final:
                new = replace(new, ended_at=new.ended_at or time.time())
            if new == old:
                return old
            row = (new.state.final, _dump(new), name)
            db.execute("UPDATE machines SET final = ?, machine = ? WHERE name = ?", row)
            spend.follow(db, new)
            if moved:
                data = {"from": old.state.value, "to": new.state.value}
                self._note(db, "state", name, new.note or new.state.value, data)
            else:
                self._note(db, "changed", name, new.note, {"fields": sorted(changes)})
            return new

    def lease(self, name: str, seconds: float) -> leases.Lease:
        """Take the lease on `name` for `seconds`; it need not be a machine yet.

        Raises:
            ConflictError: A live process holds it.
        """
        return leases.take(self._file, name, seconds)

    def lease_owner(self, name: str) -> Owner | None:
        """Return the live process that works on `name`."""
        with self._file.connection() as db:
            return leases.owner(db, name)

    def bind(self, notebook: str, machine: str) -> None:
        """Make `machine` the one that `notebook` uses, until it is unbound.

        Raises:
            MachineNotFoundError: There is no such machine.
            ConflictError: It has ended.
        """
        with self._file.transaction() as db:
            if (state := self._fetch(db, machine).state).final:
                raise ConflictError(f"{machine!r} is {state.value}; no notebook can use it.")
            db.execute("INSERT OR REPLACE INTO bindings VALUES (?, ?)", (_plain(notebook), machine))
            spend.attribute(db, machine, _plain(notebook))
            self._note(db, "bound", machine, notebook, {})

    def binding(self, notebook: str) -> str | None:
        """Return the name of the machine that `notebook` uses; it may have ended since."""
        with self._file.connection() as db:
            found = "SELECT machine FROM bindings WHERE notebook = ?"
            row = db.execute(found, (_plain(notebook),)).fetchone()
        return str(row[0]) if row else None

    def bindings(self) -> dict[str, str]:
        """Return the names of the machines that notebooks use, by notebook."""
        with self._file.connection() as db:
            return dict(db.execute("SELECT notebook, machine FROM bindings"))

    def unbind(self, notebook: str) -> None:
        """Forget which machine `notebook` uses."""
        with self._file.transaction() as db:
            if db.execute("DELETE FROM bindings WHERE notebook = ?", (_plain(notebook),)).rowcount:
                self._note(db, "unbound", "", notebook, {})

    def unbind_all(self, machine: str) -> None:
        """Forget that any notebook uses `machine`."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM bindings WHERE machine = ?", (machine,))

    def note(self, kind: str, machine: str, text: str, data: Mapping[str, Any] | None = None) -> int:
        """Append an event and return its id."""
        with self._file.transaction() as db:
            return self._note(db, kind, machine, text, data or {})

    def events(self, since: int | None = None, limit: int = 1000) -> list[Event]:
        """Return up to `limit` events, oldest first: those after the id `since`, or the latest ones."""
        columns = "SELECT id, at, kind, machine, text, data FROM events"
        with self._file.connection() as db:
            if since is None:
                rows = db.execute(f"{columns} ORDER BY id DESC LIMIT ?", (limit,)).fetchall()[::-1]
            else:
                rows = db.execute(f"{columns} WHERE id > ? ORDER BY id LIMIT ?", (since, limit)).fetchall()
        return [Event(i, at, kind, name, text, json.loads(data)) for i, at, kind, name, text, data in rows]

    def charges(self, since: float = 0.0) -> list[spend.Charge]:
        """Return what machines cost after `since` (Unix seconds), oldest first."""
        with self._file.connection() as db:
            return spend.charges(db, since)

    def spent(self, since: float = 0.0) -> dict[str, float]:
        """Return the dollars each machine cost from `since` (Unix seconds) until now."""
        now, spent = time.time(), dict[str, float]()
        for charge in self.charges(since):
            spent[charge.machine] = spent.get(charge.machine, 0.0) + charge.cost(since, now)
        return spent

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._file.close()

    @staticmethod
    def _note(db: sqlite3.Connection, kind: str, machine: str, text: str, data: Mapping[str, Any]) -> int:
        cursor = db.execute(
            "INSERT INTO events (at, kind, machine, text, data) VALUES (?, ?, ?, ?, ?)",
            (time.time(), kind, machine, _plain(text), json.dumps(data)),
        )
        db.execute("DELETE FROM events WHERE id <= ?", ((cursor.lastrowid or 0) - KEPT_EVENTS,))
        return cursor.lastrowid or 0

    def _fetch(self, db: sqlite3.Connection, name: str) -> Machine:
        row = db.execute("SELECT machine FROM machines WHERE name = ?", (name,)).fetchone()
        if row:
            return self._load(row[0])
        live = [live for (live,) in db.execute("SELECT name FROM machines WHERE NOT final")]
        hint = did_you_mean(name, live) or "No machine is running."
        raise MachineNotFoundError(f"There is no machine called {name!r}.", hint=hint)

    def _load(self, text: str) -> Machine:
        try:
            values = json.loads(text)
            values["state"] = MachineState(values["state"])
            values["offer"] = Offer(**_known(Offer, values["offer"]))
            if address := values["address"]:
                address["key_file"] = Path(address["key_file"]) if address["key_file"] else None
                values["address"] = Address(**_known(Address, address))
            return Machine(**_known(Machine, values))
        except (ValueError, KeyError, TypeError) as e:
            raise corrupt(self.path, f"a machine in it cannot be read ({e})") from e


def _dump(machine: Machine) -> str:
    return json.dumps(asdict(machine), default=os.fspath)


def _plain(text: str) -> str:
    # a file name that is no UTF-8 has characters that SQLite refuses
    return text.encode("utf-8", "backslashreplace").decode()


def _known(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    # a row may have been written by a release with other fields; new ones have defaults
    names = {f.name for f in fields(cls)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names}
