"""The notebook's variables in the kernel: taken before a cell, given after it.

Runs in the kernel's process. What the client asks for comes with the request that runs the cell, so that
both happen or neither does.
"""

from __future__ import annotations

import base64
import uuid
import weakref
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ..variables import blame, codec, parcel, pickler, store
from ..variables.key import make_key
from ..variables.parcel import Parcel
from .company import Company

_STORE_LIMIT = 20 << 30
"""Bytes that the store may keep of what was not used lately."""


class Refused(Exception):
    """The cell was not run, because its variables could not be taken.

    Args:
        why: ``fresh`` (this is another kernel than the client believes), ``missing`` (data, or an object that
            was referred to, is not here), ``failed``.
        text: What failed.
    """

    def __init__(self, why: str, text: str = "") -> None:
        super().__init__(text)
        self.why = why


class Exchange:
    """One kernel's side.

    Args:
        namespace: The notebook's variables.
    """

    def __init__(self, namespace: MutableMapping[str, Any]) -> None:
        self._namespace = namespace
        self._objects: weakref.WeakValueDictionary[tuple[str, int], Any] = weakref.WeakValueDictionary()
        self._stores: dict[str, tuple[store.Store, bytes]] = {}

    def take(self, wish: Mapping[str, Any], parts: Sequence[bytes | memoryview]) -> None:
        """Take the variables that a request brings.

        Args:
            wish: What the client wants.
            parts: Data that came with the request.

        Raises:
            Refused: They can't be had; nothing was changed.
        """
        self._namespace.update(self._open(wish, parts))

    def _open(self, wish: Mapping[str, Any], parts: Sequence[bytes | memoryview]) -> dict[str, Any]:
        kept, key = self._store(wish["store"])
        inline = {store.name_of(part, key): part for part in parts}

        def fetch(names: Sequence[str]) -> store.Data:
            if any(name in inline for name in names):
                return bytearray().join(inline[n] if n in inline else kept.get([n]) for n in names)
            return kept.get(names)

        taken: dict[str, Any] = {}
        for signed in wish["take"]:
            names: Sequence[str] = ()
            try:
                opened = Parcel.read(signed, key)
                names = opened.names
                values, memo = parcel.open_parcel(opened, fetch, self._namespace, self._object)
            except (store.MissingBlobError, pickler.LostReferenceError) as e:
                raise Refused("missing", str(e)) from None
            except (parcel.UnsignedError, store.ForgedBlobError) as e:
                raise Refused("failed", f"{e}") from None
            except Exception as e:  # whatever the classes of the user's values raise
                said = f"{type(e).__name__}: {e}"
                raise Refused("failed", f"{', '.join(names)} could not be made over there: {said}") from e
            taken.update(values)
            self._remember(opened.transfer, memo)
        return taken

    def _object(self, reference: pickler.Reference) -> Any:
        try:
            return self._objects[reference]
        except KeyError:
            raise pickler.LostReferenceError(reference) from None

    def _remember(self, transfer: str, memo: Mapping[int, Any]) -> None:
        if len(memo) > parcel.REMEMBERED:
            return
        for place, value in memo.items():
            if pickler.is_thing(value):
                self._objects[transfer, place] = value

    def give(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables that a request asks for, or why they can't be had."""
        try:
            return self._wrap(wish)
        except Refused as e:
            return {"failed": str(e)}

    def _wrap(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        names = wish["give"]
        if absent := [name for name in names if name not in self._namespace]:
            raise Refused("failed", f"there is no variable {', '.join(absent)} over there")
        values = {name: self._namespace[name] for name in names}
        kept, key = self._store(wish["store"])
        try:
            company = Company(names, self._namespace, wish["current"], wish["same"])
        except pickler.UnpicklableError as e:
            why = f"{blame.path_to(e.culprit, values)} is a {blame.type_name(e.culprit)}: {e.reason}"
            raise Refused("failed", why) from None
        transfer = uuid.uuid4().hex
        wrapped, blobs = parcel.wrap(company.names, company.pickled, key, transfer)
        self._remember(transfer, dict(company.pickled.memo.values()))
        answer = {"given": wrapped.sign(key), "imports": company.imports, "parts": {}}
        if sum(memoryview(data).nbytes for data in blobs.values()) <= parcel.INLINE:
            answer["parts"] = {n: base64.b64encode(data).decode() for n, data in blobs.items()}
            return answer
        kept.replace(tuple(names), blobs)
        try:
            for name, data in blobs.items():
                if name not in kept:
                    packed, content = codec.pack(data, wish["rate"])
                    kept.put(name, content, packed)
        except OSError as e:
            raise Refused("failed", f"there was no keeping {', '.join(names)}: {e.strerror}") from None
        files = [kept.file(name) for name in blobs]
        answer["files"] = {file.name: file.stat().st_size for file in files}
        return answer

    def _store(self, folder: str) -> tuple[store.Store, bytes]:
        if folder not in self._stores:
            path = Path(folder)
            key = make_key(path.with_name("store.key"))
            self._stores[folder] = store.Store(path, key), key
            self._stores[folder][0].trim(_STORE_LIMIT)
        return self._stores[folder]
