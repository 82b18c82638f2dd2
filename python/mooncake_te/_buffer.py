"""Buffer: memory registered with an engine. Grant: a part of one that peers may touch, revocable. View: a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _native
from ._errors import InvalidType, PermissionDenied
from ._handles import NotCopied, NotIterable
from ._layout import Layout
from ._memory import Memory
from ._remote import RemoteBuffer
from ._status import DrainReport
from ._task import Task, closed

if TYPE_CHECKING:
    from ._engine import Engine
    from ._segment import Segment

_Self = TypeVar("_Self", bound="Drainable")


class Drainable(NotCopied, NotIterable):
    """What buffers and grants have in common: an ID that is never used again, and an acknowledged end.

    States: ``open`` -> ``closing`` -> ``closed`` (the memory may be freed or reused), or ``quarantined`` (peers could
    not be fenced: the package keeps the memory).
    """

    _what = "buffer"
    _instead = "send its .remote()"

    def __init__(self, engine: Engine, id: int) -> None:
        self.engine = engine
        self.id = id
        """Never used again by this engine."""
        self._state = "open"
        self._drain: Task | None = None
        self._report: DrainReport | None = None

    @property
    def state(self) -> str:
        """open, closing, closed or quarantined."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether it can no longer be used (closing has begun)."""
        return self._state != "open"

    def _require_open(self) -> None:
        """Refuses what was closed."""
        _native.ensure_not_forked()
        if self._state != "open":
            raise closed(f"{self._what} {self.id} ({self._state})")
        self.engine._require_open()

    def close(self, timeout: float | None = None) -> DrainReport:
        """Ends it by an acknowledged drain. When this returns no peer touches the memory any more.

        ``timeout`` (seconds; None: the engine's ``drain_ms``) is how long peers get to acknowledge; who does not is
        fenced. 0 fences at once. Raises Quarantined if even that failed. Idempotent: a close that is under way, in
        another thread or because the waiting was interrupted, is joined, and keeps the time that it was given first.
        """
        return self.engine.drain([self], timeout=timeout)

    async def aclose(self, timeout: float | None = None) -> DrainReport:
        """The same in asyncio. Cancelling the await lets the drain go on."""
        return await self.engine.adrain([self], timeout=timeout)

    def _closing(self, task: Task) -> None:
        """Its drain has begun. Called with the engine's lock."""
        self._state, self._drain = "closing", task

    def _ended(self, state: str, report: DrainReport | None) -> None:
        """Its drain has ended. Called with the engine's lock."""
        self._state, self._report = state, report

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Buffer(Drainable):
    """A registration. Made by Engine.register, allocate and empty; lives until it or its engine is closed.

    Dropping the object does not end the registration: the engine holds it and its memory. Index it like an array
    (``buffer[3]``, ``buffer[:, 2:4]``) to name a part of it in a transfer. Thread-safe.
    """

    def __init__(self, engine: Engine, id: int, memory: Memory, *, remote: str, perm: str, name: str) -> None:
        super().__init__(engine, id)
        self._memory: Memory | None = memory
        self._grants: set[Grant] = set()
        self.address = memory.address
        self.nbytes = memory.nbytes
        self.layout = memory.layout
        self.whole = self.layout.offset == 0 and self.layout.contiguous
        """Whether it is one run of bytes from its start, as registrations are."""
        self.readonly = memory.readonly is not None
        """Whether transfers must not write to it from this side."""
        self._why_readonly = memory.readonly
        self.mode = remote
        """What peers may do: "all", "grants" or "none"."""
        self.perm = perm
        """What grants may allow at most: "r", "w" or "rw"."""
        self.name = name

    @property
    def obj(self) -> Any:
        """What was registered: the tensor, array, ... None once closed."""
        memory = self._memory
        return None if memory is None else memory.obj

    @property
    def dtype(self) -> str | None:
        """Name of the dtype as torch and numpy have it; None for plain bytes."""
        return self.layout.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in elements; (nbytes,) for plain bytes."""
        return self.layout.shape

    def __len__(self) -> int:
        if not self.shape:
            raise InvalidType("len: the buffer is 0-d")
        return self.shape[0]

    def __getitem__(self, key: Any) -> BufferView:
        """A part for a transfer: ints, slices and '...' as in numpy."""
        return BufferView(self, self.layout.index(key))

    def as_bytes(self) -> BufferView:
        """All of it as plain bytes, which match any dtype and shape of the same size."""
        return BufferView(self, self.layout.as_bytes())

    def remote(self) -> RemoteBuffer:
        """The handle to send to peers. Only with remote=True; else use grant().remote()."""
        self._require_open()
        if self.mode != "all":
            how = "its grants" if self.mode == "grants" else "no peer"
            raise PermissionDenied(
                f"remote: {self!r} was registered for {how}",
                hint="use grant(...).remote()" if self.mode == "grants" else "register it with remote=True",
            )
        return self._handle(self.id, self.perm, None)

    def _handle(self, id: int, perm: str, ranges: tuple[tuple[int, int], ...] | None) -> RemoteBuffer:
        info = self.engine.info
        return RemoteBuffer(
            info.name or info.addresses[0], info.instance, id, self.nbytes, self.layout, perm, ranges, self.name
        )

    def grant(
        self,
        *,
        blocks: Any = None,
        block_bytes: int | None = None,
        ranges: Sequence[tuple[int, int]] | None = None,
        to: Segment | str | None = None,
        perm: str | None = None,
    ) -> Grant:
        """Lets peers touch a part until the grant is closed, which costs one round trip and leaves other grants alone.

        ``blocks`` are indices of the first dimension, or of pieces of ``block_bytes`` bytes; ``ranges`` are (offset,
        length) in bytes; neither: all of it. ``to``: one peer (an opened Segment or an instance ID); None: whoever is
        handed the handle. ``perm``: "r", "w" or "rw"; None: what the buffer allows.
        """
        return self.engine._grant(self, blocks=blocks, block_bytes=block_bytes, ranges=ranges, to=to, perm=perm)

    @property
    def grants(self) -> list[Grant]:
        """Those that are open."""
        return [grant for grant in list(self._grants) if not grant.closed]

    def _require_target(self) -> None:
        """Refuses to write to it."""
        if self._why_readonly is not None:
            raise PermissionDenied(f"into: {self!r} must not be written: {self._why_readonly}")

    def _closing(self, task: Task) -> None:
        super()._closing(task)
        for grant in self._grants:
            grant._closing(task)

    def _ended(self, state: str, report: DrainReport | None) -> None:
        super()._ended(state, report)
        if state == "closed":
            self._memory = None
        for grant in list(self._grants):
            grant._ended(state, report)

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        return f"<Buffer {self.id}{label}: {self.layout.describe()}, remote={self.mode} {self.perm}, {self._state}>"


class Grant(Drainable):
    """A part of a buffer that peers may touch, with an ID of its own. Made by Buffer.grant; close() revokes it."""

    _what = "grant"

    def __init__(
        self, buffer: Buffer, id: int, ranges: tuple[tuple[int, int], ...], peer: str | None, perm: str
    ) -> None:
        super().__init__(buffer.engine, id)
        self.buffer = buffer
        self.ranges = ranges
        """(offset, length) in bytes from the start of the registration, sorted and merged."""
        self.peer = peer
        """Instance ID of the one peer that may use it; None: whoever has the handle."""
        self.perm = perm

    def remote(self) -> RemoteBuffer:
        """The handle to send to the peer. It has the whole buffer's shape, so block numbers mean the same there."""
        self._require_open()
        return self.buffer._handle(self.id, self.perm, self.ranges)

    def _ended(self, state: str, report: DrainReport | None) -> None:
        super()._ended(state, report)
        self.buffer._grants.discard(self)

    def __repr__(self) -> str:
        nbytes = sum(length for _, length in self.ranges)
        to = f" to {self.peer[:8]}" if self.peer else ""
        return f"<Grant {self.id}: {nbytes} bytes of buffer {self.buffer.id}{to}, {self.perm}, {self._state}>"


class BufferView(NotCopied, NotIterable):
    """A part of a buffer, named by indexing it. Only metadata: valid as long as the buffer."""

    __slots__ = ("buffer", "layout")
    _instead = "send .remote() of the buffer, and index that"

    def __init__(self, buffer: Buffer, layout: Layout) -> None:
        self.buffer = buffer
        self.layout = layout

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.layout.nbytes

    @property
    def dtype(self) -> str | None:
        """Name of the dtype; None for plain bytes."""
        return self.layout.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in elements."""
        return self.layout.shape

    def __getitem__(self, key: Any) -> BufferView:
        """A part of the part."""
        return BufferView(self.buffer, self.layout.index(key))

    def as_bytes(self) -> BufferView:
        """The same memory as plain bytes; it has to be contiguous."""
        return BufferView(self.buffer, self.layout.as_bytes())

    def __repr__(self) -> str:
        return f"<BufferView {self.layout.describe()} of buffer {self.buffer.id}>"
