"""What of the notebook's variables goes with a cell: what the machine lacks, in as few bytes as can be."""

from __future__ import annotations

import itertools
import math
import time
import uuid
import weakref
from collections import deque
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any

from ..errors import VariableError
from ..variables import blame, parcel, pickler, secrets
from ..variables.names import globals_of
from ..variables.parcel import Parcel, Place
from ..variables.pickler import Pickled, Reference
from ..variables.store import Data
from . import sharing
from .blobs import Blobs, size_of
from .ledger import Entry, Fingerprint, Ledger

AUTO_LIMIT = 100_000_000
"""Bytes that a variable may have to be sent without being asked for."""
_CHEAP = 0.02
"""Seconds; what is compared faster is always compared: a thread may have changed it."""
_VALUES = frozenset({"pandas", "polars", "pyarrow"})
"""Packages whose objects don't show it when they share memory."""
_LOOK_AT = 100_000
"""Objects of a pickle that are looked at; a class is met before its first instance."""


@dataclass
class _Found:
    """A variable that the machine may lack."""

    pickled: Pickled
    parcel: Parcel
    blobs: dict[str, Data]
    seconds: float

    @property
    def fingerprint(self) -> Fingerprint:
        return (self.parcel.stream, self.parcel.buffers)

    @property
    def size(self) -> int:
        return sum(map(size_of, self.blobs.values()))


@dataclass
class Packed:
    """Variables ready to go.

    Attributes:
        parcels: How they travel.
        blobs: The data that the parcels refer to.
        entries: What will be known of them once they have arrived.
        modules: What must be importable for them over there.
    """

    parcels: list[Parcel] = field(default_factory=list)
    blobs: dict[str, Data] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)


