"""The short way of a READ or WRITE: whole buffers, offsets that are ready as array('Q'), one length.

It only leaves out what the library checks again anyway: bounds, overlaps, permissions, states, the instance. Whatever is
not plain goes the long way (_transfer.py), and so does what the library refuses, for the sake of its messages; a refused
batch was not posted, so nothing is done twice.

What does not change between two calls with the same buffers is looked at once (Prepared), and written into the request
once: a call then checks what may change, stores four numbers, and calls the library with addresses.
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

# te_batch_request, and behind it the local ID, the remote ID, the length, the batch's handle and the address of its status
# words, to which the request and the call point.
_REQUEST = struct.Struct("=IIIIQQQQQQQIIIIqqQ")
_SIZE = ctypes.sizeof(_abi.BatchRequest)
assert _REQUEST.size == _SIZE, "te_batch_request has another layout"

# Where numbers of 64 bits lie in all that.
_N = _abi.BatchRequest.n.offset // 8
_LOCAL_OFFSETS = _abi.BatchRequest.local_offsets.offset // 8
_REMOTE_OFFSETS = _abi.BatchRequest.remote_offsets.offset // 8
_LOCAL_ID, _REMOTE_ID, _LENGTH, _HANDLE, _STATUS = range(_SIZE // 8, _SIZE // 8 + 5)
_WORDS = _STATUS + 1


class Prepared:
    """A direction, buffers and a checksum setting that were found plain, for one segment in one state. Immutable."""

    __slots__ = ("checksum", "flags", "local", "name", "op", "remote", "segment", "state")

    def __init__(self, segment: Segment, op: int, local: Buffer, remote: RemoteBuffer, checksum: bool | None) -> None:
        self.segment = segment._handle
        self.state = segment._state
        self.name = segment.name
        self.op = op
        self.local = local
        self.remote = remote
        self.checksum = checksum
        self.flags = 0 if checksum is None else _abi.CRC_ON if checksum else _abi.CRC_OFF


class Scratch:
    """The request and its results, laid out once; used by one thread at a time (Core.submitting)."""

    def __init__(self, core: Core) -> None:
        self._memory = bytearray(8 * _WORDS)
        self._pin = (ctypes.c_char * len(self._memory)).from_buffer(self._memory)
        self._base = ctypes.addressof(self._pin)
        self.words = memoryview(self._memory).cast("Q")
        self.call: Any = core.library.submit_at
        self.engine = core.handle
        self.at = (self._base, self._base + 8 * _HANDLE, self._base + 8 * _STATUS)
        self.prepared: Prepared | None = None  # whose numbers the request holds
        self._instance = ctypes.create_string_buffer(33)

    def fill(self, prepared: Prepared) -> None:
        """Writes everything but what each call writes."""
        self.prepared = None
        self._instance.value = prepared.remote.instance.encode()
        base, words = self._base, self.words
        addresses = (base + 8 * _LOCAL_ID, 0, base + 8 * _REMOTE_ID, 0, base + 8 * _LENGTH)
        instance = ctypes.addressof(self._instance)
        head = (_SIZE, prepared.op, 0, prepared.flags, prepared.segment, 0)
        _REQUEST.pack_into(self._memory, 0, *head, *addresses, 1, 1, 1, 0, 0, 0, instance)
        words[_LOCAL_ID], words[_REMOTE_ID] = prepared.local.id, prepared.remote.id
        self.prepared = prepared


def prepare(segment: Segment, op: int, local: Any, remote: Any, checksum: Any) -> Prepared | None:
    """Checks what does not change; None if the long way has to be gone."""
    if (
        type(local) is not Buffer
        or type(remote) is not RemoteBuffer
        or (checksum is not None and checksum is not True and checksum is not False)
        or not local.whole
        or not remote.whole
        or len(remote.instance) != 32
        or remote.instance != segment._state["instance"]
        or local.engine._core is not segment.engine._core
        or ("r" if op == _abi.READ else "w") not in remote.perm
        or (op == _abi.READ and local.readonly)
    ):
        return None
    return Prepared(segment, op, local, remote, checksum)


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
    known = segment._prepared
    found = known.get(op)
    if (
        found is None
        or found.local is not local
        or found.remote is not remote
        or found.checksum is not checksum
        or found.state is not segment._state
    ):
        found = prepare(segment, op, local, remote, checksum)
        if found is None:
            return None
        known[op] = found
    if (
        type(local_offsets) is not array
        or type(remote_offsets) is not array
        or type(length) is not int
        or local_offsets.typecode != "Q"
        or remote_offsets.typecode != "Q"
        or not 0 < length < 1 << 63
        or local._state != "open"
    ):
        return None
    memory = local._memory
    if memory is None or (memory.alive is not None and not memory.alive()) or _native._forked:
        return None
    core = segment.engine._core
    if core.dropped:
        core.sweep()
    # As long as somebody looks into an array nobody can move it: these live until this function returns.
    pins = memoryview(local_offsets), memoryview(remote_offsets)
    n = len(local_offsets)
    if n == 0 or n != len(remote_offsets) or n > _abi.MAX_REQUESTS:
        return None
    with core.submitting:
        if core.closed:
            return None
        scratch = core.scratch
        if scratch is None:
            scratch = core.scratch = Scratch(core)
        if scratch.prepared is not found:
            scratch.fill(found)
        words = scratch.words
        words[_N] = n
        words[_LOCAL_OFFSETS] = local_offsets.buffer_info()[0]
        words[_REMOTE_OFFSETS] = remote_offsets.buffer_info()[0]
        words[_LENGTH] = length
        if scratch.call(scratch.engine, *scratch.at) != _abi.OK:
            return None
        handle = words[_HANDLE]
        flight = core.flights[handle] = Flight(core, handle, words[_STATUS], n, (memory,))
    del pins
    return Batch(core, flight, "read" if op == _abi.READ else "write", found.name)
