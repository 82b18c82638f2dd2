"""What can be registered: where it lies, what it is, and what has to be held so that it stays there.

Taken are torch tensors, numpy arrays, anything with the buffer protocol (bytearray, memoryview, mmap, array, bytes),
DLPack objects, and (address, length) pairs. torch and numpy are looked up among the modules that the application has
imported; neither is needed.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._errors import InvalidArgument, InvalidType, Unsupported
from ._layout import Layout, contiguous
from ._numbers import U64_MAX, integer


@dataclass
class Memory:
    """A piece of this process's memory. `layout` counts its offset from `address`.

    While `keep` is referenced the memory stays mapped and in place: it holds the storage of a tensor (not just the
    tensor, which can be given another), an exported buffer (so that a bytearray cannot be resized), or a DLPack capsule.
    Nothing holds an (address, length) pair: its owner must.
    """

    address: int
    layout: Layout
    kind: str
    obj: Any
    readonly: str | None = None  # why it must not be written; None: it may
    keep: tuple[Any, ...] = ()
    pin: Callable[[], Any] | None = field(default=None, repr=False)  # gives what else a registration has to keep
    alive: Callable[[], bool] | None = field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """Length in bytes."""
        return self.layout.nbytes

    def require_alive(self, what: str) -> None:
        """Refuses a tensor whose storage was freed or moved behind our back (resize_, share_memory_)."""
        if self.alive is not None and not self.alive():
            raise InvalidArgument(
                f"{what}: the {self.kind}'s storage was freed or moved since it was registered",
                hint="close the buffer and register the memory that is used now",
            )


def describe(obj: Any, *, writable: bool | None = None) -> Memory:
    """Looks at an object; refuses by name and reason what cannot be moved. Zero length is refused.

    ``writable=True`` vouches for memory that does not say whether it may be written (DLPack before version 1.0).
    """
    memory = _describe(obj, writable)
    if memory.nbytes == 0:
        raise InvalidArgument(f"memory: the {memory.kind} has zero length (shape {list(memory.layout.shape)})")
    return memory


def _describe(obj: Any, writable: bool | None) -> Memory:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(obj, torch.Tensor):
        from ._torch import describe_tensor

        return describe_tensor(torch, obj)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(obj, (numpy.ndarray, numpy.generic)):
        return _describe_numpy(numpy, obj)
    if isinstance(obj, tuple):
        return _describe_address(obj)
    try:
        view = memoryview(obj)
    except TypeError:
        pass
    except BufferError as error:
        raise InvalidArgument(f"memory: {type(obj).__name__} does not give its buffer out: {error}") from None
    else:
        return _describe_buffer(obj, view)
    if hasattr(obj, "__dlpack__"):
        from ._dlpack import describe_dlpack

        return describe_dlpack(obj, writable)
    raise InvalidType(
        f"memory: {type(obj).__name__} is not memory that can be registered",
        hint="give a torch tensor, a numpy array, a bytearray or memoryview, a DLPack object or (address, length)",
    )


def _describe_address(pair: tuple[Any, ...]) -> Memory:
    if len(pair) != 2:
        raise InvalidArgument(f"memory: want (address, length), got a tuple of {len(pair)}")
    address = integer(pair[0], "address", minimum=1)
    length = integer(pair[1], "length", minimum=1)
    if address + length > U64_MAX:
        raise InvalidArgument(f"memory: ({address:#x}, {length}) goes past the end of the address space")
    return Memory(address, contiguous(length), "address range", pair)


def _describe_numpy(numpy: Any, array: Any) -> Memory:
    if isinstance(array, numpy.generic):
        raise InvalidType(f"memory: a numpy scalar ({array.dtype}) is a copy; give an array, 0-d if need be")
    if isinstance(array, numpy.ma.MaskedArray):
        raise Unsupported("memory: masked arrays are not supported (their mask would be lost); give .data")
    dtype = array.dtype
    if dtype.hasobject:
        raise Unsupported(f"memory: numpy dtype {dtype} holds Python objects, which mean nothing to another process")
    address = int(array.__array_interface__["data"][0])
    # resize(refcheck=False) does not care for exports, but refuses an array that somebody has a weak reference to.
    owners = [array]
    while isinstance(owners[-1].base, numpy.ndarray):
        owners.append(owners[-1].base)
    # Not every dtype can be exported as a buffer (bfloat16 of ml_dtypes); then the array itself has to be enough.
    try:
        export: Any = memoryview(array)
    except (ValueError, BufferError, TypeError):
        export = array
    name = dtype.name if dtype.isnative and dtype.names is None else str(dtype)
    layout = Layout(0, tuple(array.shape), tuple(array.strides), dtype.itemsize, name)
    return Memory(
        address,
        layout,
        "numpy array",
        array,
        readonly=None if array.flags.writeable else "the numpy array is read-only",
        keep=(export, array, *map(weakref.ref, owners)),
    )


# Formats of the struct module that name a dtype; "B", "b" and "c" count as plain bytes.
_FORMATS = {
    "?": "bool",
    "h": "int16",
    "H": "uint16",
    "i": "int32",
    "I": "uint32",
    "l": "int64",
    "L": "uint64",
    "q": "int64",
    "Q": "uint64",
    "n": "int64",
    "N": "uint64",
    "e": "float16",
    "f": "float32",
    "d": "float64",
}


class _PyBuffer(ctypes.Structure):
    """Py_buffer of CPython's C API (stable since 3.3)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_PyBUF_FULL_RO = 0x11C
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None


def _address_of(view: memoryview) -> int:
    """The address of the first element. ctypes.from_buffer refuses read-only memory, so the C API is asked."""
    raw = _PyBuffer()
    _get_buffer(view, ctypes.byref(raw), _PyBUF_FULL_RO)
    try:
        return int(raw.buf or 0)
    finally:
        _release_buffer(ctypes.byref(raw))


def _describe_buffer(obj: Any, view: memoryview) -> Memory:
    kind = type(obj).__name__
    if view.suboffsets:
        raise Unsupported(f"memory: the {kind} is an array of pointers (PIL style), not one piece of memory")
    code = view.format.lstrip("@=")
    if code in ("B", "b", "c") and view.ndim == 1 and view.contiguous:
        layout = contiguous(view.nbytes)
    else:
        dtype = _FORMATS.get(code, f"struct {view.format!r}") if code not in ("B", "b", "c") else "uint8"
        layout = Layout(0, tuple(view.shape or ()), tuple(view.strides or ()), view.itemsize, dtype)
    reason = f"the {kind} is read-only" if view.readonly else None
    return Memory(_address_of(view), layout, kind, obj, readonly=reason, keep=(view,))
