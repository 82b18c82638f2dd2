"""Task: something under way in the library that is not a transfer: open, refresh, drain, ping, notify, close."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _abi, _native
from ._errors import Closed, TransferError
from ._waiting import wait_until

if TYPE_CHECKING:
    from ._core import Core

Result = dict[str, Any]


class Task:
    """Waits for a te_task once, however many threads wait, and keeps its result.

    `on_end(error, result)` is called exactly once, in whichever thread sees the end; tasks that hold memory (drains) are
    handed to the engine's reaper when the waiting is interrupted, so that it is called for them in any case.
    """

    def __init__(
        self,
        core: Core,
        handle: int,
        what: str,
        on_end: Callable[[TransferError | None, Result], None] | None = None,
    ) -> None:
        self._core = core
        self._handle = handle
        self._what = what
        self._on_end = on_end
        self._lock = threading.Lock()
        self._done = False
        self._error: TransferError | None = None
        self._result: Result = {}

    def __repr__(self) -> str:
        return f"<Task {self._what} {'done' if self._done else 'under way'}>"

    def poll(self) -> bool:
        """Whether it has ended."""
        return self._done or self._look(0)

    reap = poll

    def arm(self) -> None:
        """Makes the engine's eventfd fire at the end."""
        with self._lock:
            if not self._done:
                self._core.library.te_task_arm(self._core.handle, self._handle)

    def wait(self, timeout: float | None = None) -> Result:
        """The result; raises the task's error, or WaitTimeout while it goes on."""
        try:
            wait_until(self.poll, self._look, timeout, lambda: self._what)
        except BaseException:
            self._abandon()
            raise
        return self._outcome()

    async def wait_async(self) -> Result:
        """The same in asyncio. Cancelling the wait lets the task go on."""
        try:
            await self._core.events.wait(self)
        except BaseException:
            self._abandon()
            raise
        return self._outcome()

    @property
    def result(self) -> Result:
        """What it brought, once it ended; empty after an error."""
        return self._result

    def settle(self, error: TransferError) -> None:
        """Ends it here: the engine was destroyed."""
        with self._lock:
            if not self._done:
                self._end(error)

    def _abandon(self) -> None:
        if not self._done and not _native.forked():
            self._core.reaper.adopt(self)

    def _look(self, milliseconds: int) -> bool:
        """Waits in the library without a lock (several threads may), then settles under it."""
        _native.ensure_not_forked()
        code = self._core.library.te_task_wait(self._core.handle, self._handle, milliseconds)
        if code == _abi.WAIT_TIMEOUT:
            return self._done
        error = None if code == _abi.OK else self._core.library.error(code)
        with self._lock:
            if not self._done:
                self._end(error)
        return True

    def _end(self, error: TransferError | None) -> None:
        library, handle = self._core.library, self._core.handle
        if error is None:
            try:
                self._result = json.loads(library.text(library.te_task_result, handle, self._handle) or "{}")
            except TransferError as failure:
                error = failure
        library.te_task_free(handle, self._handle)
        self._error = error
        on_end, self._on_end = self._on_end, None
        try:
            if on_end is not None:
                on_end(error, self._result)
        finally:
            self._done = True

    def _outcome(self) -> Result:
        if self._error is not None:
            # A fresh traceback for each waiter; the cause stays the same object.
            raise self._error.with_traceback(None)
        return self._result


def closed(what: str) -> Closed:
    """The error of everything on something that was closed."""
    return Closed(f"{what} is closed")
