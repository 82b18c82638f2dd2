"""An owner and a reader in the middle of their work, while their store has trouble."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

SIZE = 256 << 10
BOUND = 5.0  # seconds, five times what is promised
SLOT_REQUESTS = 25  # a back-off from 100 ms to 5 s with jitter asks about 8 times in 10 s, and once in 2.5 to 5 s after


class Scene:
    """The reader reads the owner's buffer over and over, comparing every byte, from `begin` to `end`."""

    def __init__(self, url: str, node: str, start: Callable[..., Any]) -> None:
        self.url, self.node, self.start = url, node, start
        self.owner = start(node, url)
        self.reader = start("", url)
        self.kept = self.owner.must("register", size=SIZE)
        self.reader.must("open", address=node)

    def begin(self) -> None:
        self.asked = {op: self.reader.requests(op) for op in ("get", "watch")}
        self.began = time.monotonic()
        self.reader.must("run", address=self.node, handle=self.kept["handle"], kind="read", writer=self.owner.instance)

    def end(self) -> dict[str, Any]:
        """0 failed operations, 0 wrong bytes, no operation that stood still, and few requests to the store."""
        said = self.reader.must("halted")
        assert said["failures"] == {}, said
        assert said["wrong"] == 0, said
        assert said["count"] > 50, said
        assert said["max"] < 2000, said  # milliseconds
        seconds = time.monotonic() - self.began
        for op, before in self.asked.items():
            made = self.reader.requests(op) - before
            assert made <= SLOT_REQUESTS + seconds, f"{made} of {op} in {seconds:.0f} s"
        return dict(said)

    def refused(self, other: str) -> dict[str, Any]:
        """A new name, with the store away."""
        said = self.reader.ask("opens", name=other, timeout=1)
        assert said["error"] == "METADATA_UNAVAILABLE", said
        assert said["seconds"] < 4, said
        return dict(said)

    def changes(self) -> None:
        """Registers and drains, which nothing may hold up."""
        began = time.monotonic()
        more = self.owner.must("register", size=4096)
        report = self.owner.must("close", id=more["id"])
        assert report["timed_out"] == [], report
        assert time.monotonic() - began < BOUND

    def healed(self) -> float:
        """New readers find the owner; returns how long that took."""
        began = time.monotonic()
        fresh = self.start("", self.url)
        made = time.monotonic()
        said = fresh.must("follow", name=self.node, handle=self.kept["handle"], writer=self.owner.instance)
        assert said["wrong"] == []
        assert time.monotonic() - made < 2 * BOUND
        return time.monotonic() - began


def until(condition: Callable[[], Any], seconds: float, what: str) -> float:
    """Waits for something, and says how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.02)
    return time.monotonic() - began
