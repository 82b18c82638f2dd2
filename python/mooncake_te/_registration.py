"""From an object and the keywords of Engine.register to one te_registration."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from . import _abi
from ._errors import InvalidArgument, InvalidType, PermissionDenied
from ._memory import Memory, describe

_REMOTE = {"all": _abi.REMOTE_ALL, "grants": _abi.REMOTE_GRANTS, "none": _abi.REMOTE_NONE}


@dataclass
class Registering:
    """One piece of memory about to be registered."""

    memory: Memory
    remote: str
    perm: str
    name: str
    location: str | None

    def fill(self, slot: _abi.Registration) -> None:
        """Writes the C structure."""
        slot.struct_size = ctypes.sizeof(_abi.Registration)
        slot.remote = _REMOTE[self.remote]
        slot.perm = _abi.PERMISSIONS[self.perm]
        slot.writable = int(self.memory.readonly is None)
        slot.address = self.memory.address
        slot.length = self.memory.nbytes
        slot.label = self.name.encode() or None
        slot.location = self.location.encode() if self.location else None


def prepare(
    obj: Any, *, remote: bool | str, readonly: bool | None, perm: str | None, name: str, location: str | None
) -> Registering:
    """Looks at the memory and the keywords together."""
    memory = obj if isinstance(obj, Memory) else describe(obj, writable=readonly is False)
    if not memory.layout.contiguous:
        raise InvalidArgument(
            f"memory: the {memory.kind} ({memory.layout.describe()}) is not contiguous: its strides are "
            f"{memory.layout.strides} bytes, and peers would reach what lies between",
            hint="register the array that it is a view of; transfers take strided views of registered memory",
        )
    if readonly not in (None, True, False):
        raise InvalidType(f"readonly: want True, False or None, got {readonly!r}")
    if readonly is False and memory.readonly is not None:
        raise PermissionDenied(f"readonly=False: {memory.readonly}")
    if readonly and memory.readonly is None:
        memory.readonly = "it was registered with readonly=True"
    allowed = "r" if memory.readonly is not None else "rw"
    if perm is None:
        perm = allowed
    elif perm not in _abi.PERMISSIONS:
        raise InvalidArgument(f"perm: {perm!r} is not one of 'r', 'w', 'rw'")
    elif not set(perm) <= set(allowed):
        raise PermissionDenied(f"perm={perm!r}: peers could write, but {memory.readonly}")
    if not isinstance(name, str):
        raise InvalidType(f"name: want str, got {type(name).__name__}")
    if len(name.encode()) > _abi.MAX_LABEL_BYTES or "\0" in name:
        raise InvalidArgument(
            f"name: want at most {_abi.MAX_LABEL_BYTES} bytes of UTF-8 without NUL, got {name[:40]!r}..."
        )
    if location is not None and not isinstance(location, str):
        raise InvalidType(f"location: want str, got {type(location).__name__}")
    mode = _mode(remote)
    if memory.pin is not None:
        memory.keep, memory.pin = (*memory.keep, memory.pin()), None
    return Registering(memory, mode, perm, name, location)


def _mode(remote: bool | str) -> str:
    if remote is True:
        return "all"
    if remote is False:
        return "none"
    if remote == "grants":
        return "grants"
    raise InvalidArgument(f"remote: {remote!r} is not one of True, 'grants', False")
