"""Completions for asyncio: the engine's eventfd, watched by each running loop that waits for something of it.

One eventfd serves the engine. Whoever reads it looks through everything that is waited for, in whatever loop, so a wake
that one loop takes is never lost to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import Protocol


class Awaitable(Protocol):
    """Something under way in the library."""

    def poll(self) -> bool:
        """Whether it is final; never blocks."""

    def arm(self) -> None:
        """Makes the eventfd fire when it gets final, at once if it is."""


class _Loop:
    """What one event loop waits for, and its own duplicate of the eventfd (closing the engine's leaves it valid)."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        self.waiting: dict[asyncio.Future[None], Awaitable] = {}


class Events:
    """The waiters of one engine, in all loops."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        os.set_blocking(fd, False)

    async def wait(self, item: Awaitable) -> None:
        """Returns when `item` is final. Cancelling this cancels the wait, never the item."""
        if item.poll():
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._enter(loop, future, item)
        try:
            item.arm()
            if not item.poll():
                await future
        finally:
            self._leave(loop, future)

    def close(self) -> None:
        """Wakes everybody; the engine is gone, so every poll() gives an answer now."""
        self._wake(None, everything=True)

    def _enter(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None], item: Awaitable) -> None:
        with self._lock:
            entry = self._loops.get(loop)
            first = entry is None
            if entry is None:
                entry = self._loops[loop] = _Loop(self._fd)
            entry.waiting[future] = item
        if first:
            loop.add_reader(entry.fd, self._ready, loop, entry.fd)

    def _leave(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
        with self._lock:
            entry = self._loops[loop]
            del entry.waiting[future]
            if entry.waiting:
                return
            del self._loops[loop]
        loop.remove_reader(entry.fd)
        os.close(entry.fd)

    def _ready(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, 8)
        self._wake(loop)

    def _wake(self, running: asyncio.AbstractEventLoop | None, *, everything: bool = False) -> None:
        with self._lock:
            found = [(loop, f, item) for loop, entry in self._loops.items() for f, item in entry.waiting.items()]
        for loop, future, item in found:
            if not everything and not item.poll():
                continue
            if loop is running:
                _resolve(future)
            else:
                with contextlib.suppress(RuntimeError):  # that loop was closed meanwhile
                    loop.call_soon_threadsafe(_resolve, future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
