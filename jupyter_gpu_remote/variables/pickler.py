"""Pickle values so that they arrive as they were: one object for two names, functions that see the notebook.

Large memory (arrays, tensors) stays out of the stream as buffers of its own, so what has not changed is
known by its hash and travels once.
"""

from __future__ import annotations

import io
import math
import pickle
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from . import rebuild, reducers
from .memory import Memory, Storage, storage
from .reducers import UnpicklableError as UnpicklableError

_SMALL = 16 << 10
"""Bytes; a buffer below stays in the stream."""
_REBUILD = ".variables.rebuild"
_LARGE = 1 << 20
"""Bytes; what is written in one piece of this size becomes a segment of its own, as text or images do."""

Reference = tuple[str, int]
"""An object that the other end has: the transfer that it came with, and its place in that one's memo."""
Data = bytes | bytearray | memoryview


class TooLargeError(Exception):
    """The stream has become longer than it may."""


class LostReferenceError(LookupError):
    """An object that the other end believes to be here is gone."""


@dataclass(frozen=True)
class Pickled:
    """What became of a value.

    Attributes:
        segments: The pickle stream, in order.
        buffers: The memory that is not in it.
        memo: The objects met, by id: place in the memo, and the object.
        codes: The code of the notebook's functions among them.
        roots: The arrays, by id, that views among them look into.
    """

    segments: Sequence[Data]
    buffers: Sequence[memoryview]
    memo: Mapping[int, tuple[int, Any]]
    codes: Sequence[CodeType]
    roots: frozenset[int]


class _Segments:
    """The file that a pickler writes to."""

    def __init__(self, limit: float) -> None:
        self.done: list[Data] = []
        self._rest = bytearray()
        self._left = limit

    def write(self, data: Data) -> None:
        if len(data) < _LARGE:
            self._left -= len(data)
            if self._left < 0:
                raise TooLargeError
            self._rest += data
        else:
            self.end()
            self.done.append(data if isinstance(data, bytes) else bytes(data))

    def end(self) -> list[Data]:
        if self._rest:
            self.done.append(bytes(self._rest))
            self._rest.clear()
        return self.done


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(
        self,
        file: _Segments,
        namespace: Mapping[str, Any],
        memory: Memory,
        references: Mapping[int, Reference],
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._keep)
        self.buffers: list[memoryview] = []
        self.codes: list[CodeType] = []
        self.last: Any = None
        self.references = references
        self._namespace = namespace
        self._memory = memory

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _SMALL:
            self.buffers.append(raw)
        return raw.nbytes < _SMALL

    def reducer_override(self, obj: Any) -> Any:
        """Return how to make `obj` again, where that is not for its class to say."""
        self.last = obj
        kind = type(obj)
        if kind is FunctionType and obj.__globals__ is self._namespace:
            self.codes.append(obj.__code__)
            return reducers.function(obj)
        if issubclass(kind, type):
            return reducers.made_class(obj, super().reducer_override(obj))
        if kind is CellType:
            return reducers.cell(obj)
        if kind is Storage:
            return storage(obj)
        if (numpy := sys.modules.get("numpy")) and kind in (numpy.ndarray, numpy.memmap):
            return self._memory.array(obj, numpy)
        if (torch := sys.modules.get("torch")) and kind in (torch.Tensor, torch.nn.Parameter):
            return self._memory.tensor(obj, torch)
        made = reducers.other(obj, kind)
        return super().reducer_override(obj) if made is NotImplemented else made


class _ReferringPickler(_Pickler):
    """A pickler that names what the other end has; asked for each object, so slower."""

    def persistent_id(self, obj: Any) -> Reference | None:
        return self.references.get(id(obj))


def is_thing(value: Any) -> bool:
    """Return whether it matters that `value` stays one object, and it can be referred to later.

    So are arrays, tensors, frames and what the user's classes make. Lists and dicts can't be referred to
    without keeping them alive.
    """
    kind = type(value)
    if isinstance(value, type) or kind in (FunctionType, CodeType, ModuleType, Storage):
        return False
    return bool(kind.__weakrefoffset__) and kind.__module__ != "builtins"


def dump(
    value: Any,
    namespace: Mapping[str, Any],
    *,
    references: Mapping[int, Reference] | None = None,
    limit: float = math.inf,
) -> Pickled:
    """Pickle a value.

    Args:
        value: It.
        namespace: The notebook's; functions that live in it will live in the other end's.
        references: What the other end has already, by id; these objects must stay alive meanwhile.
        limit: Bytes that the stream may have, apart from large text and bytes, which cost nothing.

    Raises:
        UnpicklableError: Something in it can't be pickled.
        TooLargeError: It would have more.
    """
    shared: frozenset[int] = frozenset()
    while True:
        file = _Segments(limit)
        kind = _ReferringPickler if references else _Pickler
        memory = Memory(shared, references or {})
        pickler = kind(file, namespace, memory, references or {})
        _run(pickler, value)
        if memory.together <= shared:
            return Pickled(file.end(), pickler.buffers, pickler.memo.copy(), pickler.codes, memory.roots)
        shared |= memory.together


def _run(pickler: _Pickler, value: Any) -> None:
    try:
        pickler.dump(value)
    except (UnpicklableError, TooLargeError):
        raise
    except Exception as e:  # whatever classes raise that don't want to be pickled
        if isinstance(e.__cause__, RecursionError):
            one = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
            raise UnpicklableError(one, "it is nested too deeply") from None
        raise UnpicklableError(pickler.last, str(e) or type(e).__name__) from e


class _Unpickler(pickle.Unpickler):
    objects: Callable[[Reference], Any]

    def find_class(self, module: str, name: str) -> Any:
        if module.endswith(_REBUILD):
            return getattr(rebuild, name)
        return super().find_class(module, name)

    def persistent_load(self, pid: Reference) -> Any:
        return self.objects(pid)


def load(
    stream: Data,
    buffers: Sequence[Data],
    namespace: MutableMapping[str, Any],
    objects: Callable[[Reference], Any] | None = None,
) -> tuple[Any, Mapping[int, Any]]:
    """Return a value that was pickled, and the objects met by their place in the memo.

    Only for what comes from somebody who may run code here: unpickling does.

    Args:
        stream: All segments.
        buffers: What was not in them; memory that may be written to becomes the arrays' own.
        namespace: The notebook's here.
        objects: Returns what a reference means; raises `LostReferenceError`.
    """
    rebuild.namespace = namespace
    unpickler = _Unpickler(io.BytesIO(stream), buffers=buffers)
    unpickler.objects = objects or _no_objects
    value = unpickler.load()
    return value, unpickler.memo.copy()


def _no_objects(reference: Reference) -> Any:
    raise LostReferenceError(reference)
