"""Pickle values so that they arrive as they were: one object for two names, functions that see the notebook.

Large memory (arrays, tensors) stays out of the stream as buffers of its own, so what has not changed is
known by its hash and travels once.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from . import rebuild

_SMALL = 16 << 10
"""Bytes; a buffer below stays in the stream."""
_REBUILD = ".variables.rebuild"
_LARGE = 1 << 20
"""Bytes; what is written in one piece of this size becomes a segment of its own, as text or images do."""

Reference = tuple[str, int]
"""An object that the other end has: the transfer that it came with, and its place in that one's memo."""
Data = bytes | bytearray | memoryview

_FUNCTION_SLOTS = (
    "__module__",
    "__name__",
    "__qualname__",
    "__doc__",
    "__defaults__",
    "__kwdefaults__",
    "__annotations__",
)


class UnpicklableError(Exception):
    """Something can't be pickled.

    Args:
        culprit: The object that can't be.
        reason: Why.
    """

    def __init__(self, culprit: Any, reason: str) -> None:
        super().__init__(reason)
        self.culprit = culprit
        self.reason = reason


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

    def __init__(self) -> None:
        self.done: list[Data] = []
        self._rest = bytearray()

    def write(self, data: Data) -> None:
        if len(data) < _LARGE:
            self._rest += data
        else:
            self.end()
            self.done.append(data if isinstance(data, bytes) else bytes(data))

    def end(self) -> list[Data]:
        if self._rest:
            self.done.append(bytes(self._rest))
            self._rest.clear()
        return self.done


