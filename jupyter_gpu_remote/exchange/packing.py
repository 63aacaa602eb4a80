"""What of the notebook's variables goes with a cell: what the machine lacks, in as few bytes as can be."""

from __future__ import annotations

import itertools
import time
import uuid
import weakref
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import CellType, ModuleType
from typing import Any

from ..errors import VariableError
from ..variables import blame, parcel, pickler, secrets
from ..variables.names import globals_of
from ..variables.parcel import Parcel
from ..variables.pickler import Pickled, Reference
from ..variables.store import Data
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
_REMEMBERED = 20_000
"""Objects of one parcel that a later one may refer to."""


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
        known = self._known(found)
        for group in self._groups(found):
            wrapped, blobs, pickled = self._wrap(group, found, known)
            packed.parcels.append(wrapped)
            packed.blobs.update(blobs)
            for name in group:
                one = found[name]
                packed.modules |= _modules(one.pickled)
                packed.entries[name] = Entry(
                    fingerprint=one.fingerprint,
                    bound=id(self._namespace[name]),
                    things=_things(one.pickled, pickled, wrapped.transfer),
                    globals=self._globals(one.pickled),
                    checked=self._ledger.epoch,
                    seconds=one.seconds,
                )
        return packed

    def known(self, name: str, memo: Mapping[int, Any], transfer: str) -> Entry:
        """Return what is known of a variable that has just come from there.

        Args:
            name: It.
            memo: The objects of its parcel, by their place.
            transfer: What tells that parcel from others.
        """
        one = self._look_at(name, asked=True)
        return Entry(
            fingerprint=one.fingerprint,
            bound=id(self._namespace[name]),
            things={
                id(obj): (weakref.ref(obj), (transfer, place))
                for place, obj in (memo.items() if len(memo) <= _REMEMBERED else ())
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
                if self._look_at(name, asked=True).fingerprint == entry.fingerprint:
                    yield name

    # -- which ----------------------------------------------------------------------------------------

    def _find(self, names: Collection[str], asked: Collection[str], follow: bool) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        owners = self._owners()
        seen = set(names)
        queue = deque(sorted(seen))
        while queue:
            name = queue.popleft()
            entry = self._ledger.entry(name)
            if entry.there and name not in asked:
                continue
            if entry.fingerprint and entry.checked == self._ledger.epoch and entry.seconds > _CHEAP:
                related, sharing = entry.globals, frozenset[str]()
            else:
                one = self._look_at(name, name in asked, entry.fingerprint is not None)
                related, sharing = self._globals(one.pickled), self._sharing(one.pickled, owners)
                if one.fingerprint == entry.fingerprint:
                    entry.checked, entry.seconds, entry.globals = self._ledger.epoch, one.seconds, related
                elif follow or name in names:
                    self._check_size(name, one, name in asked)
                    found[name] = one
            # what shares objects with it is compared in any case: only the unchanged can be referred to
            more = sorted((related | sharing if follow else sharing) - seen)
            queue += more
            seen.update(more)
        return found

    def _globals(self, pickled: Pickled) -> frozenset[str]:
        names = {name for code in pickled.codes for name in globals_of(code)}
        return frozenset(names & self._namespace.keys())

    def _owners(self) -> dict[int, list[str]]:
        """Return the names that brought the objects which the machine has, by id."""
        owners: dict[int, list[str]] = {}
        for name, entry in self._ledger.entries.items():
            for i in entry.things if not entry.there else ():
                owners.setdefault(i, []).append(name)
        return owners

    @staticmethod
    def _sharing(pickled: Pickled, owners: Mapping[int, list[str]]) -> frozenset[str]:
        """Return the names whose objects, which the machine has, are part of this too."""
        met = pickled.memo.keys() | pickled.roots
        return frozenset(name for i in owners.keys() & met for name in owners[i])

    def _look_at(self, name: str, asked: bool, sent: bool = True) -> _Found:
        """Pickle a variable by itself.

        Args:
            name: It.
            asked: Whether the user wants it sent, whatever it is.
            sent: Whether it was sent before, so that it may be as large as it is.
        """
        value = self._namespace[name]
        start = time.monotonic()
        if not asked and secrets.tells_secret(name, value):
            raise _secret(name, "its name says so")
        options: dict[str, Any] = {} if asked else {"refuse": secrets.is_secret_object}
        if not asked and not sent:
            options["limit"] = AUTO_LIMIT
        try:
            pickled = self._dump([name], **options)
        except pickler.RefusedError as e:
            raise _secret(blame.path_to(e.culprit, {name: value}), blame.type_name(e.culprit)) from None
        except pickler.TooLargeError:
            raise _too_large(name, AUTO_LIMIT) from None
        if not asked and (what := secrets.secret_in(pickled.segments)):
            raise _secret(name, f"it holds {what}")
        wrapped, blobs = parcel.wrap([name], pickled, self._key)
        return _Found(pickled, wrapped, blobs, time.monotonic() - start)

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

    def _check_size(self, name: str, one: _Found, asked: bool) -> None:
        if asked or one.size <= AUTO_LIMIT:
            return
        lacking = self._blobs.lacking(one.blobs)
        if (size := sum(size_of(one.blobs[blob]) for blob in lacking)) > AUTO_LIMIT:
            raise _too_large(name, size)

    # -- how ------------------------------------------------------------------------------------------

    @staticmethod
    def _groups(found: Mapping[str, _Found]) -> Iterable[list[str]]:
        """Put together what shares objects, so that they are one again over there."""
        leader: dict[str, str] = {}
        first: dict[int, str] = {}  # the first name that has an object

        def lead(name: str) -> str:
            while leader[name] != name:
                name = leader[name]
            return name

        for name, one in found.items():
            leader[name] = name
            memo = one.pickled.memo.items()
            ids = {i for i, (place, obj) in memo if place and _may_be_shared(obj)} | one.pickled.roots
            for i in ids or {0}:  # numbers and text share nothing, and go together
                leader[lead(name)] = lead(first.setdefault(i, name))
        groups: dict[str, list[str]] = {}
        for name in found:
            groups.setdefault(lead(name), []).append(name)
        return groups.values()

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

    def _known(self, found: Mapping[str, _Found]) -> dict[int, Reference]:
        """Return what the machine has already, in variables that have not changed here."""
        return {
            i: reference
            for name, entry in self._ledger.entries.items()
            if name not in found and entry.checked == self._ledger.epoch
            for i, (alive, reference) in entry.things.items()
            if alive() is not None
        }


def _modules(pickled: Pickled) -> set[str]:
    """Return the top-level modules that classes and functions of a pickle are from."""
    names = set()
    for _, obj in itertools.islice(pickled.memo.values(), _LOOK_AT):
        if isinstance(obj, ModuleType):
            names.add(obj.__name__)
        elif callable(obj):
            names.add(str(getattr(obj, "__module__", None) or ""))
    return {name.partition(".")[0] for name in names}


def _may_be_shared(obj: Any) -> bool:
    return isinstance(obj, (list, dict, set, bytearray, CellType)) or pickler.is_thing(obj)


def _things(one: Pickled, sent: Pickled, transfer: str) -> dict[int, tuple[weakref.ref[Any], Reference]]:
    """Return the objects of a variable by which later ones can refer to it."""
    if len(sent.memo) > _REMEMBERED:
        return {}
    return {
        i: (weakref.ref(obj), (transfer, sent.memo[i][0]))
        for i, (_, obj) in one.memo.items()
        if i in sent.memo and pickler.is_thing(obj)
    }


def _secret(at: str, why: str) -> VariableError:
    name = at.partition("[")[0].partition(".")[0]
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
