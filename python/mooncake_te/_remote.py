"""RemoteBuffer: a small value that names memory of another engine, made to travel in an application's own messages."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Any

from ._errors import InvalidArgument, InvalidType, OutOfBounds, PermissionDenied
from ._layout import Layout, contiguous, row_major, typed
from ._numbers import integer

_FORMAT = 1  # of the JSON form


@dataclass(frozen=True)
class RemoteBuffer:
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
        layout = typed(shape, integer(itemsize, "itemsize", minimum=1), str(dtype), offset=self.layout.offset)
        if not self.layout.contiguous or layout.nbytes != self.nbytes:
            raise InvalidArgument(
                f"typed: {layout.describe()} is {layout.nbytes} bytes, the handle names {self.nbytes}"
            )
        return replace(self, layout=layout)

    def require(self, op: str) -> None:
        """Refuses what the owner does not allow. The owner checks again; this is only earlier."""
        if op not in self.perm:
            verb = "read" if op == "r" else "write"
            raise PermissionDenied(
                f"{verb}: {self!r} allows {self.perm!r} only", segment=self.segment, hint="ask its owner for a grant"
            )

    def require_granted(self, offsets: Any, lengths: Any) -> None:
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
        try:
            if value["v"] != _FORMAT:
                raise InvalidArgument(f"handle: format {value['v']!r} is not known here (want {_FORMAT})")
            instance, perm = str(value["instance"]), str(value["perm"])
            length = integer(value["length"], "handle.length", minimum=1)
            layout = contiguous(length)
            if "shape" in value:
                itemsize = integer(value["itemsize"], "handle.itemsize", minimum=1)
                shape = tuple(integer(n, "handle.shape", minimum=1) for n in value["shape"])
                strides = tuple(int(s) for s in value["strides"]) if "strides" in value else row_major(shape, itemsize)
                dtype = str(value["dtype"]) if "dtype" in value else None
                layout = Layout(integer(value["offset"], "handle.offset"), shape, strides, itemsize, dtype)
            ranges = None
            if value.get("ranges") is not None:
                ranges = tuple(
                    (integer(a, "handle.ranges"), integer(b, "handle.ranges", minimum=1)) for a, b in value["ranges"]
                )
            handle = cls(
                str(value["segment"]),
                instance,
                integer(value["id"], "handle.id", minimum=1),
                length,
                layout,
                perm,
                ranges,
                str(value.get("name", "")),
            )
        except InvalidArgument:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidArgument(f"handle: not a RemoteBuffer: {type(error).__name__}: {error}") from None
        if len(instance) != 32 or any(d not in "0123456789abcdef" for d in instance):
            raise InvalidArgument(f"handle.instance: want 32 hexadecimal digits, got {instance!r}")
        if perm not in ("r", "w", "rw"):
            raise InvalidArgument(f"handle.perm: want 'r', 'w' or 'rw', got {perm!r}")
        if len(layout.strides) != len(layout.shape):
            raise InvalidArgument("handle.strides: not as many as dimensions")
        low, high = layout.span()
        if low < 0 or high > length:
            raise InvalidArgument(f"handle: bytes {low} .. {high} are outside the registration of {length} bytes")
        return handle

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> RemoteBuffer:
        """Reads what to_json wrote."""
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise InvalidArgument(f"handle: not JSON: {error}") from None

    def __repr__(self) -> str:
        part = "" if self.nbytes == self.length else f" of {self.length} bytes"
        label = f" {self.name!r}" if self.name else ""
        return f"<RemoteBuffer {self.id}{label} at {self.segment or self.instance[:8]}: {self.layout.describe()}{part}>"