class _Storage:
    """Stands for a torch storage in one pickle, so that tensors on it share it again."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(
        self,
        file: _Segments,
        namespace: Mapping[str, Any],
        shared: frozenset[int],
        check: Callable[[Any], None],
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._keep)
        self.buffers: list[memoryview] = []
        self.codes: list[CodeType] = []
        self.met: Counter[int] = Counter()  # how many arrays or tensors were in each memory
        self.last: Any = None
        self.references: Mapping[int, Reference] = {}
        self._namespace = namespace
        self._shared = shared
        self._check = check
        self._storages: dict[int, _Storage] = {}
        self._alive: list[Any] = []

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _SMALL:
            self.buffers.append(raw)
        return raw.nbytes < _SMALL

    def reducer_override(self, obj: Any) -> Any:
        """Return how to make `obj` again, where that is not for its class to say."""
        self.last = obj
        self._check(obj)
        kind = type(obj)
        if kind is FunctionType:
            if obj.__globals__ is self._namespace:
                return self._function(obj)
        elif kind is CellType:
            return self._cell(obj)
        elif kind is _Storage:
            return self._storage(obj.storage)
        elif kind.__name__ == "_lru_cache_wrapper" and obj.__module__ == "__main__":
            return rebuild.cached, (obj.__wrapped__, obj.cache_parameters())
        elif isinstance(obj, io.IOBase) and obj not in (sys.stdout, sys.stderr, sys.stdin):
            raise UnpicklableError(obj, "an open file exists only here")
        elif (numpy := sys.modules.get("numpy")) and kind is numpy.ndarray:
            return self._array(obj, numpy)
        elif (torch := sys.modules.get("torch")) and kind in (torch.Tensor, torch.nn.Parameter):
            return self._tensor(obj, torch)
        return super().reducer_override(obj)

    def _function(self, obj: FunctionType) -> Any:
        self.codes.append(obj.__code__)
        slots = {}
        for name in _FUNCTION_SLOTS:
            try:
                slots[name] = getattr(obj, name)
            except NameError:  # an annotation that means nothing yet
                slots[name] = {}
        if parameters := getattr(obj, "__type_params__", None):
            slots["__type_params__"] = parameters
        state = (obj.__dict__, slots)
        return rebuild.function, (obj.__code__, obj.__closure__), state, None, None, rebuild.set_function

    @staticmethod
    def _cell(obj: CellType) -> Any:
        try:
            contents = obj.cell_contents
        except ValueError:
            return rebuild.cell, ()
        return rebuild.cell, (), (contents,), None, None, rebuild.set_cell

    def _array(self, obj: Any, numpy: Any) -> Any:
        if obj.dtype.hasobject:
            return NotImplemented
        root = obj
        while type(root.base) is numpy.ndarray:
            root = root.base
        self.met[id(root)] += 1
        self._alive.append(root)
        together = id(root) in self._shared or id(root) in self.references
        if obj is not root and together and root.flags.forc and root.nbytes:
            offset = obj.__array_interface__["data"][0] - root.__array_interface__["data"][0]
            return rebuild.view, (root, offset, obj.shape, obj.strides, obj.dtype)
        return NotImplemented if obj.flags.forc else numpy.ascontiguousarray(obj).__reduce_ex__(5)

    def _tensor(self, obj: Any, torch: Any) -> Any:
        if obj.layout is not torch.strided or obj.is_quantized or obj.device.type not in ("cpu", "cuda"):
            return NotImplemented
        if not obj.is_leaf:
            raise UnpicklableError(obj, "it is part of a gradient's computation; `.detach()` gives its value")
        data = obj.detach().resolve_conj().resolve_neg()
        memory = data.untyped_storage()
        self.met[memory._cdata] += 1
        self._alive.append(memory)
        if data.numel() * data.element_size() < memory.nbytes() and memory._cdata not in self._shared:
            data = data.clone(memory_format=torch.contiguous_format)
            memory = data.untyped_storage()
        holder = self._storages.setdefault(memory._cdata, _Storage(memory))
        place = (data.dtype, data.storage_offset(), tuple(data.shape), data.stride())
        state = (obj.requires_grad, obj.grad, obj.__dict__)
        made = (holder, *place, type(obj) is torch.nn.Parameter)
        return rebuild.tensor, made, state, None, None, rebuild.set_tensor

    @staticmethod
    def _storage(memory: Any) -> Any:
        import torch

        here = memory if memory.device.type == "cpu" else memory.cpu()
        array = torch.empty(0, dtype=torch.uint8).set_(here).numpy()
        return rebuild.storage, (pickle.PickleBuffer(array), str(memory.device))


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
    if isinstance(value, type) or kind in (FunctionType, CodeType, ModuleType, _Storage):
        return False
    return bool(kind.__weakrefoffset__) and kind.__module__ != "builtins"


def dump(
    value: Any,
    namespace: Mapping[str, Any],
    *,
    references: Mapping[int, Reference] | None = None,
    check: Callable[[Any], None] = lambda _: None,
) -> Pickled:
    """Pickle a value.

    Args:
        value: It.
        namespace: The notebook's; functions that live in it will live in the other end's.
        references: What the other end has already, by id; these objects must stay alive meanwhile.
        check: Called with each object that is not of a simple type; may raise to refuse it.

    Raises:
        UnpicklableError: Something in it can't be pickled.
    """
    shared: frozenset[int] = frozenset()
    while True:
        file = _Segments()
        kind = _ReferringPickler if references else _Pickler
        pickler = kind(file, namespace, shared, check)
        pickler.references = references or {}
        _run(pickler, value)
        # memory that several arrays use is pickled whole, once it is known that they do
        together = frozenset(root for root, count in pickler.met.items() if count > 1)
        if together <= shared:
            roots = frozenset(pickler.met)
            return Pickled(file.end(), pickler.buffers, pickler.memo.copy(), pickler.codes, roots)
        shared |= together


def _run(pickler: _Pickler, value: Any) -> None:
    try:
        pickler.dump(value)
    except UnpicklableError:
        raise
    except RecursionError:
        raise UnpicklableError(value, "it is nested too deeply") from None
    except Exception as e:  # whatever classes raise that don't want to be pickled
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
