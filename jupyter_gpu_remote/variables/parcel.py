"""Variables on their way: names, and the names of the blobs that hold their pickle. Signed, since opening
one runs what is in it."""

from __future__ import annotations

import ctypes
import json
import linecache
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from . import pickler, store
from .pickler import Pickled, Reference
from .store import Data

INLINE = 256 << 10
"""Bytes of variables that travel with the request or the reply itself."""
REMEMBERED = 20_000
"""Objects of one parcel that a later one may refer to; more are values rather than things."""


class UnsignedError(ValueError):
    """A parcel is not from somebody with the key."""


@dataclass(frozen=True)
class Parcel:
    """Variables that were pickled together.

    Attributes:
        names: What they are called.
        stream: The blobs of the pickle stream.
        buffers: The blobs of each buffer.
        sources: The source of cells whose functions are among them, by the file name in tracebacks.
        transfer: What tells this parcel from all others.
    """

    names: tuple[str, ...]
    stream: tuple[str, ...]
    buffers: tuple[tuple[str, ...], ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    transfer: str = ""

    @property
    def blobs(self) -> list[str]:
        """The names of all blobs."""
        return [*self.stream, *(name for buffer in self.buffers for name in buffer)]

    def sign(self, key: bytes) -> dict[str, str]:
        """Return this as JSON, with its signature."""
        text = json.dumps(asdict(self))
        return {"text": text, "signature": store.signature(text.encode(), key)}

    @classmethod
    def read(cls, signed: Mapping[str, str], key: bytes) -> Parcel:
        """Return what `sign` made.

        Raises:
            UnsignedError: With another key, or something was changed.
        """
        text = str(signed["text"])
        if not store.is_signed(text.encode(), str(signed["signature"]), key):
            raise UnsignedError("variables came with a wrong signature; they were not opened")
        fields = json.loads(text)
        fields["buffers"] = tuple(map(tuple, fields["buffers"]))
        return cls(**{**fields, "names": tuple(fields["names"]), "stream": tuple(fields["stream"])})


Place = tuple[int, int]
"""Where data is in memory, and how many bytes."""


def place_of(data: Data) -> Place | None:
    """Return where data is; None where that can't be told, as of what may not be written to."""
    view = memoryview(data).cast("B")
    if view.readonly or not view.nbytes:
        return None
    return ctypes.addressof(ctypes.c_char.from_buffer(view)), view.nbytes


def wrap(
    names: Sequence[str],
    pickled: Pickled,
    key: bytes,
    transfer: str = "",
    hashed: Mapping[Place, Sequence[str]] = MappingProxyType({}),
) -> tuple[Parcel, dict[str, Data]]:
    """Return a pickled dict of variables as a parcel, and its blobs by name.

    Args:
        names: The variables.
        pickled: Their dict.
        key: What names of blobs are made with.
        transfer: What tells the parcel from all others.
        hashed: The names of the blobs that data in memory came from, as it was then.
    """
    blobs: dict[str, Data] = {}

    def keep(data: Data) -> tuple[str, ...]:
        pieces = store.pieces(data)
        place = place_of(data) if hashed else None
        known = hashed.get(place) if place else None
        cut = list(zip(known or [store.name_of(piece, key) for piece in pieces], pieces, strict=True))
        blobs.update(cut)
        return tuple(name for name, _ in cut)

    stream = tuple(name for segment in pickled.segments for name in keep(segment))
    buffers = tuple(keep(buffer) for buffer in pickled.buffers)
    return Parcel(tuple(names), stream, buffers, _sources(pickled), transfer), blobs


def _sources(pickled: Pickled) -> dict[str, str]:
    files = {code.co_filename for code in pickled.codes}
    lines = {file: linecache.getlines(file) for file in files}
    return {file: "".join(text) for file, text in lines.items() if text}


def open_parcel(
    parcel: Parcel,
    fetch: Callable[[Sequence[str]], Data],
    namespace: MutableMapping[str, Any],
    objects: Callable[[Reference], Any] | None = None,
) -> tuple[dict[str, Any], Mapping[int, Any]]:
    """Unpickle a parcel; return its variables by name, and all objects by their place in the memo.

    Args:
        parcel: It, its signature checked.
        fetch: Returns the content of blobs, joined.
        namespace: What functions are bound to.
        objects: Returns what a reference to an object of an earlier parcel means.
    """
    for file, text in parcel.sources.items():
        # as IPython does for its cells: without a time, so that it is never looked for on the disk
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    buffers = [fetch(blobs) if blobs else bytearray() for blobs in parcel.buffers]
    return pickler.load(fetch(parcel.stream), buffers, namespace, objects)
