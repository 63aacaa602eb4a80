"""What pickles call to make things again: functions, numpy views, torch tensors.

`pickler.load` finds these under the name of this module, whatever package it lies in at that end.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, MutableMapping
from types import CellType, CodeType, FunctionType
from typing import Any

namespace: MutableMapping[str, Any] = {}
"""What functions of the notebook are bound to; set by `pickler.load`."""


def function(code: CodeType, closure: tuple[CellType, ...] | None) -> FunctionType:
    """Return a function that looks up its globals in the notebook's live namespace."""
    return FunctionType(code, namespace, code.co_name, None, closure)  # type: ignore[arg-type]


def set_function(made: FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a function its attributes, which may refer to it."""
    attributes, slots = state
    made.__dict__.update(attributes)
    for name, value in slots.items():
        setattr(made, name, value)


def cell() -> CellType:
    """Return an empty closure cell."""
    return CellType()


def set_cell(made: CellType, state: tuple[Any]) -> None:
    """Fill a closure cell."""
    (made.cell_contents,) = state


def cached(made: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    """Return a function with a cache, which is empty."""
    return functools.lru_cache(**parameters)(made)


def dispatcher(default: FunctionType, registry: dict[type, Any]) -> Any:
    """Return a function that is another one for each type of its first argument."""
    made = functools.singledispatch(default)
    for kind, one in registry.items():
        made.register(kind, one)
    return made


def quiet_class(make: Callable[..., type], *arguments: Any) -> type:
    """Return a class, still empty, without telling the notebook's own classes that it derives from them.

    What they do about it was done when it was defined, and came along with what it was done to.

    Args:
        make: Makes it.
        arguments: For `make`; the third is the tuple of its bases.
    """
    told = [
        (kind, vars(kind)["__init_subclass__"])
        for kind in dict.fromkeys(kind for base in types.resolve_bases(arguments[2]) for kind in base.__mro__)
        if kind.__module__ == "__main__" and "__init_subclass__" in vars(kind)
    ]
    try:
        for kind, _ in told:
            kind.__init_subclass__ = classmethod(functools.partial(_tell_next, kind))
        return make(*arguments)
    finally:
        for kind, tell in told:
            kind.__init_subclass__ = tell


def _tell_next(kind: type, made: type) -> None:
    super(kind, made).__init_subclass__()  # type: ignore[arg-type]


def view(
    root: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, writeable: bool
) -> Any:
    """Return a numpy view into the memory of `root`, `offset` bytes from its start."""
    import numpy

    flat = root.ravel(order="K").view(numpy.uint8)
    made = numpy.ndarray(shape, dtype, buffer=flat, offset=offset, strides=strides)
    made.flags.writeable = made.flags.writeable and writeable
    return made


def storage(buffer: Any, device: str) -> Any:
    """Return torch's storage of some bytes; on the CPU where its device is not to be had."""
    import torch

    memory = memoryview(buffer)
    data = torch.empty(0, dtype=torch.uint8)
    if memory.nbytes:
        # torch takes only what may be written to
        data = torch.frombuffer(bytearray(memory) if memory.readonly else memory, dtype=torch.uint8)
    if device.partition(":")[0] == "cuda" and torch.cuda.is_available():
        index = torch.device(device).index or 0
        data = data.to(f"cuda:{index if index < torch.cuda.device_count() else 0}")
    return data.untyped_storage()


def tensor(
    memory: Any, dtype: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], parameter: bool
) -> Any:
    """Return a tensor on a storage."""
    import torch

    made = torch.empty(0, dtype=dtype, device=memory.device).set_(memory, offset, size, stride)
    return torch.nn.Parameter(made, requires_grad=False) if parameter else made


def set_tensor(made: Any, state: tuple[bool, Any, dict[str, Any]]) -> None:
    """Give a tensor what belongs to it besides its numbers."""
    requires_grad, gradient, attributes = state
    made.requires_grad_(requires_grad)
    made.grad = gradient
    made.__dict__.update(attributes)
