"""The exceptions. Codes and names are those of the C ABI (capi/te.h) and the Go core (gocore/errcode).

TransferError                       every error of this package
├── InternalError                   also RuntimeError: a defect of ours; please report it
├── ForkedProcessError              also RuntimeError: used in a child made by fork()
├── BufferTooSmall                  also BufferError: only seen by callers of the C ABI
├── InvalidArgument                 also ValueError
│   └── InvalidType                 also TypeError: a value of a kind that is never right there
├── Closed                          also RuntimeError: the engine, buffer, segment or batch was closed
├── Unsupported                     also NotImplementedError: not on this machine, or not by that peer
├── ResourceExhausted               also RuntimeError: a cap was reached
├── WaitTimeout                     also TimeoutError: the *wait* ended; the batch or task lives on
├── StaleHandle                     also LookupError: what the handle names is gone; it never points elsewhere
│   ├── StaleInstance               the peer was replaced or restarted
│   └── StaleBuffer                 the buffer or grant does not exist (any more)
│       ├── Draining                its owner is withdrawing it
│       └── Revoked                 its owner withdrew this grant
├── PeerUnreachable                 also ConnectionError
│   └── RailDown                    this way to the peer is down
├── PeerDead                        also ConnectionError
├── MetadataError
│   ├── MetadataUnavailable         also ConnectionError
│   ├── MetadataRefused             also PermissionError
│   ├── MetadataInvalid             also ValueError
│   ├── SegmentNotFound             also LookupError
│   ├── SegmentGone                 also LookupError
│   ├── SegmentOwned                also RuntimeError
│   └── VersionSkew                 also RuntimeError: no protocol version in common
├── Fenced                          also ConnectionError: cut off by the owner
├── Quarantined                     also RuntimeError: could not be fenced; the memory must stay mapped
├── OutOfBounds                     also IndexError
├── PermissionDenied                also PermissionError
├── DeadlineExceeded                also TimeoutError: the *transfer* was ended by its deadline
├── Stalled                         also TimeoutError: no progress for too long
├── Canceled                        cancel() was called, or the engine closed
├── ChecksumMismatch                also OSError
└── MemoryFault                     also BufferError: memory was unmapped or its file was cut off
"""

from __future__ import annotations

from typing import Any, ClassVar


class TransferError(Exception):
    """Base of every error of this package.

    Attributes are None where unknown or not applicable:

    - ``code``, ``name``: number and name of the error table, the same in C, Go and Python.
    - ``op``: what was tried. ``detail``: what was wrong. ``hint``: what to do about it.
    - ``segment``, ``peer``, ``device``, ``path``: with whom and over what. ``peer`` is the instance ID for a transfer; other
      calls may only know its beginning and an address.
    - ``outcome``: for a transfer: ``"NOT_APPLIED"`` (at the peer; after a failed READ the local range is undefined),
      ``"UNKNOWN"`` or ``"PARTIAL"``.
    - ``remote_quiet``: for a transfer: False if something of it may still land in the peer's memory.
    """

    code: int = 0
    name: str = "OK"
    _code: ClassVar[int] = -1
    _name: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        detail: str = "",
        *,
        code: int | None = None,
        name: str | None = None,
        op: str | None = None,
        segment: str | None = None,
        peer: str | None = None,
        device: str | None = None,
        path: str | None = None,
        hint: str | None = None,
        outcome: str | None = None,
        remote_quiet: bool | None = None,
        message: str | None = None,
    ) -> None:
        self.code = self._code if code is None else code
        self.name = self._name if name is None else name
        self.detail = detail
        self.op = op
        self.segment = segment
        self.peer = peer
        self.device = device
        self.path = path
        self.hint = hint
        self.outcome = outcome
        self.remote_quiet = remote_quiet
        self._message = message
        super().__init__(detail)

    def __str__(self) -> str:
        """One line: what was tried, the name, what was wrong, with whom, and what to do."""
        text = self._message or self._compose()
        if self.outcome:
            text += f" [outcome {self.outcome}]"
        if self.remote_quiet is False:
            text += " [not remote quiet: something of it may still land in the peer's memory]"
        return text

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def _compose(self) -> str:
        text = f"{self.op}: " if self.op else ""
        text += self.name
        if self.detail:
            text += f": {self.detail}"
        for field in ("segment", "peer", "device", "path"):
            value = getattr(self, field)
            if value:
                text += f" [{field} {value}]"
        if self.hint:
            text += f" ({self.hint})"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes whole (the built-in bases alone would keep only the text)."""
        fields = ("code", "name", "op", "segment", "peer", "device", "path", "hint", "outcome", "remote_quiet")
        keywords = {field: getattr(self, field) for field in fields}
        return _rebuild, (type(self), self.detail, {**keywords, "message": self._message})


def _rebuild(kind: type[TransferError], detail: str, keywords: dict[str, Any]) -> TransferError:
    return kind(detail, **keywords)


class InternalError(TransferError, RuntimeError):
    """A defect of this package. Please report it with its text."""

    _code, _name = -1, "INTERNAL"


class ForkedProcessError(TransferError, RuntimeError):
    """An engine's library was used in a child made by fork(), where the engine's threads do not exist."""

    _code, _name = -2, "FORKED"


class BufferTooSmall(TransferError, BufferError):
    """An output buffer of the C ABI was too small. This package never lets it out."""

    _code, _name = -3, "BUFFER_TOO_SMALL"


class InvalidArgument(TransferError, ValueError):
    """An argument was wrong; the text names it and says what is right. Nothing was done."""

    _code, _name = -4, "INVALID_ARGUMENT"


class InvalidType(InvalidArgument, TypeError):
    """An argument is of a kind that is never right there, such as a float for an index."""


class Closed(TransferError, RuntimeError):
    """The engine, buffer, segment, grant or batch was closed."""

    _code, _name = -5, "CLOSED"


class Unsupported(TransferError, NotImplementedError):
    """This machine, build or peer cannot do that; the text says why."""

    _code, _name = -6, "UNSUPPORTED"


class ResourceExhausted(TransferError, RuntimeError):
    """A cap was reached; the text names it and the setting that raises it."""

    _code, _name = -7, "RESOURCE_EXHAUSTED"


class WaitTimeout(TransferError, TimeoutError):
    """The wait ended, not what was waited for: wait again, or cancel."""

    _code, _name = -8, "WAIT_TIMEOUT"


class StaleHandle(TransferError, LookupError):
    """What a handle names is gone. A handle never comes to mean something else."""


class StaleInstance(StaleHandle):
    """The peer was replaced or restarted: ask it for new handles."""

    _code, _name = -9, "STALE_INSTANCE"


class StaleBuffer(StaleHandle):
    """The buffer or grant does not exist at its owner, or not any more."""

    _code, _name = -10, "STALE_BUFFER"


class Draining(StaleBuffer):
    """Its owner is withdrawing the buffer or grant."""

    _code, _name = -11, "DRAINING"


class Revoked(StaleBuffer):
    """Its owner withdrew this grant."""

    _code, _name = -12, "REVOKED"


class PeerUnreachable(TransferError, ConnectionError):
    """No connection to the peer could be made, or a name did not resolve."""

    _code, _name = -13, "PEER_UNREACHABLE"


class PeerDead(TransferError, ConnectionError):
    """The peer stopped answering or ended."""

    _code, _name = -14, "PEER_DEAD"


class MetadataError(TransferError):
    """Something about a segment's published metadata."""


