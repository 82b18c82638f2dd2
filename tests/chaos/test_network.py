"""Bad networks with real sockets: each test has a hub that owns memory, a peer whose link is bad, and one whose is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from network import HUB_ADDRESS, Network

SIZE = 4 << 20
DETECTION = {"heartbeat_ms": 200, "dial_timeout_ms": 1000, "open_timeout_ms": 3000}
# Deadline and detection are a second or two; what else a busy machine needs is in here.
SOON = 25.0
LOST = {"PEER_DEAD", "PEER_UNREACHABLE", "STALE_INSTANCE", "DEADLINE", "STALLED", "FENCED", "COMPLETED"}


class Scene:
    def __init__(self, net: Network, start_peer: Callable[..., Any]) -> None:
        self.net = net
        self.owner = start_peer("owner", f"{HUB_ADDRESS}:0", net.hub, **DETECTION)
        self.bad = start_peer("bad", f"{net.address('bad')}:0", net.namespace("bad"), **DETECTION)
        self.good = start_peer("good", f"{net.address('good')}:0", net.namespace("good"), **DETECTION)
        self.target = self.owner.must("register", size=SIZE)
        self.shared = self.owner.must("register", size=1 << 20)
        self.where = {"address": self.owner.address, "handle": self.target["handle"]}
        self.bad.must("write", operation=1, **self.where)
        self.calm = self.measure(1.0)

    def begin(self) -> None:
        where = {"address": self.owner.address, "handle": self.shared["handle"]}
        self.good.must("run", writer=self.owner.instance, **where)

    def end(self) -> Any:
        seen = self.good.must("halted")
        assert (seen["failures"], seen["wrong"]) == ({}, 0), seen
        assert seen["count"] > 0
        return seen

    def measure(self, seconds: float) -> Any:
        self.begin()
        time.sleep(seconds)
        return self.end()

    def say(self, what: str, seen: Any) -> None:
        print(
            f"{what}: the other peer's p99 {seen['p99']:.1f} ms over {seen['count']} reads "
            f"({self.calm['p99']:.1f} ms over {self.calm['count']} before)"
        )

    def recovered(self) -> None:
        """The bad peer writes again, to a buffer that is as its owner left it."""
        deadline = time.monotonic() + 60
        target = self.owner.must("register", again=self.target["id"])
        while True:
            said = self.bad.ask("write", address=self.owner.address, handle=target["handle"], operation=9, deadline=5)
            if not said.get("error"):
                break
            assert time.monotonic() < deadline, said
        assert self.owner.must("verify", id=target["id"], writer=self.bad.instance, operation=9)["wrong"] == []


@pytest.fixture
def scene(start_peer: Callable[..., Any]) -> Iterator[Scene]:
    with Network(["bad", "good"]) as net:
        yield Scene(net, start_peer)


@pytest.mark.parametrize("lost", ["to the owner", "from the owner", "both"])
def test_cut(scene: Scene, lost: str) -> None:
    """Packets of one direction vanish without a word: what was under way ends, the owner's drain as well."""
    scene.net.slow("bad", 200)  # so that there is something under way
    scene.begin()
    scene.bad.must("fly", operation=2, count=30, **scene.where)
    if lost != "from the owner":
        scene.net.lose("bad", to_hub=True)
    if lost != "to the owner":
        scene.net.lose("bad", to_hub=False)
    began = time.monotonic()
    report = scene.owner.must("close", id=scene.target["id"], timeout=1)
    closed = time.monotonic() - began
    ends = scene.bad.must("landed")["ends"]
    took = time.monotonic() - began
    seen = scene.end()
    assert closed < SOON, report
    assert took < SOON
    assert set(ends) <= LOST | {"STALE_BUFFER", "REVOKED", "DRAINING"}, ends
    assert set(ends) != {"COMPLETED"}
    # The owner has its memory back: not a byte comes late, also not when the packets that were held up get through.
    scene.net.heal()
    time.sleep(1)
    assert scene.owner.must("verify", id=scene.target["id"])["wrong"] == []
    scene.say(f"cut {lost}: drain {closed:.1f} s, operations {took:.1f} s {dict(ends)}", seen)
    scene.recovered()


def test_deadline_in_a_cut(scene: Scene) -> None:
    """An operation with a deadline does not wait for the detection of the cut."""
    scene.net.lose("bad", to_hub=False)
    said = scene.bad.ask("write", operation=3, deadline=0.3, **scene.where)
    assert said["error"] in LOST - {"COMPLETED"}, said
    assert said["seconds"] < SOON
    scene.net.heal()
    scene.recovered()


def test_zero_window(scene: Scene) -> None:
    """A peer stops taking what it asked for, so that its window closes: the owner drains in time and serves others."""
    scene.begin()
    scene.bad.send("run", kind="read", writer=scene.owner.instance, **scene.where)
    time.sleep(0.3)
    scene.bad.stop()
    began = time.monotonic()
    report = scene.owner.must("close", id=scene.target["id"], timeout=1)
    closed = time.monotonic() - began
    assert closed < SOON, report
    assert scene.bad.instance in report["timed_out"] or scene.bad.instance in report["fenced"], report
    time.sleep(1)
    seen = scene.end()
    scene.bad.resume()
    assert scene.bad.reply() == {}
    assert scene.bad.must("halted", after_failure=True)["failures"], "the memory is gone, so its reads must fail"
    assert scene.owner.must("verify", id=scene.target["id"])["wrong"] == []
    scene.say(f"zero window: drain {closed:.1f} s", seen)
    scene.recovered()


@pytest.mark.parametrize("within", [0, 1])
def test_slow_peer(scene: Scene, within: float) -> None:
    """A link of 16 Mbit/s: the drain waits for it no longer than D and the fence, and the other peer reads at its speed.

    With D = 0 the fence comes in the middle of a write whose bytes keep coming for seconds; none of them lands.
    """
    scene.net.slow("bad", 16)
    scene.begin()
    scene.bad.must("fly", operation=4, count=4, **scene.where)
    time.sleep(2)
    seen = scene.end()
    began = time.monotonic()
    report = scene.owner.must("close", id=scene.target["id"], timeout=within)
    closed = time.monotonic() - began
    assert closed < SOON, report
    ends = scene.bad.must("landed")["ends"]
    assert set(ends) <= LOST | {"STALE_BUFFER", "REVOKED", "DRAINING", "CANCELED"}, ends
    time.sleep(1)  # a late byte needs time to be late
    assert scene.owner.must("verify", id=scene.target["id"])["wrong"] == []
    scene.say(f"slow peer, D = {within} s: drain {closed:.1f} s, {dict(ends)}", seen)


def test_lossy_link(scene: Scene) -> None:
    """Two packets of a hundred get lost in each direction: slower, and every byte right."""
    scene.net.lose("bad", to_hub=True, percent=2)
    scene.net.lose("bad", to_hub=False, percent=2)
    for operation in range(10, 15):
        said = scene.bad.ask("write", operation=operation, **scene.where)
        if not said.get("error"):
            seen = scene.owner.must("verify", id=scene.target["id"], writer=scene.bad.instance, operation=operation)
            assert seen["wrong"] == []
        else:  # three heartbeats in a row may get lost or late
            assert said["error"] in LOST, said
    scene.net.heal()
    scene.recovered()
