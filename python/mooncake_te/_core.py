"""Core: one te_engine handle, what is under way on it, and its orderly end.

The core holds every flight (a submitted batch) until it is final, and every drain until its memory may be released, so
that a dropped Batch, a cancelled await or an interrupted close frees nothing too early.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import ctypes
import json
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _native
from ._aio import Events
from ._errors import Closed, TransferError, WaitTimeout
from ._reaper import Reaper
from ._task import Result, Task

if TYPE_CHECKING:
    from ._flight import Flight
    from ._quick import Scratch

_EXIT_SECONDS = 2.0  # for all engines together, at interpreter exit
_EXIT_DRAIN_MS = 200  # of those, for peers to acknowledge: a healthy one needs a round trip

_live: set[Core] = set()
_live_lock = threading.Lock()


class Core:
    """The handle and its bookkeeping. Thread-safe."""

    def __init__(self, document: str) -> None:
        self.library = _native.load()
        out = ctypes.c_uint64()
        self.library.check(self.library.te_engine_create(document.encode(), ctypes.byref(out)))
        self.handle: int = out.value
        self.lock = threading.Lock()
        self.submitting = threading.Lock()  # a flight is entered before end() looks for the last time
        self.scratch: Scratch | None = None  # under `submitting`
        self.flights: dict[int, Flight] = {}
        self.dropped: deque[Flight] = deque()  # final and without an owner: freed at the next submit
        self._tasks: weakref.WeakSet[Task] = weakref.WeakSet()
        self._exports = 0  # engine-owned memory that arrays of the application still use
        self._closing: Task | None = None
        self._ended = threading.Event()
        self._destroying = False
        try:
            fd = ctypes.c_int(-1)
            self.library.check(self.library.te_engine_event_fd(self.handle, ctypes.byref(fd)))
            self.events = Events(fd.value)
            self.info: dict[str, Any] = json.loads(self.query("info"))
            self.reaper = Reaper(f"mooncake_te {self.info.get('name', '')}".strip())
        except BaseException:
            self.library.te_engine_destroy(self.handle)
            raise
        with _live_lock:
            _live.add(self)

    @property
    def closed(self) -> bool:
        """Whether closing has begun."""
        return self._closing is not None or self._ended.is_set()

    def require_open(self) -> None:
        """Refuses everything in a forked child and on a closed engine."""
        _native.ensure_not_forked()
        if self.closed:
            raise Closed(f"engine {self.info.get('name') or self.info.get('instance', '')[:8]!r} is closed")

    def query(self, what: str) -> str:
        """te_engine_query."""
        _native.ensure_not_forked()
        return self.library.text(self.library.te_engine_query, self.handle, what.encode())

    def start(
        self,
        what: str,
        function: Callable[..., int],
        *arguments: Any,
        on_end: Callable[[TransferError | None, Result], None] | None = None,
    ) -> Task:
        """Calls a te_* function that begins a task."""
        out = ctypes.c_uint64()
        self.library.check(function(self.handle, *arguments, ctypes.byref(out)))
        task = Task(self, out.value, what, on_end)
        with self.lock:
            self._tasks.add(task)
        return task

    def sweep(self) -> None:
        """Frees batches that ended and were dropped."""
        with contextlib.suppress(IndexError):
            while True:
                self.dropped.popleft().free()

    def begin_close(self, within_ms: int) -> Task:
        """Starts closing; the second caller gets the first one's task."""
        _native.ensure_not_forked()
        with self.lock:
            if self._closing is None:
                out = ctypes.c_uint64()
                self.library.check(self.library.te_engine_close(self.handle, within_ms, ctypes.byref(out)))
                self._closing = Task(self, out.value, "closing the engine")
            return self._closing

    def end(self) -> None:
        """Takes copies of what can still be asked for, then frees the native engine. Idempotent; others wait for it."""
        with self.submitting, self.lock:
            first, self._destroying = not self._destroying, True
            flights, tasks = list(self.flights.values()), list(self._tasks)
        if not first:
            self._ended.wait()
            return
        try:
            self.reaper.stop(timeout=1.0)
            for flight in flights:
                flight.detach()
            if self._exports == 0:
                self.library.te_engine_destroy(self.handle)
            for task in [*tasks, *([self._closing] if self._closing else [])]:
                task.settle(Closed("the engine was closed"))
        finally:
            self._ended.set()
            self.events.close()
            with _live_lock:
                _live.discard(self)

    @property
    def ended(self) -> bool:
        """Whether nothing native is left."""
        return self._ended.is_set()

    def exported(self, address: int, memory: Any) -> None:
        """Engine-owned memory lives as long as anything of the application (an array, a view) uses `memory`."""
        with self.lock:
            self._exports += 1
        weakref.finalize(memory, self._unused, address).atexit = False

    def _unused(self, address: int) -> None:
        """A finalizer: no lock, no waiting."""
        if _native.forked():
            return
        release = _Release(self, address)
        if not self._destroying:
            self.reaper.adopt(release)
            return
        with contextlib.suppress(RuntimeError):  # the interpreter is ending, and the memory with it
            _thread.start_new_thread(release.reap, ())

    def release(self, address: int) -> None:
        """Frees engine-owned memory, or the engine if that was all that it still lived for."""
        with self.lock:
            self._exports -= 1
            destroying, last = self._destroying, self._exports == 0
        if not destroying:
            self.library.te_memory_free(self.handle, address)
        elif last:
            self._ended.wait()
            self.library.te_engine_destroy(self.handle)


class _Release:
    """Engine-owned memory that nobody uses any more."""

    def __init__(self, core: Core, address: int) -> None:
        self._core, self._address = core, address

    def reap(self) -> bool:
        self._core.release(self._address)
        return True


def _close_all() -> None:
    """At interpreter exit: closes what the program left open, without waiting long for slow peers."""
    if _native.forked():
        return
    with _live_lock:
        cores = list(_live)
    tasks = []
    for core in cores:
        with contextlib.suppress(TransferError):
            tasks.append((core, core.begin_close(_EXIT_DRAIN_MS)))
    for core, task in tasks:
        try:
            task.wait(timeout=_EXIT_SECONDS / len(tasks))
        except WaitTimeout:
            # Something may still write to memory of this interpreter, which is about to tear itself down: never free it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(core))
            continue
        except TransferError:
            pass
        core.end()


def _after_fork() -> None:
    """The child has none of the threads: it forgets the engines, and calls nothing."""
    global _live_lock
    _live_lock = threading.Lock()
    _live.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
