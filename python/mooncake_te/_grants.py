"""Making a grant: which ranges, for whom, allowed to do what."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _abi
from ._blocks import Selection
from ._buffer import Buffer, Grant
from ._errors import InvalidArgument, InvalidType, PermissionDenied
from ._numbers import integer
from ._segment import Segment

if TYPE_CHECKING:
    from ._engine import Engine


def make_grant(
    engine: Engine,
    buffer: Buffer,
    *,
    blocks: Any,
    block_bytes: int | None,
    ranges: Any,
    to: Segment | str | None,
    perm: str | None,
) -> Grant:
    """Checks the keywords of Buffer.grant and makes the grant."""
    buffer._require_open()
    allowed = _permission(buffer, perm)
    merged = merge_ranges(_ranges(buffer, blocks, block_bytes, ranges), buffer.nbytes)
    peer = _instance_of(to)
    offsets, lengths = array("Q", [r[0] for r in merged]), array("Q", [r[1] for r in merged])
    out, core = ctypes.c_uint64(), engine._core
    core.library.check(
        core.library.te_buffer_grant(
            core.handle,
            buffer.id,
            offsets.buffer_info()[0],
            lengths.buffer_info()[0],
            len(merged),
            _abi.PERMISSIONS[allowed],
            peer.encode() if peer else None,
            ctypes.byref(out),
        )
    )
    grant = Grant(buffer, out.value, merged, peer, allowed)
    with engine._lock:
        if buffer.closed:  # its drain, which began meanwhile, takes the grant along
            grant._state, grant._drain = buffer._state, buffer._drain
        buffer._grants.add(grant)
    return grant


def _permission(buffer: Buffer, perm: str | None) -> str:
    if buffer.mode == "none":
        raise PermissionDenied(f"grant: {buffer!r} was registered with remote=False")
    if perm is None:
        return buffer.perm
    if perm not in _abi.PERMISSIONS:
        raise InvalidArgument(f"perm: {perm!r} is not one of 'r', 'w', 'rw'")
    if not set(perm) <= set(buffer.perm):
        raise PermissionDenied(f"perm={perm!r}: {buffer!r} allows {buffer.perm!r} at most")
    return perm


def _ranges(buffer: Buffer, blocks: Any, block_bytes: int | None, ranges: Any) -> Sequence[Any]:
    if blocks is not None and ranges is not None:
        raise InvalidArgument("grant: give blocks or ranges, not both")
    if blocks is not None:
        pieces = Selection(blocks=blocks, block_bytes=block_bytes).apply(buffer.layout, buffer.layout)
        return [(offset, pieces.lengths[0]) for offset in pieces.into]
    if block_bytes is not None:
        raise InvalidArgument("block_bytes: needs blocks")
    if ranges is None:
        return [(0, buffer.nbytes)]
    if not isinstance(ranges, Sequence) or isinstance(ranges, (str, bytes)):
        raise InvalidType(f"ranges: want a list of (offset, length), got {type(ranges).__name__}")
    return ranges


def merge_ranges(ranges: Sequence[Any], nbytes: int) -> tuple[tuple[int, int], ...]:
    """Checks (offset, length) ranges and merges those that touch or overlap."""
    checked = []
    for i, entry in enumerate(ranges):
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            raise InvalidType(f"ranges[{i}]: want (offset, length), got {entry!r}")
        offset, length = integer(entry[0], f"ranges[{i}].offset"), integer(entry[1], f"ranges[{i}].length", minimum=1)
        if offset + length > nbytes:
            raise InvalidArgument(f"ranges[{i}]: bytes {offset} .. {offset + length} are outside {nbytes} bytes")
        checked.append((offset, length))
    if not checked:
        raise InvalidArgument("ranges: the list is empty")
    checked.sort()
    merged = [checked[0]]
    for offset, length in checked[1:]:
        last, size = merged[-1]
        if offset <= last + size:
            merged[-1] = (last, max(size, offset + length - last))
        else:
            merged.append((offset, length))
    return tuple(merged)


def _instance_of(to: Segment | str | None) -> str | None:
    if to is None:
        return None
    if isinstance(to, Segment):
        return to.instance
    if isinstance(to, str):
        if len(to) == 32 and all(digit in "0123456789abcdef" for digit in to):
            return to
        raise InvalidArgument(f"to: want an instance ID of 32 hexadecimal digits, got {to!r}")
    raise InvalidType(f"to: want a Segment or an instance ID, got {type(to).__name__}")
