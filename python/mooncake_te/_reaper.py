"""Looks after what was dropped before it ended: batches without an owner, drains whose waiting was interrupted.

One sleeping daemon thread per engine. Finalizers hand things over by SimpleQueue.put, which is reentrant and never
blocks; everything that may take time or a lock happens here.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Protocol

_logger = logging.getLogger("mooncake_te")
_SHORTEST, _LONGEST = 0.002, 0.1  # seconds between two looks


class Orphan(Protocol):
    """Something that ends by itself and then has to be cleaned up."""

    def reap(self) -> bool:
        """Cleans up if it has ended; says whether it has."""


class Reaper:
    """The thread and its inbox."""

    def __init__(self, name: str) -> None:
        self._inbox: queue.SimpleQueue[Orphan | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=_run, args=(self._inbox,), name=name, daemon=True)
        self._thread.start()

    def adopt(self, orphan: Orphan) -> None:
        """Callable from finalizers."""
        self._inbox.put(orphan)

    def stop(self, timeout: float) -> None:
        """Ends the thread after one more look at everything."""
        self._inbox.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)


def _run(inbox: queue.SimpleQueue[Orphan | None]) -> None:
    orphans: list[Orphan] = []
    pause = _SHORTEST
    while True:
        try:
            item = inbox.get(timeout=pause if orphans else None)
        except queue.Empty:
            pause = min(2 * pause, _LONGEST)
        else:
            if item is None:
                break
            orphans.append(item)
            pause = _SHORTEST
        item = None
        orphans = [orphan for orphan in orphans if not _reap(orphan)]
    for orphan in orphans:
        _reap(orphan)


def _reap(orphan: Orphan) -> bool:
    try:
        return orphan.reap()
    except Exception:
        _logger.exception("cleaning up %r failed", orphan)
        return True
