"""Batch: transfer requests that were submitted together."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _abi, _native
from ._errors import CODES, TransferError, from_details
from ._handles import NotCopied
from ._status import Explanation, RequestOutcome
from ._waiting import wait_until

if TYPE_CHECKING:
    from ._core import Core
    from ._flight import Flight


class Batch(NotCopied):
    """One READ or WRITE of one or many ranges. Made by Segment.read and Segment.write; under way from the start.

    ``batch.wait(timeout=5)`` or ``await batch`` returns when every byte is there, or raises the TransferError of the
    first failure. Neither a wait that times out nor a cancelled await ends the batch; cancel() does. A batch that is
    dropped goes on, and its memory is held until it ends. As a context manager it is waited for at the end of the block,
    and cancelled if the block raised. Thread-safe.
    """

    _instead = "wait for it where it was submitted"
    __slots__ = ("__weakref__", "_core", "_error", "_flight", "op", "peer")

    def __init__(self, core: Core, flight: Flight, op: str, peer: str) -> None:
        self._core = core
        self._flight = flight
        self._error: TransferError | None = None
        self.op = op
        """ "read" or "write"."""
        self.peer = peer
        """Name of the segment at the other end."""

    @property
    def done(self) -> bool:
        """Whether it is final. Local memory is untouched from then on."""
        return self._flight.poll()

    @property
    def outcome(self) -> str:
        """PENDING, COMPLETED, NOT_APPLIED, UNKNOWN or PARTIAL (requests differ).

        It speaks of the *peer*: NOT_APPLIED says that no byte was written there. So a READ that did not complete is
        always NOT_APPLIED, and what its local ranges hold then is undefined: parts of them may have been filled.
        """
        status = self._flight.status()
        return _abi.OUTCOMES[status.outcome] if status.state else _abi.OUTCOMES[0]

    @property
    def remote_quiet(self) -> bool:
        """Whether nothing of it can land in the peer's memory any more. COMPLETED implies it."""
        return bool(self._flight.status().remote_quiet)

    @property
    def bytes_done(self) -> int:
        """Bytes moved so far."""
        return int(self._flight.status().bytes_done)

    @property
    def bytes_total(self) -> int:
        """Bytes asked for."""
        return int(self._flight.status().bytes_total)

    @property
    def progress(self) -> float:
        """bytes_done / bytes_total, between 0 and 1."""
        status = self._flight.status()
        return status.bytes_done / status.bytes_total if status.bytes_total else 0.0

    def __len__(self) -> int:
        """Number of transfer requests."""
        return self._flight.requests

    def wait(self, timeout: float | None = None) -> Batch:
        """Waits until every byte is there (`timeout` in seconds; None: as long as it takes) and returns the batch.

        Raises WaitTimeout, after which the batch lives on; else the error that ended the batch. Ctrl-C works.
        """
        if not self._flight.final:
            wait_until(self._flight.poll, self._flight.sleep, timeout, lambda: repr(self))
        return self._settled()

    def __await__(self) -> Generator[Any, None, Batch]:
        """The same for asyncio. Cancelling the await does not cancel the batch."""
        yield from self._core.events.wait(self._flight).__await__()
        return self._settled()

    def cancel(self) -> None:
        """Asks to give up. The batch still ends by itself, soon, and no other transfer fails by it."""
        _native.ensure_not_forked()
        self._flight.cancel()

    def error(self) -> TransferError | None:
        """Why it did not complete; None while under way and when COMPLETED."""
        status = self._flight.status()
        if not status.state or status.outcome == _abi.COMPLETED:
            return None
        if self._error is None:
            try:
                account = self._flight.explain()
            except TransferError:
                account = {}
            found = account.get("error") or {}
            details = found if isinstance(found, dict) else {"message": str(found)}
            details = {"segment": self.peer, "path": account.get("path"), **details}
            details["peer"] = account.get("peer") or details.get("peer")  # the whole instance ID, where it is known
            if str(details.get("detail") or "").startswith("local buffer"):
                details["hint"] = "it is closed on this side: use a buffer that stays open"
                details["message"] = None  # it holds the hint for a buffer that the peer took back
            self._error = from_details(
                status.cause,
                details,
                outcome=_abi.OUTCOMES[status.outcome],
                remote_quiet=bool(status.remote_quiet),
            )
        return self._error

    def outcomes(self) -> list[RequestOutcome]:
        """Outcome and cause of each request, in the order of submission."""
        _native.ensure_not_forked()
        outcomes, causes = self._flight.outcomes()
        return [
            RequestOutcome(_abi.OUTCOMES[outcome], CODES[cause]._name if cause else None)
            for outcome, cause in zip(outcomes, causes, strict=True)
        ]

    def explain(self) -> Explanation:
        """Which path it took, and why not a faster one."""
        return Explanation.from_dict(self._flight.explain())

    def _settled(self) -> Batch:
        error = self.error()
        if error is not None:
            raise error.with_traceback(None)
        return self

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        else:
            self.cancel()

    async def __aenter__(self) -> Batch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self
        else:
            self.cancel()

    def __del__(self) -> None:
        # May run anywhere, in the middle of anything: only operations that take no lock and never block.
        flight = getattr(self, "_flight", None)
        if flight is None or _native.forked():
            return
        if flight.final:
            self._core.dropped.append(flight)
        else:
            self._core.reaper.adopt(flight)

    def __repr__(self) -> str:
        if _native.forked():
            return f"<Batch {self.op} {self.peer}: in a forked child>"
        status = self._flight.status()
        text = _abi.OUTCOMES[status.outcome] if status.state else "PENDING"
        if status.state and status.cause and status.cause in CODES:
            text += f" ({CODES[status.cause]._name})"
        return (
            f"<Batch {self.op} {self.peer}: {self._flight.requests} request(s), "
            f"{status.bytes_done} of {status.bytes_total} bytes, {text}>"
        )
