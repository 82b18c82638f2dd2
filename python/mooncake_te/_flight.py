"""Flight: a submitted batch as the core sees it: its native handle, its status words, and the memory that it uses."""

from __future__ import annotations

import ctypes
import json
import threading
from array import array
from typing import TYPE_CHECKING, Any

from . import _abi, _native
from ._errors import Closed, TransferError

if TYPE_CHECKING:
    from ._core import Core


class Flight:
    """Held by the core until it is final and freed, and by its Batch while the application has that.

    The status words lie in memory of the library and are read without a call. Once final, or before the engine is
    destroyed, they are copied, so that no read ever meets freed memory: `_lock` orders the two.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_explained",
        "_freed",
        "_keep",
        "_lock",
        "_outcomes",
        "_status",
        "final",
        "handle",
        "requests",
    )

    def __init__(self, core: Core, handle: int, status: int, requests: int, keep: tuple[Any, ...]) -> None:
        self._core = core
        self.handle = handle
        self.requests = requests
        self._lock = threading.Lock()
        self._status = _abi.BatchStatus.from_address(status)
        self._keep = keep  # the memory itself, until local quiet
        self.final = False
        self._freed = False
        self._explained: dict[str, Any] | None = None
        self._outcomes: tuple[bytes, array[int]] | None = None

    def poll(self) -> bool:
        """Whether it is final: nothing reads or writes local memory any more."""
        if self.final:
            return True
        _native.ensure_not_forked()
        with self._lock:
            if not self.final and self._status.state:
                self._settle()
            return self.final

    def status(self) -> _abi.BatchStatus:
        """A copy of the status words."""
        _native.ensure_not_forked()
        with self._lock:
            if not self.final and self._status.state:
                self._settle()
            return self._status if self.final else _abi.BatchStatus.from_buffer_copy(self._status)

    def _settle(self) -> None:
        self._status = _abi.BatchStatus.from_buffer_copy(self._status)
        self._keep = ()
        self.final = True

    def sleep(self, milliseconds: int) -> None:
        """Blocks in the library until final, at most so long."""
        code = self._core.library.te_batch_wait(self._core.handle, self.handle, milliseconds)
        if code not in (_abi.OK, _abi.WAIT_TIMEOUT) and not self.poll():
            raise self._core.library.error(code)

    def arm(self) -> None:
        """Makes the eventfd fire at the end."""
        with self._lock:
            if not self._freed:
                self._core.library.te_batch_arm(self._core.handle, self.handle)

    def cancel(self) -> None:
        """Asks the library to give up."""
        with self._lock:
            if not self.final and not self._freed:
                self._core.library.check(self._core.library.te_batch_cancel(self._core.handle, self.handle))

    def explain(self) -> dict[str, Any]:
        """The library's account of it."""
        _native.ensure_not_forked()
        with self._lock:
            if self._explained is not None:
                return self._explained
            if self._freed:
                raise Closed("the batch's engine was closed before it could be explained")
            return self._ask()

    def _ask(self) -> dict[str, Any]:
        library = self._core.library
        account: dict[str, Any] = json.loads(library.text(library.te_batch_explain, self._core.handle, self.handle))
        if self.final:
            self._explained = account
        return account

    def outcomes(self) -> tuple[bytes, array[int]]:
        """Outcome and cause of each request, as numbers."""
        with self._lock:
            if self._outcomes is not None:
                return self._outcomes
            if self._freed:
                raise Closed("the batch's engine was closed before its outcomes were asked for")
            return self._fetch()

    def _fetch(self) -> tuple[bytes, array[int]]:
        outcomes = (ctypes.c_uint8 * self.requests)()
        causes = (ctypes.c_int32 * self.requests)()
        library = self._core.library
        library.check(
            library.te_batch_outcomes(
                self._core.handle, self.handle, 0, self.requests, ctypes.addressof(outcomes), ctypes.addressof(causes)
            )
        )
        fetched = bytes(outcomes), array("i", causes)
        if self.final:
            self._outcomes = fetched
        return fetched

    def reap(self) -> bool:
        """For the reaper: frees it once it is final."""
        if not self.poll():
            return False
        self.free()
        return True

    def free(self) -> None:
        """Frees the native batch; it is final and nobody will ask again."""
        with self._lock:
            if self._freed:
                return
            self._freed = True
        core = self._core
        core.library.te_batch_free(core.handle, self.handle)
        core.flights.pop(self.handle, None)  # one step, so it needs no lock

    def detach(self) -> None:
        """The engine is about to be destroyed: copies what a Batch may still be asked for."""
        with self._lock:
            if self._freed:
                return
            if self._status.outcome != _abi.COMPLETED or not self._status.state:
                self._copy_account()
            self._settle()
            self._freed = True

    def _copy_account(self) -> None:
        try:
            self._explained = self._ask()
            self._outcomes = self._fetch()
        except TransferError:
            pass  # the library gave nothing for it; the status words are all there is
