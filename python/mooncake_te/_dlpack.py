"""DLPack objects as memory, read with ctypes so that neither numpy nor torch is needed.

Structures: dlpack.h of DLPack 1.1, both the versioned form and the one before it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ._errors import InvalidArgument, Unsupported
from ._layout import Layout, row_major
from ._memory import Memory

_CPU_DEVICES = {1: "cpu", 3: "cuda_host", 11: "rocm_host"}
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed", 14: "oneAPI", 15: "WebGPU"}
_READ_ONLY = 1
# Type codes of DLDataTypeCode whose name is not made of a word and the number of bits.
_FLOAT8 = {
    7: "float8_e3m4",
    8: "float8_e4m3",
    9: "float8_e4m3b11fnuz",
    10: "float8_e4m3fn",
    11: "float8_e4m3fnuz",
    12: "float8_e5m2",
    13: "float8_e5m2fnuz",
    14: "float8_e8m0fnu",
}
_WORDS = {0: "int", 1: "uint", 2: "float", 3: "opaque", 4: "bfloat", 5: "complex"}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_api = ctypes.pythonapi
_capsule_is_valid = _api.PyCapsule_IsValid
_capsule_is_valid.argtypes, _capsule_is_valid.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int
_capsule_pointer = _api.PyCapsule_GetPointer
_capsule_pointer.argtypes, _capsule_pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
_capsule_rename = _api.PyCapsule_SetName
_capsule_rename.argtypes, _capsule_rename.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int
_Deleter = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


class _Owner:
    """Owns a consumed capsule; calls the producer's deleter when the last reference goes."""

    def __init__(self, address: int, deleter: int | None) -> None:
        self._address, self._delete = address, _Deleter(deleter) if deleter else None

    def __del__(self) -> None:
        delete, self._delete = self._delete, None
        if delete is not None:
            delete(self._address)


# A capsule keeps the pointer to its name, so these must live for ever.
_USED = b"used_dltensor"
_USED_VERSIONED = b"used_dltensor_versioned"


def describe_dlpack(obj: Any, writable: bool | None) -> Memory:
    """Consumes obj.__dlpack__(). Read-only if the producer says so, or cannot say and the caller does not vouch for it."""
    kind = f"{type(obj).__name__} (DLPack)"
    try:
        device, number = map(int, obj.__dlpack_device__() if hasattr(obj, "__dlpack_device__") else (1, 0))
    except Exception as error:
        raise InvalidArgument(f"memory: {kind} does not say where it lies: {type(error).__name__}: {error}") from error
    if device not in _CPU_DEVICES:
        name = _DEVICES.get(device, f"DLPack device {device}")
        raise Unsupported(f"memory: {name} memory is not supported by this build ({kind}, device {number})")
    try:
        try:
            capsule = obj.__dlpack__(max_version=(1, 1))
        except TypeError:
            capsule = obj.__dlpack__()
    except Exception as error:
        raise InvalidArgument(f"memory: {kind} gave no DLPack capsule: {type(error).__name__}: {error}") from error
    if _capsule_is_valid(capsule, b"dltensor_versioned"):
        address = _capsule_pointer(capsule, b"dltensor_versioned")
        managed: Any = _Versioned.from_address(address)
        if managed.major != 1:
            raise Unsupported(f"memory: DLPack {managed.major}.{managed.minor} is not known here ({kind})")
        _capsule_rename(capsule, _USED_VERSIONED)
        reason = "its producer says that it is read-only" if managed.flags & _READ_ONLY else None
    elif _capsule_is_valid(capsule, b"dltensor"):
        address = _capsule_pointer(capsule, b"dltensor")
        managed = _Managed.from_address(address)
        _capsule_rename(capsule, _USED)
        # As in numpy.from_dlpack: before version 1.0 a producer could not say.
        reason = None if writable else "its producer does not say that it may be written (give readonly=False)"
    else:
        raise InvalidArgument(f"memory: {kind} gave no DLPack capsule, or one that was used before")
    owner = _Owner(address, managed.deleter)
    layout = _layout(managed.tensor, kind)
    start = int(managed.tensor.data or 0) + int(managed.tensor.byte_offset)
    return Memory(start, layout, kind, obj, readonly=reason, keep=(owner,))


def _layout(tensor: Any, kind: str) -> Layout:
    bits = tensor.bits * tensor.lanes
    if bits == 0 or bits % 8:
        raise Unsupported(f"memory: elements of {bits} bits are not supported ({kind})")
    if tensor.code == 6:
        dtype = "bool"
    else:
        dtype = _FLOAT8.get(tensor.code) or f"{_WORDS.get(tensor.code, f'dlpack{tensor.code}_')}{tensor.bits}"
    if tensor.lanes != 1:
        dtype += f"x{tensor.lanes}"
    itemsize = bits // 8
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    if tensor.strides:
        return Layout(0, shape, tuple(tensor.strides[i] * itemsize for i in range(tensor.ndim)), itemsize, dtype)
    return Layout(0, shape, row_major(shape, itemsize), itemsize, dtype)
