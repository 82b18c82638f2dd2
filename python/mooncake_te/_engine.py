"""Engine: one instance that registers memory, opens peers' segments and moves bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from . import _abi, _config, _owned
from ._batch import Batch
from ._buffer import Buffer, Drainable, Grant
from ._core import Core
from ._errors import Closed, InvalidArgument, InvalidType, TransferError
from ._grants import make_grant
from ._handles import NotCopied
from ._names import Names
from ._numbers import milliseconds
from ._registration import Registering, prepare
from ._registry import Registry
from ._status import DrainReport, EngineInfo, Explanation, Notification
from ._task import Result, Task

# Buffers whose memory could not be fenced: their storage stays mapped as long as this process lives.
_quarantine: list[Any] = []


class Engine(Names, NotCopied):
    """Registers memory, offers it to peers, and moves bytes from and to theirs. Thread-safe.

    ``Engine("decode-0")`` finds peers by their address and needs no server; it listens on 127.0.0.1 unless told. With
    ``metadata="etcd://host:2379"`` (or ``http://``, ``mem://``) its name is claimed in that store, where others find it:
    SegmentOwned if a living engine has it, see docs/metadata.md. Other
    settings are keywords with the names, units and defaults of docs/config.md (``drain_ms=500``,
    ``connections_per_peer=4``), or a mapping in ``config``; ``MOONCAKE_TE_*`` variables set what neither says.

    Use it as a context manager. Otherwise it lives until close() or the end of the interpreter, which closes it. After
    fork() it cannot be used in the child.
    """

    _instead = "make an engine in each process, and send engine.address"

    def __init__(
        self,
        name: str | None = None,
        *,
        listen: str | None = None,
        advertise: Sequence[str] | None = None,
        metadata: str | None = None,
        config: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        settings.update(name=name, listen=listen, metadata=metadata)
        settings["advertise"] = [advertise] if isinstance(advertise, str) else advertise
        self._core = Core(_config.document(settings, config))
        self._info = EngineInfo.from_dict(self._core.info)
        self._lock = threading.Lock()
        self._registry = Registry()
        self._report: DrainReport | None = None
        if self._core.info.get("metadata", "p2p") != "p2p" and self._info.name:
            self._claim_at_start()

    def _claim_at_start(self) -> None:
        """An engine that cannot have its name is no engine."""
        settings = json.loads(self._core.query("status"))["configuration"]
        try:
            self.claim(takeover=settings["takeover"], wait=settings["name_wait_ms"] / 1000)
        except BaseException:
            self.close(timeout=0)
            raise

    # ---- who -----------------------------------------------------------------------------------------------------

    @property
    def info(self) -> EngineInfo:
        """Name, instance ID and addresses."""
        return self._info

    @property
    def name(self) -> str:
        """The segment name that it offers its buffers under."""
        return self._info.name

    @property
    def instance(self) -> str:
        """The instance ID, random for each engine: 32 hexadecimal digits."""
        return self._info.instance

    @property
    def address(self) -> str:
        """The first "host:port" that peers open it by."""
        return self._info.addresses[0]

    @property
    def closed(self) -> bool:
        """Whether closing has begun."""
        return self._core.closed

    def _require_open(self) -> None:
        """Raises Closed or ForkedProcessError if it cannot be used."""
        self._core.require_open()

    # ---- memory --------------------------------------------------------------------------------------------------

    def register(
        self,
        obj: Any,
        *,
        remote: bool | str = True,
        readonly: bool | None = None,
        perm: str | None = None,
        name: str = "",
        location: str | None = None,
    ) -> Buffer:
        """Registers memory: a torch tensor, numpy array, bytearray, memoryview, DLPack object or (address, length).

        The memory is held, in place, until the buffer or the engine is closed (an (address, length) pair: by you): it
        cannot be resized so long, and a tensor's storage not afterwards either (as after tensor.numpy()). It has to be
        contiguous. ``remote``: True lets peers use all of it and lists it to them; "grants" lists nothing, and
        peers may touch only what Buffer.grant gives; False is for this engine's own transfers. ``readonly``: transfers
        must not write to it; None: as the object says. ``perm``: what peers may do, "r", "w" or "rw"; None: "r" if
        read-only, else "rw". ``name``: for peers' Segment.buffer(name). ``location``: such as "cpu:0".
        """
        return self._register(
            [prepare(obj, remote=remote, readonly=readonly, perm=perm, name=name, location=location)]
        )[0]

    def register_all(
        self,
        objs: Iterable[Any] | Mapping[str, Any],
        *,
        remote: bool | str = True,
        readonly: bool | None = None,
        perm: str | None = None,
        location: str | None = None,
    ) -> list[Buffer]:
        """Registers many at once, as one metadata change: all or none. A mapping gives names."""
        named = objs.items() if isinstance(objs, Mapping) else (("", obj) for obj in objs)
        pieces = [
            prepare(obj, remote=remote, readonly=readonly, perm=perm, name=name, location=location)
            for name, obj in named
        ]
        return self._register(pieces) if pieces else []

    def allocate(
        self,
        nbytes: int,
        *,
        remote: bool | str = True,
        perm: str | None = None,
        name: str = "",
        location: str | None = None,
    ) -> Buffer:
        """Engine-owned memory, zeroed and page-aligned, registered. ``buffer.obj`` is a writable memoryview of it.

        It lives until the buffer is closed *and* nothing in the program looks at it any more.
        """
        self._require_open()
        memory = _owned.allocate(self._core, nbytes)
        return self.register(memory, remote=remote, perm=perm, name=name, location=location)

    def empty(
        self,
        shape: int | Sequence[int],
        dtype: Any = "float32",
        *,
        framework: str | None = None,
        remote: bool | str = True,
        perm: str | None = None,
        name: str = "",
        location: str | None = None,
    ) -> Buffer:
        """Like allocate, as an array: ``buffer.obj`` is a torch tensor for a torch.dtype, else a numpy array.

        ``framework``: "torch" or "numpy", to choose for a dtype that is given by name.
        """
        self._require_open()
        memory = _owned.empty(self._core, shape, dtype, framework)
        return self.register(memory, remote=remote, perm=perm, name=name, location=location)

    def buffers(self) -> list[Buffer]:
        """The registrations that are not closed."""
        with self._lock:
            return list(self._registry)

    def _register(self, pieces: list[Registering]) -> list[Buffer]:
        self._require_open()
        slots = (_abi.Registration * len(pieces))()
        for piece, slot in zip(pieces, slots, strict=True):
            piece.fill(slot)
        ids = array("Q", bytes(8 * len(pieces)))
        library = self._core.library
        with self._lock:  # close() marks what is in the registry after the engine refuses more
            library.check(library.te_buffer_register(self._core.handle, slots, len(pieces), ids.buffer_info()[0]))
            buffers = [
                Buffer(self, id, p.memory, remote=p.remote, perm=p.perm, name=p.name)
                for id, p in zip(ids, pieces, strict=True)
            ]
            self._registry.add(buffers)
        return buffers

    def _find(self, low: int, high: int) -> Buffer | None:
        with self._lock:
            return self._registry.find(low, high)

    def _grant(self, buffer: Buffer, **keywords: Any) -> Grant:
        return make_grant(self, buffer, **keywords)

    # ---- drain ---------------------------------------------------------------------------------------------------

    def drain(self, items: Drainable | Iterable[Drainable], *, timeout: float | None = None) -> DrainReport:
        """Closes buffers and grants (or one of them) together, for the price of one; see Buffer.close."""
        report = DrainReport()
        for part in self._begin_drain(items, timeout):
            if isinstance(part, Task):
                with contextlib.suppress(Closed):  # the engine was closed meanwhile, and that drained it
                    report += DrainReport.from_dict(part.wait())
            else:
                report += part
        return report

    async def adrain(self, items: Drainable | Iterable[Drainable], *, timeout: float | None = None) -> DrainReport:
        """The same in asyncio. Cancelling the await lets the drain go on."""
        report = DrainReport()
        for part in self._begin_drain(items, timeout):
            if isinstance(part, Task):
                with contextlib.suppress(Closed):
                    report += DrainReport.from_dict(await part.wait_async())
            else:
                report += part
        return report

    def _begin_drain(self, items: Drainable | Iterable[Drainable], timeout: float | None) -> list[Task | DrainReport]:
        within = milliseconds(timeout, "timeout", none=-1, zero=True)
        if isinstance(items, Drainable):
            items = [items]
        if not isinstance(items, Iterable):
            raise InvalidType(f"drain: want buffers and grants, got {type(items).__name__}")
        unique = list(dict.fromkeys(items))
        for item in unique:
            if not isinstance(item, Drainable):
                raise InvalidType(f"drain: want buffers and grants, got {type(item).__name__}")
            if item.engine is not self:
                raise InvalidArgument(f"drain: {item!r} belongs to another engine")
        core = self._core
        with self._lock:
            fresh = [item for item in unique if item._state == "open"]
            if fresh:
                core.require_open()
                ids = array("Q", [item.id for item in fresh])
                task = core.start(
                    f"draining {fresh[0]!r}" + (f" and {len(fresh) - 1} more" if len(fresh) > 1 else ""),
                    core.library.te_buffer_drain,
                    ids.buffer_info()[0],
                    len(ids),
                    within,
                    on_end=lambda error, result: self._drained(fresh, error, result),
                )
                for item in fresh:
                    item._closing(task)
            done = [item._report or DrainReport() for item in unique if item._state == "closed"]
            tasks = [item._drain for item in unique if item._state != "closed" and item._drain is not None]
        return [*done, *dict.fromkeys(tasks)]

    def _drained(self, items: list[Drainable], error: TransferError | None, result: Result) -> None:
        """The drain's end: memory is released only if it ended well, or with the engine."""
        report = DrainReport.from_dict(result)
        with self._lock:
            for item in items:
                if error is None or isinstance(error, Closed):
                    item._ended("closed", report)
                else:
                    _quarantine.append(item)
                    item._ended("quarantined", None)
                if isinstance(item, Buffer):
                    self._registry.remove(item)

    # ---- seeing --------------------------------------------------------------------------------------------------

    def notifications(self) -> list[Notification]:
        """Takes what peers sent with notify(), in order of arrival."""
        self._require_open()
        return [Notification.from_dict(entry) for entry in json.loads(self._core.query("notifications") or "[]")]

    def status(self) -> dict[str, Any]:
        """Everything about the engine: peers, paths, buffers, drains, limits."""
        self._require_open()
        status: dict[str, Any] = json.loads(self._core.query("status"))
        return status

    def metrics(self) -> str:
        """Counters in the Prometheus text format (docs/metrics.md)."""
        self._require_open()
        return self._core.query("metrics")

    def explain(self, batch: Batch) -> Explanation:
        """Which path a batch took, and why not a faster one."""
        if not isinstance(batch, Batch):
            raise InvalidType(f"batch: want a Batch, got {type(batch).__name__}")
        return batch.explain()

    # ---- end -----------------------------------------------------------------------------------------------------

    def close(self, timeout: float | None = None) -> DrainReport:
        """Drains every registration, ends what is under way, says goodbye to peers. Idempotent.

        ``timeout`` (seconds; None: ``drain_ms``) is how long peers get to acknowledge. After it the memory is the
        application's again; raises Quarantined if some could not be fenced (it is then kept). A close that is under way,
        in another thread or because the waiting was interrupted, is joined, and keeps the time that it was given first.
        """
        if not self._core.ended:
            task = self._core.begin_close(milliseconds(timeout, "timeout", none=-1, zero=True))
            try:
                result = task.wait()
            except TransferError as error:
                self._finish(error, {})
                raise
            self._finish(None, result)
        return self._report or DrainReport()

    async def aclose(self, timeout: float | None = None) -> DrainReport:
        """The same in asyncio. Cancelling the await lets the closing go on."""
        # On a thread: the eventfd that other waits rest on ends with the engine.
        return await asyncio.get_running_loop().run_in_executor(None, self.close, timeout)

    def _finish(self, error: TransferError | None, result: Result) -> None:
        self._core.end()
        with self._lock:
            if self._report is None:
                self._report = DrainReport.from_dict(result)
            for buffer in self._registry:
                if error is not None and not isinstance(error, Closed):
                    _quarantine.append(buffer)
                    buffer._ended("quarantined", None)
                else:
                    buffer._ended("closed", self._report)
                self._registry.remove(buffer)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at {', '.join(self._info.addresses)}"
        return f"<Engine {self.name!r} {state}, instance {self.instance[:8]}>"