class MetadataUnavailable(MetadataError, ConnectionError):
    """The metadata store or the peer's descriptor could not be had."""

    _code, _name = -15, "METADATA_UNAVAILABLE"


class MetadataRefused(MetadataError, PermissionError):
    """The store or the peer refused this engine."""

    _code, _name = -16, "METADATA_REFUSED"


class MetadataInvalid(MetadataError, ValueError):
    """A descriptor was incomplete or damaged; it was not used."""

    _code, _name = -17, "METADATA_INVALID"


class SegmentNotFound(MetadataError, LookupError):
    """There is no segment of that name."""

    _code, _name = -18, "SEGMENT_NOT_FOUND"


class SegmentGone(MetadataError, LookupError):
    """The segment was withdrawn by its owner."""

    _code, _name = -19, "SEGMENT_GONE"


class SegmentOwned(MetadataError, RuntimeError):
    """Another live engine owns that segment name."""

    _code, _name = -20, "SEGMENT_OWNED"


class Fenced(TransferError, ConnectionError):
    """The owner cut this engine off, because it did not answer a drain in time."""

    _code, _name = -21, "FENCED"


class Quarantined(TransferError, RuntimeError):
    """Memory could not be fenced. It must stay mapped, and this package keeps it so."""

    _code, _name = -22, "QUARANTINED"


class OutOfBounds(TransferError, IndexError):
    """A range is not inside the buffer, or not inside one granted range of it."""

    _code, _name = -23, "OUT_OF_BOUNDS"


class PermissionDenied(TransferError, PermissionError):
    """The operation is not among those that the owner allows, or local memory is read-only."""

    _code, _name = -24, "PERMISSION"


class DeadlineExceeded(TransferError, TimeoutError):
    """The transfer was ended by its own deadline."""

    _code, _name = -25, "DEADLINE"


class Stalled(TransferError, TimeoutError):
    """The transfer was ended because nothing moved for too long."""

    _code, _name = -26, "STALLED"


class Canceled(TransferError):
    """The transfer was given up by cancel() or by closing the engine."""

    _code, _name = -27, "CANCELED"


class ChecksumMismatch(TransferError, OSError):
    """Bytes arrived damaged, twice."""

    _code, _name = -28, "CHECKSUM"


class MemoryFault(TransferError, BufferError):
    """Registered memory was not there: unmapped without closing its buffer, or its file was cut off."""

    _code, _name = -29, "MEMORY_FAULT"


class RailDown(PeerUnreachable):
    """One way to the peer is down."""

    _code, _name = -30, "RAIL_DOWN"


class VersionSkew(MetadataError, RuntimeError):
    """The two engines speak no common protocol version."""

    _code, _name = -31, "VERSION_SKEW"


def _tree(kind: type[TransferError]) -> list[type[TransferError]]:
    found = [kind]
    for child in kind.__subclasses__():
        found += _tree(child)
    return found


# Code -> class, from the classes themselves. InvalidType shares its parent's code and is never made from a code.
CODES: dict[int, type[TransferError]] = {
    kind._code: kind for kind in _tree(TransferError) if "_code" in vars(kind) and kind is not TransferError
}


def from_details(code: int, details: dict[str, Any], **more: Any) -> TransferError:
    """Makes the exception of a code from the library's JSON about a failure (te_last_error, or "error" of explain)."""
    kind = CODES.get(code, InternalError)

    def text(key: str) -> str | None:
        value = details.get(key)
        return str(value) if value else None

    return kind(
        text("detail") or "",
        code=code,
        name=text("name") or kind._name,
        op=text("op"),
        segment=text("segment"),
        peer=text("peer"),
        device=text("device"),
        path=text("path"),
        hint=text("hint"),
        message=text("message"),
        **more,
    )
