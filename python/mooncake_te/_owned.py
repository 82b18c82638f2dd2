"""Engine-owned memory as arrays: zeroed, page-aligned, and living as long as anything that looks at it."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._errors import InvalidArgument, InvalidType, Unsupported
from ._layout import Layout, contiguous, typed
from ._memory import Memory
from ._numbers import integer

if TYPE_CHECKING:
    from ._core import Core


def allocate(core: Core, nbytes: int) -> Memory:
    """Plain bytes, as a writable memoryview."""
    raw, address = _allocate(core, nbytes)
    view = memoryview(raw).cast("B")
    return Memory(address, contiguous(nbytes), "engine memory", view, keep=(raw,))


def empty(core: Core, shape: Any, dtype: Any, framework: str | None) -> Memory:
    """An array of numpy or torch."""
    if isinstance(shape, int) and not isinstance(shape, bool):
        shape = (shape,)
    elif isinstance(shape, (str, bytes)) or not isinstance(shape, Iterable):
        raise InvalidType(f"shape: want an int or a tuple of ints, got {type(shape).__name__}")
    sizes = tuple(shape)
    sizes = tuple(integer(n, f"shape[{i}]", minimum=1) for i, n in enumerate(sizes))
    torch = sys.modules.get("torch")
    if framework is None:
        framework = "torch" if torch is not None and isinstance(dtype, torch.dtype) else "numpy"
    if framework == "torch":
        return _torch(core, sizes, dtype)
    if framework == "numpy":
        return _numpy(core, sizes, dtype)
    raise InvalidArgument(f"framework: {framework!r} is not one of 'numpy', 'torch'")


def _allocate(core: Core, nbytes: int) -> tuple[Any, int]:
    size = integer(nbytes, "nbytes", minimum=1)
    out = ctypes.c_uint64()
    core.library.check(core.library.te_memory_allocate(core.handle, size, ctypes.byref(out)))
    # Arrays are made over this object, so it lives while any of them does; its end frees the memory.
    raw = (ctypes.c_ubyte * size).from_address(out.value)
    core.exported(out.value, raw)
    return raw, out.value


def _missing(name: str) -> Unsupported:
    return Unsupported(
        f"framework: {name} is not installed", op="empty", hint=f"install {name}, or use allocate() for plain bytes"
    )


def _numpy(core: Core, shape: tuple[int, ...], dtype: Any) -> Memory:
    try:
        import numpy
    except ImportError:
        raise _missing("numpy") from None
    try:
        kind = numpy.dtype(dtype)
    except TypeError as error:
        raise InvalidType(f"dtype: {error}") from None
    if kind.hasobject:
        raise InvalidArgument(f"dtype: {kind} holds Python objects")
    raw, address = _allocate(core, math.prod(shape) * kind.itemsize)
    array = numpy.frombuffer(raw, dtype=numpy.uint8).view(kind).reshape(shape)
    return Memory(address, typed(shape, kind.itemsize, kind.name), "numpy array", array, keep=(raw,))


def _torch(core: Core, shape: tuple[int, ...], dtype: Any) -> Memory:
    try:
        import torch
    except ImportError:
        raise _missing("torch") from None
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise InvalidType(f"dtype: want a torch.dtype or its name, got {dtype!r}")
    raw, address = _allocate(core, math.prod(shape) * dtype.itemsize)
    tensor = torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)
    layout: Layout = typed(shape, dtype.itemsize, str(dtype).removeprefix("torch."))
    return Memory(address, layout, "tensor", tensor, keep=(raw,))
