"""Segment: what another engine offers, opened by its address or name."""

from __future__ import annotations

import json
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _abi, _native
from ._batch import Batch
from ._blocks import Selection
from ._errors import InvalidArgument, InvalidType, StaleBuffer, StaleInstance
from ._handles import NotCopied
from ._layout import contiguous
from ._numbers import milliseconds
from ._quick import Prepared
from ._quick import submit as quick
from ._remote import RemoteBuffer
from ._task import Task, closed
from ._transfer import Options, plan, submit

if TYPE_CHECKING:
    from ._core import Core
    from ._engine import Engine


_closing = threading.Lock()


class Segment(NotCopied):
    """Made by Engine.open. Closing it forgets the name; transfers under way go on. Dropping it closes it. Thread-safe."""

    _instead = "open it there, by its address"

    def __init__(self, engine: Engine, handle: int, opened: str) -> None:
        self.engine = engine
        self._handle = handle
        self._closed = False
        self.address = opened
        """What open() was given."""
        self._state = self._query()
        self._prepared: dict[int, Prepared] = {}  # by operation: of the last call that went the short way

    @property
    def name(self) -> str:
        """The name that the other engine gives itself."""
        return str(self._state.get("label") or self._state["name"])

    @property
    def instance(self) -> str:
        """The instance ID found behind the name at the last look, 32 hexadecimal digits."""
        return str(self._state["instance"])

    @property
    def version(self) -> int:
        """The metadata version at the last look."""
        return int(self._state.get("version") or 0)

    def _query(self) -> dict[str, Any]:
        self._require_open()
        library, handle = self.engine._core.library, self.engine._core.handle
        state: dict[str, Any] = json.loads(library.text(library.te_segment_query, handle, self._handle))
        return state

    def _require_open(self) -> None:
        _native.ensure_not_forked()
        if self._closed:
            raise closed(f"segment {self.address!r}")
        self.engine._require_open()

    def buffers(self) -> list[RemoteBuffer]:
        """Handles of what the peer lists (its registrations with remote=True), as plain bytes.

        From what is known here; refresh() asks the peer. Grants are not listed: their owner hands them out.
        """
        self._state = self._query()
        return [self._listed(entry) for entry in self._state.get("buffers") or () if entry.get("state") == "READY"]

    def buffer(self, name: str) -> RemoteBuffer:
        """The listed buffer of that name (the ``name=`` of register); asks the peer once if it is not known yet."""
        if not isinstance(name, str):
            raise InvalidType(f"name: want str, got {type(name).__name__}", hint="buffers() lists what there is")
        if not name:
            raise InvalidArgument("name: want the name of a buffer, got ''", hint="use buffers() for those without one")
        for refreshed in (False, True):
            if refreshed:
                self.refresh()
            found = [handle for handle in self.buffers() if handle.name == name]
            if len(found) > 1:
                raise InvalidArgument(
                    f"buffer: {len(found)} buffers of {self.name!r} are named {name!r}; use buffers()"
                )
            if found:
                return found[0]
        raise StaleBuffer(f"{self.name!r} lists no buffer named {name!r}", segment=self.name, peer=self.instance)

    def _listed(self, entry: dict[str, Any]) -> RemoteBuffer:
        length, perm = int(entry["length"]), entry.get("perm", "rw")
        if not isinstance(perm, str):
            perm = {number: text for text, number in _abi.PERMISSIONS.items()}.get(perm, "rw")
        return RemoteBuffer(
            self.name,
            self.instance,
            int(entry["id"]),
            length,
            contiguous(length),
            perm,
            None,
            str(entry.get("label") or ""),
        )

    def read(
        self,
        *,
        into: Any,
        from_: Any,
        blocks: Any = None,
        into_blocks: Any = None,
        block_bytes: int | None = None,
        into_offsets: Any = None,
        from_offsets: Any = None,
        lengths: Any = None,
        deadline: float | None = None,
        stall: float | None = None,
        traffic: str = "latency",
        checksum: bool | None = None,
        trace: int = 0,
    ) -> Batch:
        """Copies remote memory into local memory. Returns at once; wait for or await the batch.

        ``into``: a Buffer, a part of one (``buffer[3:7]``), or a registered tensor or array itself or a view of it.
        ``from_``: a RemoteBuffer or a part of one. Or two lists of the same length, for one batch over many buffers; what
        follows then applies to each pair.

        Which bytes, one of:

        - nothing said: all of ``from_``; dtype, shape and size have to match (plain bytes match by size).
        - ``blocks=[i, ...]``: these indices of the first dimension, on both sides; ``blocks=[(into, from_), ...]``: pairs;
          or ``blocks`` for ``from_`` and ``into_blocks`` for ``into``. Plain bytes need ``block_bytes``, or take the
          other side's block size.
        - ``into_offsets``, ``from_offsets``, ``lengths``: lists in **bytes** from the start of each side; ``lengths`` may
          be one int for all.

        ``deadline`` and ``stall`` are seconds: the transfer ends by itself after so long, or after so long without
        progress. ``traffic``: "latency" or "bulk". ``checksum``: overrides the engine's ``crc``. ``trace``: 32 bits
        that go along.

        Everything is checked before a byte moves. Raises InvalidArgument, OutOfBounds, PermissionDenied (read-only
        target), StaleInstance, StaleBuffer, Closed, ResourceExhausted, ...
        """
        if (
            into_offsets is not None
            and blocks is into_blocks is block_bytes is None
            and deadline is stall is None
            and traffic == "latency"
            and not trace
            and not self._closed
        ):
            batch = quick(self, _abi.READ, into, from_, into_offsets, from_offsets, lengths, checksum)
            if batch is not None:
                return batch
        selection = Selection(blocks, into_blocks, block_bytes, into_offsets, from_offsets, lengths)
        return self._submit(_abi.READ, into, from_, selection, Options(deadline, stall, traffic, checksum, trace))

    def write(
        self,
        *,
        from_: Any,
        into: Any,
        blocks: Any = None,
        into_blocks: Any = None,
        block_bytes: int | None = None,
        into_offsets: Any = None,
        from_offsets: Any = None,
        lengths: Any = None,
        deadline: float | None = None,
        stall: float | None = None,
        traffic: str = "latency",
        checksum: bool | None = None,
        trace: int = 0,
    ) -> Batch:
        """Copies local memory (``from_``) into remote memory (``into``); the arguments are those of read."""
        if (
            into_offsets is not None
            and blocks is into_blocks is block_bytes is None
            and deadline is stall is None
            and traffic == "latency"
            and not trace
            and not self._closed
        ):
            batch = quick(self, _abi.WRITE, from_, into, from_offsets, into_offsets, lengths, checksum)
            if batch is not None:
                return batch
        selection = Selection(blocks, into_blocks, block_bytes, into_offsets, from_offsets, lengths)
        return self._submit(_abi.WRITE, into, from_, selection, Options(deadline, stall, traffic, checksum, trace))

    def _submit(self, op: int, into: Any, from_: Any, selection: Selection, options: Options) -> Batch:
        self._require_open()
        parts = plan(self.engine, op, into, from_, selection)
        self._require_mine(parts[0].remote)
        return submit(self.engine, op, self._handle, self.name, parts, options)

    def _require_mine(self, remote: RemoteBuffer) -> None:
        """Refuses handles of another segment or instance before anything is sent. The library checks again."""
        if remote.instance == self.instance:
            return
        self._state = self._query()
        if remote.instance == self.instance:
            return
        label = self._state.get("label")
        # Engines without a name are known by an address, which tells nothing about who is there now.
        if label and ":" not in remote.segment and remote.segment != label:
            raise InvalidArgument(
                f"{remote!r} belongs to segment {remote.segment!r}, this is {self.name!r}", segment=self.name
            )
        raise StaleInstance(
            f"{remote!r} belongs to instance {remote.instance}; this segment was opened to instance {self.instance} "
            f"of {self.name!r}",
            segment=self.name,
            peer=self.instance,
            hint="if the peer was restarted and the handle is new, call segment.refresh(); if the handle is the older "
            "one, ask the peer for a new one; else it belongs to another engine",
        )

    def ping(self, timeout: float | None = None) -> float:
        """A round trip on the session; returns seconds."""
        return float(self._ping(timeout).wait()["rtt_us"]) / 1e6

    async def aping(self, timeout: float | None = None) -> float:
        """The same in asyncio."""
        return float((await self._ping(timeout).wait_async())["rtt_us"]) / 1e6

    def _ping(self, timeout: float | None) -> Task:
        self._require_open()
        core = self.engine._core
        return core.start(
            f"ping {self.name}", core.library.te_segment_ping, self._handle, milliseconds(timeout, "timeout", none=0)
        )

    def notify(
        self, payload: bytes, *, tag: str = "", after: Batch | None = None, timeout: float | None = None
    ) -> None:
        """Sends bytes to the peer's engine.notifications(); returns when the peer has them.

        ``after``: only once that batch has COMPLETED, so the peer sees its data when it sees the notification; if the
        batch fails, so does this, with the batch's cause.
        """
        self._notify(payload, tag, after, timeout).wait()

    async def anotify(
        self, payload: bytes, *, tag: str = "", after: Batch | None = None, timeout: float | None = None
    ) -> None:
        """The same in asyncio."""
        await self._notify(payload, tag, after, timeout).wait_async()

    def _notify(self, payload: bytes, tag: str, after: Batch | None, timeout: float | None) -> Task:
        self._require_open()
        if not isinstance(payload, (bytes, bytearray, memoryview)):
            raise InvalidType(f"payload: want bytes, got {type(payload).__name__}")
        if not isinstance(tag, str):
            raise InvalidType(f"tag: want str, got {type(tag).__name__}")
        if after is not None and (not isinstance(after, Batch) or after._core is not self.engine._core):
            raise InvalidArgument(f"after: want a batch of this engine, got {after!r}")
        data, core = bytes(payload), self.engine._core
        return core.start(
            f"notify {self.name}",
            core.library.te_segment_notify,
            self._handle,
            data,
            len(data),
            tag.encode(),
            after._flight.handle if after is not None else 0,
            milliseconds(timeout, "timeout", none=0),
        )

    def refresh(self, timeout: float | None = None) -> None:
        """Asks the peer anew, and follows the name to a new instance if it was replaced."""
        self._refresh(timeout).wait()
        self._state = self._query()

    async def arefresh(self, timeout: float | None = None) -> None:
        """The same in asyncio."""
        await self._refresh(timeout).wait_async()
        self._state = self._query()

    def _refresh(self, timeout: float | None) -> Task:
        self._require_open()
        core = self.engine._core
        return core.start(
            f"refresh {self.name}",
            core.library.te_segment_refresh,
            self._handle,
            milliseconds(timeout, "timeout", none=0),
        )

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def close(self) -> None:
        """Forgets the segment. Idempotent; never blocks."""
        _native.ensure_not_forked()
        with _closing:  # its handle may be shared with other segments of this name, and counts how often it is closed
            if self._closed or self.engine.closed:
                return
            self._closed = True
        core = self.engine._core
        core.library.check(core.library.te_segment_close(core.handle, self._handle))

    def __del__(self) -> None:
        # May run anywhere, in the middle of anything: the reaper makes the call.
        if getattr(self, "_closed", True) or _native.forked():
            return
        core = self.engine._core
        if not core.closed:
            core.reaper.adopt(_Dropped(core, self._handle))

    def __enter__(self) -> Segment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<Segment {self.name!r} at {self.address}, instance {self.instance[:8]}{state}>"


class _Dropped:
    """A segment that nobody has any more."""

    def __init__(self, core: Core, handle: int) -> None:
        self._core, self._handle = core, handle

    def reap(self) -> bool:
        if not self._core.closed:
            self._core.library.te_segment_close(self._core.handle, self._handle)
        return True
