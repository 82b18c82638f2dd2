"""From the arguments of a READ or WRITE to one te_batch_submit: who, where, which pieces, and everything refused before."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _abi
from ._batch import Batch
from ._blocks import Pieces, Selection
from ._buffer import Buffer, BufferView, Grant
from ._errors import InvalidArgument, InvalidType
from ._flight import Flight
from ._layout import Layout
from ._memory import describe
from ._numbers import integer, milliseconds, overlap, scaled
from ._remote import RemoteBuffer

if TYPE_CHECKING:
    from ._engine import Engine


@dataclass(frozen=True)
class Options:
    """The keywords of a transfer that do not pick bytes; see Segment.read."""

    deadline: float | None = None
    stall: float | None = None
    traffic: str = "latency"
    checksum: bool | None = None
    trace: int = 0


@dataclass
class Part:
    """One pair of buffers of a batch."""

    local: Buffer
    remote: RemoteBuffer
    pieces: Pieces  # `into` and `from_` as the caller gave them
    op: int

    @property
    def local_offsets(self) -> array[int]:
        """Offsets into the local registration."""
        return self.pieces.into if self.op == _abi.READ else self.pieces.from_

    @property
    def remote_offsets(self) -> array[int]:
        """Offsets into the remote one."""
        return self.pieces.from_ if self.op == _abi.READ else self.pieces.into


def local_side(engine: Engine, value: Any, side: str) -> tuple[Buffer, Layout]:
    """The buffer and the part of it that an argument means: a Buffer, a view of one, or registered memory itself."""
    if isinstance(value, Buffer):
        buffer, layout = value, value.layout
    elif isinstance(value, BufferView):
        buffer, layout = value.buffer, value.layout
    elif isinstance(value, Grant):
        raise InvalidType(f"{side}: a Grant is for peers; give its buffer", hint="grant.buffer")
    elif isinstance(value, RemoteBuffer):
        raise InvalidType(f"{side}: {value!r} is remote; this side has to be memory of this process")
    else:
        memory = describe(value)
        low, high = memory.layout.span()
        found = engine._find(memory.address + low, memory.address + high)
        if found is None:
            raise InvalidArgument(
                f"{side}: the {memory.kind} at {memory.address:#x} ({memory.layout.describe()}) is not registered",
                hint="engine.register() it, or the array that it is a view of, first",
            )
        at = memory.address - found.address
        part = memory.layout
        buffer, layout = found, Layout(at, part.shape, part.strides, part.itemsize, part.dtype)
        if side == "into" and memory.readonly is not None:
            from ._errors import PermissionDenied

            raise PermissionDenied(f"into: must not be written: {memory.readonly}")
    if buffer.engine is not engine:
        raise InvalidArgument(f"{side}: {buffer!r} belongs to another engine ({buffer.engine.name!r})")
    buffer._require_open()
    if buffer._memory is not None:
        buffer._memory.require_alive(side)
    return buffer, layout


def remote_side(value: Any, side: str) -> RemoteBuffer:
    """The handle that an argument means."""
    if isinstance(value, RemoteBuffer):
        return value
    if isinstance(value, (Buffer, Grant)):
        raise InvalidType(f"{side}: {value!r} is local; this side has to be a RemoteBuffer", hint="use .remote() of it")
    raise InvalidType(f"{side}: want a RemoteBuffer, got {type(value).__name__}")


def _pairs(into: Any, from_: Any) -> Iterator[tuple[Any, Any]]:
    """One pair, or two lists of the same length."""
    if not isinstance(into, list) and not isinstance(from_, list):
        yield into, from_
        return
    if not isinstance(into, list) or not isinstance(from_, list):
        raise InvalidType("into and from_: give either two lists or none")
    if len(into) != len(from_):
        raise InvalidArgument(f"into has {len(into)} entries, from_ has {len(from_)}")
    if not into:
        raise InvalidArgument("into and from_: the lists are empty")
    yield from zip(into, from_, strict=True)


def plan(engine: Engine, op: int, into: Any, from_: Any, selection: Selection) -> list[Part]:
    """Resolves and checks everything that can be checked on this side."""
    parts = []
    total = 0
    for target, source in _pairs(into, from_):
        if op == _abi.READ:
            remote = remote_side(source, "from_")
            local, layout = local_side(engine, target, "into")
            local._require_target()
            remote._require("r")
            pieces = selection.apply(layout, remote.layout)
        else:
            remote = remote_side(target, "into")
            local, layout = local_side(engine, source, "from_")
            remote._require("w")
            pieces = selection.apply(remote.layout, layout)
        part = Part(local, remote, pieces, op)
        remote._require_granted(part.remote_offsets, pieces.lengths)
        parts.append(part)
        total += len(pieces)
        if total > _abi.MAX_REQUESTS:
            raise InvalidArgument(
                f"too many requests: more than {_abi.MAX_REQUESTS} in one batch", hint="submit several batches"
            )
    first = parts[0].remote
    for part in parts[1:]:
        if part.remote.instance != first.instance:
            raise InvalidArgument(f"handles of two instances in one batch: {first!r} and {part.remote!r}")
    _refuse_overlap(parts, op)
    return parts


def _refuse_overlap(parts: list[Part], op: int) -> None:
    """Two requests of one batch must not write the same byte: which would win is not defined."""
    if op == _abi.READ:
        groups = {0: [(scaled(p.local_offsets, 1, p.local.address), p.pieces.lengths) for p in parts]}
    else:
        groups = {}
        for part in parts:
            groups.setdefault(part.remote.id, []).append((part.remote_offsets, part.pieces.lengths))
    for group in groups.values():
        if len(group) == 1:
            starts, lengths = group[0]
        else:
            starts, lengths = array("Q"), array("Q")
            for more, sizes in group:
                starts.extend(more)
                lengths.extend(sizes if len(sizes) == len(more) else array("Q", sizes) * len(more))
        found = overlap(starts, lengths)
        if found is not None:
            a, b = sorted(found)
            raise InvalidArgument(
                f"into: requests {a} and {b} of this batch overlap at the target",
                hint="each target byte may be written once",
            )


def _joined(parts: list[Part]) -> tuple[array[int], ...]:
    """Structure of arrays for all parts: local IDs and offsets, remote IDs and offsets, lengths."""
    if len(parts) == 1:
        part = parts[0]
        one = array("Q", [part.local.id]), array("Q", [part.remote.id])
        return one[0], part.local_offsets, one[1], part.remote_offsets, part.pieces.lengths
    columns = tuple(array("Q") for _ in range(5))
    for part in parts:
        n = len(part.pieces)
        sizes = part.pieces.lengths
        columns[0].extend(array("Q", [part.local.id]) * n)
        columns[1].extend(part.local_offsets)
        columns[2].extend(array("Q", [part.remote.id]) * n)
        columns[3].extend(part.remote_offsets)
        columns[4].extend(sizes if len(sizes) == n else array("Q", sizes) * n)
    return columns


def _flags(options: Options) -> tuple[int, int]:
    if options.traffic not in _abi.CLASSES:
        raise InvalidArgument(f"traffic: {options.traffic!r} is not one of {', '.join(map(repr, _abi.CLASSES))}")
    if options.checksum is None:
        return _abi.CLASSES[options.traffic], 0
    if not isinstance(options.checksum, bool):
        raise InvalidType(f"checksum: want True, False or None, got {options.checksum!r}")
    return _abi.CLASSES[options.traffic], _abi.CRC_ON if options.checksum else _abi.CRC_OFF


def submit(engine: Engine, op: int, segment: int, name: str, parts: list[Part], options: Options) -> Batch:
    """Queues the batch; returns at once."""
    core = engine._core
    core.sweep()
    columns = _joined(parts)
    traffic, flags = _flags(options)
    trace = integer(options.trace, "trace")
    if trace >= 2**32:
        raise InvalidArgument(f"trace: {trace} does not fit 32 bits")
    request = _abi.BatchRequest(
        struct_size=ctypes.sizeof(_abi.BatchRequest),
        op=op,
        class_=traffic,
        flags=flags,
        segment=segment,
        n=len(columns[1]),
        local_ids=columns[0].buffer_info()[0],
        local_offsets=columns[1].buffer_info()[0],
        remote_ids=columns[2].buffer_info()[0],
        remote_offsets=columns[3].buffer_info()[0],
        lengths=columns[4].buffer_info()[0],
        local_id_count=len(columns[0]),
        remote_id_count=len(columns[2]),
        length_count=len(columns[4]),
        trace=trace,
        deadline_ms=milliseconds(options.deadline, "deadline", none=0),
        stall_ms=milliseconds(options.stall, "stall", none=0),
        expected_instance=parts[0].remote.instance.encode(),
    )
    handle, status = ctypes.c_uint64(), ctypes.c_void_p()
    keep = tuple(part.local._memory for part in parts)
    with core.submitting:
        core.require_open()
        core.library.check(
            core.library.te_batch_submit(core.handle, ctypes.byref(request), ctypes.byref(handle), ctypes.byref(status))
        )
        flight = Flight(core, handle.value, status.value or 0, len(columns[1]), keep)
        core.flights[handle.value] = flight
    return Batch(core, flight, "read" if op == _abi.READ else "write", name)
