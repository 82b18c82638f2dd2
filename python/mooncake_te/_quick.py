"""The short way of a READ or WRITE: whole buffers, offsets that are ready as array('Q'), one length.

It only leaves out what the library checks again anyway: bounds, overlaps, permissions, states, the instance. Whatever is
not plain goes the long way (_transfer.py), and so does what the library refuses, for the sake of its messages; a refused
batch was not posted, so nothing is done twice.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from typing import TYPE_CHECKING, Any

from . import _abi, _native
from ._batch import Batch
from ._buffer import Buffer
from ._flight import Flight
from ._remote import RemoteBuffer

if TYPE_CHECKING:
    from ._core import Core
    from ._segment import Segment

_REQUEST = struct.Struct("=IIIIQQQQQQQIIIIqqQ")  # te_batch_request
_WORDS = struct.Struct("=QQQ")  # local ID, remote ID, length
_SIZE = ctypes.sizeof(_abi.BatchRequest)
assert _REQUEST.size == _SIZE, "te_batch_request has another layout"

_FLAGS = {None: 0, True: _abi.CRC_ON, False: _abi.CRC_OFF}


class Scratch:
    """The request and its results, laid out once; used by one thread at a time (Core.submitting)."""

    def __init__(self, core: Core) -> None:
        self._memory = bytearray(_SIZE + _WORDS.size + 16)
        self._pin = (ctypes.c_char * len(self._memory)).from_buffer(self._memory)
        base = ctypes.addressof(self._pin)
        self.local_id, self.remote_id, self.length = base + _SIZE, base + _SIZE + 8, base + _SIZE + 16
        self._results = memoryview(self._memory)[_SIZE + _WORDS.size :].cast("Q")
        self._call: Any = core.library.submit_at
        self._engine = core.handle
        self._at = (base, base + _SIZE + _WORDS.size, base + _SIZE + _WORDS.size + 8)
        self._names: dict[str, Any] = {}  # instance IDs as C text

    def instance(self, text: str) -> int:
        """Where the instance ID lies as C text."""
        found = self._names.get(text)
        if found is None:
            if len(self._names) > 256:
                self._names.clear()
            buffer = ctypes.create_string_buffer(text.encode())
            found = self._names[text] = (ctypes.addressof(buffer), buffer)
        return int(found[0])

    def submit(self, request: tuple[int, ...], words: tuple[int, int, int]) -> tuple[int, int] | None:
        """Handle and address of the status words; None if the library refused."""
        _REQUEST.pack_into(self._memory, 0, *request)
        _WORDS.pack_into(self._memory, _SIZE, *words)
        if self._call(self._engine, *self._at) != _abi.OK:
            return None
        return self._results[0], self._results[1]


def submit(
    segment: Segment,
    op: int,
    local: Any,
    remote: Any,
    local_offsets: Any,
    remote_offsets: Any,
    length: Any,
    checksum: Any,
) -> Batch | None:
    """Queues the batch, or returns None: then the long way has to be gone."""
    core = segment.engine._core
    state = segment._state
    if (
        type(local) is not Buffer
        or type(remote) is not RemoteBuffer
        or type(local_offsets) is not array
        or type(remote_offsets) is not array
        or type(length) is not int
        or checksum not in _FLAGS
        or type(checksum) is int
        or not local.whole
        or not remote.whole
        or remote.instance != state["instance"]
        or local.engine._core is not core
        or local._state != "open"
        or not 0 < length < 1 << 63
    ):
        return None
    n = len(local_offsets)
    if (
        n == 0
        or n != len(remote_offsets)
        or n > _abi.MAX_REQUESTS
        or local_offsets.typecode != "Q"
        or remote_offsets.typecode != "Q"
    ):
        return None
    memory = local._memory
    if memory is None or (memory.alive is not None and not memory.alive()) or _native.forked():
        return None
    if core.dropped:
        core.sweep()
    # As long as somebody looks into an array nobody can move it.
    with memoryview(local_offsets), memoryview(remote_offsets), core.submitting:
        if core.closed:
            return None
        scratch = core.scratch
        if scratch is None:
            scratch = core.scratch = Scratch(core)
        found = scratch.submit(
            (
                _SIZE,
                op,
                0,
                _FLAGS[checksum],
                segment._handle,
                n,
                scratch.local_id,
                local_offsets.buffer_info()[0],
                scratch.remote_id,
                remote_offsets.buffer_info()[0],
                scratch.length,
                1,
                1,
                1,
                0,
                0,
                0,
                scratch.instance(remote.instance),
            ),
            (local.id, remote.id, length),
        )
        if found is None:
            return None
        flight = Flight(core, found[0], found[1], n, (memory,))
        core.flights[found[0]] = flight
    return Batch(core, flight, "read" if op == _abi.READ else "write", segment.name)
