"""mooncake_te moves tensors and KV-cache blocks between the memories of processes, one-sided.

    import mooncake_te as te

    with te.Engine("decode-0") as engine:
        buffer = engine.register(tensor)
        peer = engine.open("127.0.0.1:17001")
        peer.read(into=buffer, from_=peer.buffers()[0]).wait(timeout=5)

The library behind it is loaded at the first Engine, so importing the package and forking afterwards is fine.
"""

from ._batch import Batch
from ._buffer import Buffer, BufferView, Grant
from ._engine import Engine
from ._errors import (
    BufferTooSmall,
    Canceled,
    ChecksumMismatch,
    Closed,
    DeadlineExceeded,
    Draining,
    Fenced,
    ForkedProcessError,
    InternalError,
    InvalidArgument,
    InvalidType,
    MemoryFault,
    MetadataError,
    MetadataInvalid,
    MetadataRefused,
    MetadataUnavailable,
    OutOfBounds,
    PeerDead,
    PeerUnreachable,
    PermissionDenied,
    Quarantined,
    RailDown,
    ResourceExhausted,
    Revoked,
    SegmentGone,
    SegmentNotFound,
    SegmentOwned,
    StaleBuffer,
    StaleHandle,
    StaleInstance,
    Stalled,
    TransferError,
    Unsupported,
    VersionSkew,
    WaitTimeout,
)
from ._remote import RemoteBuffer
from ._segment import Segment
from ._status import DrainReport, EngineInfo, Explanation, Notification, RequestOutcome
from ._version import __version__

__all__ = [
    "Batch",
    "Buffer",
    "BufferTooSmall",
    "BufferView",
    "Canceled",
    "ChecksumMismatch",
    "Closed",
    "DeadlineExceeded",
    "DrainReport",
    "Draining",
    "Engine",
    "EngineInfo",
    "Explanation",
    "Fenced",
    "ForkedProcessError",
    "Grant",
    "InternalError",
    "InvalidArgument",
    "InvalidType",
    "MemoryFault",
    "MetadataError",
    "MetadataInvalid",
    "MetadataRefused",
    "MetadataUnavailable",
    "Notification",
    "OutOfBounds",
    "PeerDead",
    "PeerUnreachable",
    "PermissionDenied",
    "Quarantined",
    "RailDown",
    "RemoteBuffer",
    "RequestOutcome",
    "ResourceExhausted",
    "Revoked",
    "Segment",
    "SegmentGone",
    "SegmentNotFound",
    "SegmentOwned",
    "StaleBuffer",
    "StaleHandle",
    "StaleInstance",
    "Stalled",
    "TransferError",
    "Unsupported",
    "VersionSkew",
    "WaitTimeout",
    "__version__",
]