class Packer:
    """Packs the variables of one notebook for one machine.

    Args:
        namespace: The notebook's variables here.
        ledger: What the machine has.
        blobs: Knows what data is there.
        key: The machine's key.
    """

    def __init__(self, namespace: MutableMapping[str, Any], ledger: Ledger, blobs: Blobs, key: bytes) -> None:
        self._namespace = namespace
        self._ledger = ledger
        self._blobs = blobs
        self._key = key
        self._secrets = secrets.in_environment()

    def pack(self, names: Collection[str], asked: Collection[str], follow: bool) -> Packed:
        """Pack those of `names` that the machine lacks or has older.

        Args:
            names: Variables of the notebook.
            asked: Which of them the user asked to send, whatever their size.
            follow: Whether to take along what their functions look up.

        Raises:
            VariableError: One can't travel, or should not without being asked for.
        """
        found = self._find(names, asked, follow)
        packed = Packed()
        known = sharing.known(self._ledger, found)
        for group in sharing.groups({name: one.pickled for name, one in found.items()}):
            wrapped, blobs, pickled = self._wrap(group, found, known)
            packed.parcels.append(wrapped)
            packed.blobs.update(blobs)
            for name in group:
                one = found[name]
                packed.modules |= _modules(one.pickled)
                packed.entries[name] = Entry(
                    fingerprint=one.fingerprint,
                    bound=id(self._namespace[name]),
                    things=sharing.things(one.pickled, pickled, wrapped.transfer),
                    globals=self._globals(one.pickled),
                    checked=self._ledger.epoch,
                    seconds=one.seconds,
                )
        return packed

    def lend(self, blobs: Collection[str]) -> dict[str, Data]:
        """Return those of `blobs` that variables here still have, which the machine was sent before."""
        lent: dict[str, Data] = {}
        for name, entry in list(self._ledger.entries.items()):
            stream, buffers = entry.fingerprint or ((), ())
            sent = {*stream, *itertools.chain(*buffers)}
            if name in self._namespace and not sent.isdisjoint(blobs):
                with suppress(VariableError):  # it is another value by now
                    lent.update(self._look_at(name).blobs)
        return {name: lent[name] for name in lent.keys() & set(blobs)}

    def known(
        self, name: str, memo: Mapping[int, Any], transfer: str, hashed: Mapping[Place, Sequence[str]]
    ) -> Entry:
        """Return what is known of a variable that has just come from there.

        Args:
            name: It.
            memo: The objects of its parcel, by their place.
            transfer: What tells that parcel from others.
            hashed: The blobs of what it was made of, by where that is in memory.
        """
        one = self._look_at(name, hashed=hashed)
        return Entry(
            fingerprint=one.fingerprint,
            bound=id(self._namespace[name]),
            things={
                id(obj): (weakref.ref(obj), (transfer, place))
                for place, obj in (memo.items() if len(memo) <= parcel.REMEMBERED else ())
                if id(obj) in one.pickled.memo and pickler.is_thing(obj)
            },
            globals=self._globals(one.pickled),
            checked=self._ledger.epoch,
            seconds=one.seconds,
        )

    def same(self) -> Iterator[str]:
        """Yield the variables with objects of their own that both ends have, unchanged here."""
        for name, entry in list(self._ledger.entries.items()):
            if entry.there or not entry.things or name not in self._namespace:
                continue
            if type(self._namespace[name]).__module__.partition(".")[0] in _VALUES:
                continue
            if entry.checked == self._ledger.epoch and entry.seconds > _CHEAP:
                yield name
                continue
            with suppress(VariableError):
                if self._look_at(name).fingerprint == entry.fingerprint:
                    yield name

    # -- which ----------------------------------------------------------------------------------------

    def _find(self, names: Collection[str], asked: Collection[str], follow: bool) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        owners = sharing.owners(self._ledger.entries)
        seen = set(names)
        queue = deque(sorted(seen))
        while queue:
            name = queue.popleft()
            entry = self._ledger.entry(name)
            if entry.there and name not in asked:
                continue
            if entry.fingerprint and entry.checked == self._ledger.epoch and entry.seconds > _CHEAP:
                related, shared = entry.globals, frozenset[str]()
            else:
                one = self._look_at(name, limited=name not in asked and entry.fingerprint is None)
                related, shared = self._globals(one.pickled), self._sharing(one.pickled, owners)
                if one.fingerprint == entry.fingerprint:
                    entry.checked, entry.seconds, entry.globals = self._ledger.epoch, one.seconds, related
                elif follow or name in names:
                    if name not in asked:
                        self._guard(name, one)
                    found[name] = one
            # what shares objects with it is compared in any case: only the unchanged can be referred to
            more = sorted((related | shared if follow else shared) - seen)
            queue += more
            seen.update(more)
        return found

    def _globals(self, pickled: Pickled) -> frozenset[str]:
        names = {name for code in pickled.codes for name in globals_of(code)}
        return frozenset(names & self._namespace.keys())

    @staticmethod
    def _sharing(pickled: Pickled, owners: Mapping[int, list[str]]) -> frozenset[str]:
        """Return the names whose objects, which the machine has, are part of this too."""
        met = pickled.memo.keys() | pickled.roots
        return frozenset(name for i in owners.keys() & met for name in owners[i])

    def _look_at(
        self, name: str, limited: bool = False, hashed: Mapping[Place, Sequence[str]] = MappingProxyType({})
    ) -> _Found:
        """Pickle a variable by itself; `limited` says to give up when that is too much to be sent."""
        start = time.monotonic()
        try:
            pickled = self._dump([name], limit=AUTO_LIMIT if limited else math.inf)
        except pickler.TooLargeError:
            raise _too_large(name, AUTO_LIMIT) from None
        wrapped, blobs = parcel.wrap([name], pickled, self._key, hashed=hashed)
        return _Found(pickled, wrapped, blobs, time.monotonic() - start)

    def _guard(self, name: str, one: _Found) -> None:
        """Refuse what is not to be sent without being asked for: secrets, and what is large."""
        value = self._namespace[name]
        if secrets.tells_secret(name, value):
            raise _secret(name, name, "its name says so")
        if secret := secrets.secret_among(obj for _, obj in one.pickled.memo.values()):
            raise _secret(name, blame.path_to(secret[0], {name: value}), blame.type_name(secret[0]))
        if what := secrets.secret_in(one.pickled.segments, self._secrets):
            raise _secret(name, name, f"it holds {what}")
        if one.size > AUTO_LIMIT:
            lacking = self._blobs.lacking(one.blobs)
            if (size := sum(size_of(one.blobs[blob]) for blob in lacking)) > AUTO_LIMIT:
                raise _too_large(name, size)

    def _dump(self, names: Collection[str], **options: Any) -> Pickled:
        values = {name: self._namespace[name] for name in names}
        try:
            return pickler.dump(values, self._namespace, **options)
        except pickler.UnpicklableError as e:
            at = blame.path_to(e.culprit, values)
            raise VariableError(
                f"{', '.join(names)} can't be sent: {at} is a {blame.type_name(e.culprit)}: {e.reason}.",
                hint="Make it in a remote cell; or --no-auto-in, if the cell does not need it.",
            ) from None

    # -- how ------------------------------------------------------------------------------------------

    def _wrap(
        self, group: list[str], found: Mapping[str, _Found], known: Mapping[int, Reference]
    ) -> tuple[Parcel, Mapping[str, Data], Pickled]:
        met = {i for name in group for i in (*found[name].pickled.memo, *found[name].pickled.roots)}
        references = {i: known[i] for i in known.keys() & met}
        transfer = uuid.uuid4().hex
        if len(group) == 1 and not references:
            one = found[group[0]]
            fields = (one.parcel.names, one.parcel.stream, one.parcel.buffers, one.parcel.sources)
            return Parcel(*fields, transfer), one.blobs, one.pickled
        pickled = self._dump(group, references=references)
        wrapped, blobs = parcel.wrap(group, pickled, self._key, transfer)
        return wrapped, blobs, pickled


def _modules(pickled: Pickled) -> set[str]:
    """Return the top-level modules that classes and functions of a pickle are from."""
    names = set()
    for _, obj in itertools.islice(pickled.memo.values(), _LOOK_AT):
        if isinstance(obj, ModuleType):
            names.add(obj.__name__)
        elif callable(obj):
            names.add(str(getattr(obj, "__module__", None) or ""))
    return {name.partition(".")[0] for name in names}


def _secret(name: str, at: str, why: str) -> VariableError:
    return VariableError(
        f"The cell needs {name}, but {at} looks like a secret ({why}): it is not sent by itself.",
        hint=f"`%%remote --in {name}` sends it all the same.",
    )


def _too_large(name: str, size: int) -> VariableError:
    return VariableError(
        f"The cell needs {name}, which has {size / 1e6:,.0f} MB{' or more' * (size == AUTO_LIMIT)}: "
        f"more than {AUTO_LIMIT // 10**6} MB are not sent without being asked for.",
        hint=f"`%%remote --in {name}` sends it, once; or load it over there, in a remote cell.",
    )
