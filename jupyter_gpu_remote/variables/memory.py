"""Arrays and tensors: their memory stays out of the pickle stream, and is one again for all that use it."""

from __future__ import annotations

import pickle
from collections.abc import Container
from typing import Any

from . import rebuild
from .reducers import UnpicklableError

_DEVICES = ("cpu", "cuda", "mps")
"""Kinds of devices whose memory can be copied to the CPU's."""


class Storage:
    """Stands for a torch storage in one pickle, so that tensors on it share it again."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage


class Memory:
    """The memory that the arrays and tensors of one pickle use.

    Memory that several of them use is pickled whole and once, unless they show less than half of it:
    some rows of a large table don't bring the table along. Each attempt tells what the next should know.

    Args:
        shared: What several are known to use, by `together` of the attempt before.
        known: Ids of arrays that the other end has.
    """

    def __init__(self, shared: frozenset[int], known: Container[int]) -> None:
        self._shared = shared
        self._known = known
        self._uses: dict[int, tuple[Any, int, int]] = {}  # what it is, how many use it, bytes that they show
        self._storages: dict[int, Storage] = {}

    @property
    def roots(self) -> frozenset[int]:
        """All memory that was met."""
        return frozenset(self._uses)

    @property
    def together(self) -> frozenset[int]:
        """The memory that several use."""
        return frozenset(i for i, (m, n, shown) in self._uses.items() if n > 1 and 2 * shown >= _size(m))

    def _use(self, key: int, memory: Any, shown: int) -> bool:
        """Note that something uses some memory; return whether it is to be pickled whole."""
        _, count, before = self._uses.get(key, (memory, 0, 0))
        self._uses[key] = (memory, count + 1, before + shown)
        return key in self._shared or key in self._known

    def array(self, obj: Any, numpy: Any) -> Any:
        """Return how to make a numpy array again."""
        if obj.dtype.hasobject:
            return NotImplemented
        root = obj
        while type(root.base) is numpy.ndarray:
            root = root.base
        whole = self._use(id(root), root, obj.nbytes)
        if obj is not root and whole and root.flags.forc and root.nbytes:
            offset = obj.__array_interface__["data"][0] - root.__array_interface__["data"][0]
            return rebuild.view, (root, offset, obj.shape, obj.strides, obj.dtype, obj.flags.writeable)
        if obj.flags.forc and type(obj) is numpy.ndarray:
            return NotImplemented
        # numpy keeps only contiguous arrays out of the stream, and no maps of files
        plain = obj.view(numpy.ndarray) if obj.flags.forc else numpy.ascontiguousarray(obj)
        return plain.__reduce_ex__(5)

    def tensor(self, obj: Any, torch: Any) -> Any:
        """Return how to make a torch tensor again."""
        if obj.layout is not torch.strided or obj.is_quantized or obj.device.type not in _DEVICES:
            return NotImplemented
        if not obj.is_leaf:
            raise UnpicklableError(obj, "it is part of a gradient's computation; `.detach()` gives its value")
        data = obj.detach().resolve_conj().resolve_neg()
        memory = data.untyped_storage()
        shown = data.numel() * data.element_size()
        if not self._use(memory._cdata, memory, shown) and shown < memory.nbytes():
            data = data.clone(memory_format=torch.contiguous_format)
            memory = data.untyped_storage()
        holder = self._storages.setdefault(memory._cdata, Storage(memory))
        place = (data.dtype, data.storage_offset(), tuple(data.shape), data.stride())
        state = (obj.requires_grad, obj.grad, obj.__dict__)
        made = (holder, *place, type(obj) is torch.nn.Parameter)
        return rebuild.tensor, made, state, None, None, rebuild.set_tensor


def storage(holder: Storage) -> Any:
    """Return how to make a torch storage again."""
    import torch

    memory = holder.storage
    here = memory if memory.device.type == "cpu" else memory.cpu()
    array = torch.empty(0, dtype=torch.uint8).set_(here).numpy()
    return rebuild.storage, (pickle.PickleBuffer(array), str(memory.device))


def _size(memory: Any) -> int:
    size = memory.nbytes
    return int(size() if callable(size) else size)
