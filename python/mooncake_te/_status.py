"""Small values that the engine hands out: who it is, what a drain did, what arrived, which path was taken."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class EngineInfo:
    """Who an engine is and where it listens."""

    name: str
    instance: str
    addresses: tuple[str, ...]
    data_addresses: tuple[str, ...]

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> EngineInfo:
        """From the library's JSON."""
        return cls(
            value.get("name", ""),
            value["instance"],
            tuple(value.get("addresses") or ()),
            tuple(value.get("data_addresses") or ()),
        )


@dataclass(frozen=True)
class DrainReport:
    """What a drain did. After it the memory may be freed or reused.

    No peer instance stands in two of these: ``acknowledged`` names those that promised; ``fenced`` those that lost all
    their paths before they acknowledged; ``timed_out`` those that did not answer within the drain's time and are kept out
    by the fence.
    """

    ids: tuple[int, ...] = ()
    version: int = 0
    acknowledged: tuple[str, ...] = ()
    fenced: tuple[str, ...] = ()
    timed_out: tuple[str, ...] = ()
    waited_ms: float = 0.0

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> DrainReport:
        """From the library's JSON."""
        return cls(
            tuple(value.get("ids") or ()),
            int(value.get("version") or 0),
            tuple(value.get("acknowledged") or ()),
            tuple(value.get("fenced") or ()),
            tuple(value.get("timed_out") or ()),
            float(value.get("waited_ms") or 0),
        )

    def __add__(self, other: DrainReport) -> DrainReport:
        """Two drains taken together."""
        return DrainReport(
            self.ids + other.ids,
            max(self.version, other.version),
            tuple(sorted({*self.acknowledged, *other.acknowledged})),
            tuple(sorted({*self.fenced, *other.fenced})),
            tuple(sorted({*self.timed_out, *other.timed_out})),
            max(self.waited_ms, other.waited_ms),
        )


@dataclass(frozen=True)
class Notification:
    """Bytes that a peer sent with notify()."""

    peer: str
    tag: str
    payload: bytes

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Notification:
        """From the library's JSON."""
        return cls(value.get("peer", ""), value.get("tag", ""), base64.b64decode(value.get("payload_b64") or ""))


class RequestOutcome(NamedTuple):
    """What happened to one request of a batch: an outcome, and the name of the cause (None if COMPLETED).

    NOT_APPLIED: nothing was written at the peer. For a READ that did not complete the local range is undefined.
    """

    outcome: str
    cause: str | None


@dataclass(frozen=True)
class Explanation:
    """Which path a batch took, and why not a faster one.

    ``posts`` counts, for each kind of path, the pieces that it carried; ``retries`` those that were sent again;
    ``waiting_for`` says what holds an unfinished batch up. ``details`` is the library's whole account.
    """

    path: str
    why: str
    posts: dict[str, int]
    retries: int
    waiting_for: str = ""
    details: dict[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Explanation:
        """From the library's JSON."""
        return cls(
            str(value.get("path") or ""),
            str(value.get("why") or ""),
            dict(value.get("posts") or {}),
            int(value.get("retries") or 0),
            str(value.get("waiting_for") or ""),
            value,
        )

    def __str__(self) -> str:
        text = f"path {self.path or 'none yet'}"
        if self.why:
            text += f" ({self.why})"
        if self.waiting_for:
            text += f", waiting for {self.waiting_for}"
        return text + f", {sum(self.posts.values())} post(s), {self.retries} retried"
