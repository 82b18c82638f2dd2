"""RemoteBuffer: a small value that names memory of another engine, made to travel in an application's own messages."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ._errors import InvalidArgument, InvalidType, OutOfBounds, PermissionDenied
from ._handles import NotIterable
from ._layout import Layout, contiguous, row_major, typed
from ._numbers import integer

_FORMAT = 1  # of the JSON form
_MAX_DIMENSIONS = 64  # as many as numpy and torch have


@dataclass(frozen=True)
class RemoteBuffer(NotIterable):
    """Names (a part of) a buffer or grant of another engine. Immutable, hashable, picklable, JSON-able.

    It names the owner's *instance* and a buffer ID that is never used again, so it never points elsewhere: used after
    the owner was replaced it raises StaleInstance, after the buffer was closed StaleBuffer (Revoked for a grant).

    Index it like an array (``handle[3]``, ``handle[:, 2:4]``) to name a part; `typed` gives plain bytes a dtype and
    shape; `as_bytes` takes them away.
    """

    segment: str
    """Name of the owner's engine, or its first address if it has none."""
    instance: str
    """The owner's instance ID, 32 hexadecimal digits."""
    id: int
    """Buffer ID or grant ID at the owner."""
    length: int
    """Bytes of the whole registration."""
    layout: Layout
    """What of it this handle names; offsets in bytes from the start of the registration."""
    perm: str = "rw"
    """What the owner allows: "r", "w" or "rw"."""
    ranges: tuple[tuple[int, int], ...] | None = None
    """For a grant: the granted (offset, length) ranges in bytes, sorted and merged. None: all of it."""
    name: str = field(default="", compare=False)
    """The owner's name for the buffer, possibly empty."""

    @cached_property
    def whole(self) -> bool:
        """Whether it names the whole registration as one run of bytes, whatever their dtype."""
        layout = self.layout
        return self.ranges is None and layout.offset == 0 and layout.nbytes == self.length and layout.contiguous

    @property
    def nbytes(self) -> int:
        """Bytes that this handle names."""
        return self.layout.nbytes

    @property
    def dtype(self) -> str | None:
        """Name of the dtype as torch and numpy have it, e.g. "bfloat16"; None for plain bytes."""
        return self.layout.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in elements; (nbytes,) for plain bytes."""
        return self.layout.shape

    def __getitem__(self, key: Any) -> RemoteBuffer:
        """A part: ints, slices and '...' as in numpy."""
        return replace(self, layout=self.layout.index(key))

    def __len__(self) -> int:
        if not self.layout.shape:
            raise InvalidType("len: the handle is 0-d")
        return self.layout.shape[0]

    def as_bytes(self) -> RemoteBuffer:
        """The same memory as plain bytes, which match any dtype and shape of the same size. Needs a contiguous part."""
        return replace(self, layout=self.layout.as_bytes())

    def typed(self, dtype: str, shape: tuple[int, ...], itemsize: int) -> RemoteBuffer:
        """The same memory as an array of that dtype (a name such as "float16"), shape and bytes per element."""
        size = integer(itemsize, "itemsize", minimum=1)
        if not isinstance(shape, (tuple, list)):
            raise InvalidType(f"shape: want a tuple of ints, got {type(shape).__name__}")
        layout = typed(shape, size, _dtype_name(dtype, size), offset=self.layout.offset)
        if not self.layout.contiguous or layout.nbytes != self.nbytes:
            raise InvalidArgument(
                f"typed: {layout.describe()} is {layout.nbytes} bytes, the handle names {self.nbytes}"
            )
        return replace(self, layout=layout)

    def _require(self, op: str) -> None:
        """Refuses what the owner does not allow. The owner checks again; this is only earlier."""
        if op not in self.perm:
            verb = "read" if op == "r" else "write"
            raise PermissionDenied(
                f"{verb}: {self!r} allows {self.perm!r} only", segment=self.segment, hint="ask its owner for a grant"
            )

    def _require_granted(self, offsets: Any, lengths: Any) -> None:
        """Refuses requests that are not inside one granted range each."""
        if self.ranges is None:
            return
        starts = [offset for offset, _ in self.ranges]
        same = lengths[0] if len(lengths) == 1 else None
        for i, offset in enumerate(offsets):
            n = lengths[i] if same is None else same
            at = bisect_right(starts, offset) - 1
            if at < 0 or offset - starts[at] + n > self.ranges[at][1]:
                raise OutOfBounds(
                    f"bytes {offset} .. {offset + n} are not inside one range of {self!r}", segment=self.segment
                )

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and ints."""
        out: dict[str, Any] = {
            "v": _FORMAT,
            "segment": self.segment,
            "instance": self.instance,
            "id": self.id,
            "length": self.length,
            "perm": self.perm,
        }
        if self.name:
            out["name"] = self.name
        if self.ranges is not None:
            out["ranges"] = [list(r) for r in self.ranges]
        layout = self.layout
        if layout != contiguous(self.length):
            out["offset"], out["shape"], out["itemsize"] = layout.offset, list(layout.shape), layout.itemsize
            if layout.dtype is not None:
                out["dtype"] = layout.dtype
            if layout.strides != row_major(layout.shape, layout.itemsize):
                out["strides"] = list(layout.strides)
        return out

    @classmethod
    def from_dict(cls, value: Any) -> RemoteBuffer:
        """Reads what to_dict wrote; everything is checked, since it may come from anywhere."""
        if not isinstance(value, dict):
            raise InvalidType(f"handle: want a dict, got {type(value).__name__}")
        if value.get("v") != _FORMAT:
            raise InvalidArgument(f"handle.v: format {value.get('v')!r} is not known here (want {_FORMAT})")
        instance, perm = _text(value, "instance"), _text(value, "perm")
        if len(instance) != 32 or any(d not in "0123456789abcdef" for d in instance):
            raise InvalidArgument(f"handle.instance: want 32 hexadecimal digits, got {instance[:40]!r}")
        if perm not in ("r", "w", "rw"):
            raise InvalidArgument(f"handle.perm: want 'r', 'w' or 'rw', got {perm[:40]!r}")
        length = integer(value.get("length"), "handle.length", minimum=1)
        return cls(
            _text(value, "segment"),
            instance,
            integer(value.get("id"), "handle.id", minimum=1),
            length,
            _layout(value, length),
            perm,
            _ranges(value["ranges"], length) if value.get("ranges") is not None else None,
            _text(value, "name") if "name" in value else "",
        )

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> RemoteBuffer:
        """Reads what to_json wrote."""
        if not isinstance(text, (str, bytes, bytearray)):
            raise InvalidType(f"handle: want JSON text, got {type(text).__name__}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number of too many digits, too deep
            raise InvalidArgument(f"handle: not JSON: {type(error).__name__}: {error}") from None
        return cls.from_dict(value)

    def __repr__(self) -> str:
        part = "" if self.nbytes == self.length else f" of {self.length} bytes"
        label = f" {self.name!r}" if self.name else ""
        return f"<RemoteBuffer {self.id}{label} at {self.segment or self.instance[:8]}: {self.layout.describe()}{part}>"


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise InvalidType(f"handle.{key}: want text, got {type(found).__name__}")
    if not found.isascii():
        try:
            found.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(f"handle.{key}: half a surrogate pair is no text") from None
    return found


def _list(value: Any, what: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise InvalidType(f"{what}: want a list, got {type(value).__name__}")
    return value


def _layout(value: dict[str, Any], length: int) -> Layout:
    """The part of a registration of `length` bytes that a handle names."""
    if "shape" not in value:
        return contiguous(length)
    itemsize = integer(value.get("itemsize"), "handle.itemsize", minimum=1)
    sizes = _list(value["shape"], "handle.shape")
    shape = tuple(integer(n, f"handle.shape[{i}]", minimum=1) for i, n in enumerate(sizes))
    if len(shape) > _MAX_DIMENSIONS:
        raise InvalidArgument(f"handle.shape: {len(shape)} dimensions, at most {_MAX_DIMENSIONS} are taken")
    strides = row_major(shape, itemsize)
    if "strides" in value:
        steps = _list(value["strides"], "handle.strides")
        if len(steps) != len(shape):
            raise InvalidArgument(f"handle.strides: {len(steps)} for {len(shape)} dimension(s)")
        for i, step in enumerate(steps):
            if type(step) is not int:
                raise InvalidType(f"handle.strides[{i}]: want an int, got {type(step).__name__}")
        strides = tuple(steps)
    offset = integer(value.get("offset"), "handle.offset")
    layout = Layout(offset, shape, strides, itemsize, _text(value, "dtype") if "dtype" in value else None)
    low, high = layout.span()
    if low < 0 or high > length:
        raise InvalidArgument("handle.shape: goes outside the registration, which has handle.length bytes")
    return layout


def _ranges(value: Any, length: int) -> tuple[tuple[int, int], ...]:
    """Granted ranges: sorted, apart from each other, inside the registration."""
    found: list[tuple[int, int]] = []
    end = 0
    for i, entry in enumerate(_list(value, "handle.ranges")):
        what = f"handle.ranges[{i}]"
        if len(_list(entry, what)) != 2:
            raise InvalidArgument(f"{what}: want (offset, length)")
        offset, size = integer(entry[0], what), integer(entry[1], what, minimum=1)
        if offset < end or offset + size > length:
            raise InvalidArgument(f"{what}: not after the one before it, or outside of {length} bytes")
        found.append((offset, size))
        end = offset + size
    if not found:
        raise InvalidArgument("handle.ranges: the list is empty")
    return tuple(found)


# Bits of an element follow from its dtype's name, but for float8_*, which have 8.
_DTYPE = re.compile(r"(?:u?int|float|bfloat|complex)(8|16|32|64|96|128|192|256)(?:_e\w+)?")


def _dtype_name(dtype: Any, itemsize: int) -> str:
    """The name of a dtype, of which numpy's and torch's objects are taken as well."""
    name = dtype.__name__ if isinstance(dtype, type) else str(dtype).removeprefix("torch.")
    found = _DTYPE.fullmatch(name)
    size = 1 if name == "bool" else int(found[1]) // 8 if found else None
    if size is None:
        raise InvalidArgument(f"dtype: {name[:60]!r} is not known here", hint='such as "float16", "bfloat16", "bool"')
    if size != itemsize:
        raise InvalidArgument(f"itemsize: an element of {name} has {size} bytes, not {itemsize}")
    return name
