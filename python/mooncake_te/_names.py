"""What an engine does with a metadata store: its own name, and the names of others (docs/metadata.md)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._errors import InvalidArgument, InvalidType
from ._numbers import milliseconds
from ._segment import Segment
from ._task import Result, Task

if TYPE_CHECKING:
    from ._core import Core
    from ._engine import Engine


class _Unwanted:
    """An open whose caller went away (interrupted, cancelled): the handle that it may still bring is given back."""

    def __init__(self, core: Core, task: Task) -> None:
        self._core, self._task = core, task

    def reap(self) -> bool:
        if not self._task.poll():
            return False
        found = self._task.result.get("segment")
        if found is not None and not self._core.closed:
            self._core.library.te_segment_close(self._core.handle, int(found))
        return True


@dataclass(frozen=True)
class SyncReport:
    """What a look at all open names brought.

    ``gone`` are names that nothing lies under any more (sessions with them go on); ``failed`` those that could not be
    looked at, with the reason.
    """

    names: int = 0
    gone: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> SyncReport:
        """From the library's JSON."""
        return cls(
            int(value.get("names") or 0), tuple(sorted(value.get("gone") or ())), dict(value.get("failed") or {})
        )


class Names:
    """The part of Engine that deals with names."""

    _core: Core

    def _require_open(self) -> None:
        raise NotImplementedError  # Engine has it

    # ---- our own -------------------------------------------------------------------------------------------------

    def claim(self, *, takeover: bool = False, wait: float = 0, timeout: float | None = None) -> None:
        """Takes the engine's name in the metadata store; done at the start, and needed again only after it was lost.

        Another living owner: raises SegmentOwned, after waiting ``wait`` seconds for it to close or for its lease to end;
        with ``takeover`` it is replaced at once, and publishes nothing any more. ``timeout`` (seconds; None:
        ``open_timeout_ms``) is what the store has to answer: MetadataUnavailable, MetadataRefused.
        """
        self._claim(takeover, wait, timeout).wait()

    async def aclaim(self, *, takeover: bool = False, wait: float = 0, timeout: float | None = None) -> None:
        """The same in asyncio."""
        await self._claim(takeover, wait, timeout).wait_async()

    def _claim(self, takeover: bool, wait: float, timeout: float | None) -> Task:
        self._require_open()
        return self._core.start(
            "claim the segment name",
            self._core.library.te_engine_claim,
            int(bool(takeover)),
            milliseconds(wait, "wait", none=0, zero=True),
            milliseconds(timeout, "timeout", none=0),
        )

    # ---- others' -------------------------------------------------------------------------------------------------

    def open(self, name: str, timeout: float | None = None, *, no_cache: bool = False) -> Segment:
        """Finds the engine that offers a segment: by its name in the metadata store, or peer to peer at "host:port".

        It is waited for as long as it is not there or does not answer, so that engines may start in any order;
        ``timeout`` in seconds, None: ``open_timeout_ms``. Then: SegmentNotFound (nobody published the name), SegmentGone
        (its engine closed or died), PeerUnreachable, MetadataUnavailable, MetadataRefused, MetadataInvalid. ``no_cache``
        asks the store even if the name is known here.
        """
        known = self._known(name, no_cache)
        if known is not None:
            return known
        task = self._begin_open(name, timeout, no_cache)
        try:
            result = task.wait()
        except BaseException:
            self._core.reaper.adopt(_Unwanted(self._core, task))
            raise
        return self._opened(name, result)

    async def aopen(self, name: str, timeout: float | None = None, *, no_cache: bool = False) -> Segment:
        """The same in asyncio."""
        known = self._known(name, no_cache)
        if known is not None:
            return known
        task = self._begin_open(name, timeout, no_cache)
        try:
            result = await task.wait_async()
        except BaseException:
            self._core.reaper.adopt(_Unwanted(self._core, task))
            raise
        return self._opened(name, result)

    def _known(self, name: str, no_cache: bool) -> Segment | None:
        """The segment of a name that is open here and known to be fresh: nobody has to be asked."""
        encoded = self._encoded(name)
        if no_cache or self._core.info.get("metadata", "p2p") == "p2p":
            return None
        found = ctypes.c_uint64()
        library = self._core.library
        if library.te_segment_lookup(self._core.handle, encoded, ctypes.byref(found)) != 0:
            return None
        return self._segment(found.value, name)

    def _begin_open(self, name: str, timeout: float | None, no_cache: bool) -> Task:
        library = self._core.library
        return self._core.start(
            f"open {name}",
            library.te_segment_open_anew if no_cache else library.te_segment_open,
            self._encoded(name),
            milliseconds(timeout, "timeout", none=0),
        )

    def _encoded(self, name: str) -> bytes:
        self._require_open()
        if not isinstance(name, str):
            raise InvalidType(f"name: want str, got {type(name).__name__}")
        if not name or "\0" in name:
            raise InvalidArgument(f"name: want a segment name or 'host:port', got {name!r}")
        try:
            return name.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"name: {name!r} cannot be written as UTF-8: {error.reason}") from None

    def _opened(self, name: str, result: Result) -> Segment:
        return self._segment(int(result["segment"]), name)

    def _segment(self, handle: int, name: str) -> Segment:
        engine: Engine = self  # type: ignore[assignment]
        return Segment(engine, handle, name)

    def sync_names(self, timeout: float | None = None) -> SyncReport:
        """Looks all open names up in the store anew, by the same road as a change that the store tells of."""
        return SyncReport.from_dict(self._sync(timeout).wait())

    async def async_names(self, timeout: float | None = None) -> SyncReport:
        """The same in asyncio."""
        return SyncReport.from_dict(await self._sync(timeout).wait_async())

    def _sync(self, timeout: float | None) -> Task:
        self._require_open()
        return self._core.start(
            "look names up anew", self._core.library.te_engine_sync, milliseconds(timeout, "timeout", none=0)
        )

    def describe(self, name: str, timeout: float | None = None) -> dict[str, Any]:
        """What the metadata store knows of a name, and what its owner says of itself. Opens nothing.

        ``from`` is "owner" (it answered: ``descriptor`` has its buffers), "store" (the head alone; ``unreachable`` says
        why), "stock" (a stock Mooncake engine's document) or "" (nothing is published).
        """
        return dict(self._describe(name, timeout).wait())

    async def adescribe(self, name: str, timeout: float | None = None) -> dict[str, Any]:
        """The same in asyncio."""
        return dict(await self._describe(name, timeout).wait_async())

    def _describe(self, name: str, timeout: float | None) -> Task:
        return self._core.start(
            f"describe {name}",
            self._core.library.te_segment_describe,
            self._encoded(name),
            milliseconds(timeout, "timeout", none=0),
        )
