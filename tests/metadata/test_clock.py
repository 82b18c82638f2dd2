"""Wall clocks that jump a day: leases, versions, drains and readers go by other clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from etcd import Etcd, Head
from named import LEASE_SECONDS
from scene import BOUND, Scene, until

DAY = 86_400


@pytest.mark.parametrize("seconds", [DAY, -DAY], ids=["forward", "back"])
def test_wall_clock_steps(etcd3: Etcd, node: str, start_named: Callable[..., Any], seconds: int) -> None:
    scene = Scene(etcd3.url, node, start_named)
    owner, reader = scene.owner, scene.reader
    before = _head(etcd3, node)
    scene.begin()
    for peer in (owner, reader):
        assert abs(peer.must("step_clock", seconds=seconds)["stepped"] - seconds) < 5
    versions = [before.version]
    began = time.monotonic()
    while time.monotonic() - began < LEASE_SECONDS + 1:  # a lease that went by this clock would be over
        scene.changes()
        versions.append(_head(etcd3, node).version)
    ownership = owner.metadata()["ownership"]
    assert ownership["state"] == "OWNING"
    assert (ownership["counters"]["fenced"], ownership["counters"]["expired"]) == (0, 0)
    after = _head(etcd3, node)
    assert after.epoch == before.epoch, "the lease was lost"
    assert versions == sorted(versions), "a version went back"
    assert versions[-1] > versions[0]
    # Versions are microseconds of the wall clock where it goes forward, which shows that the core saw it jump.
    assert (versions[-1] - versions[0] > 0.9e6 * DAY) == (seconds > 0)
    more = owner.must("register", size=4096)
    until(lambda: _head(etcd3, node).version > versions[-1], BOUND, "the change was not published")
    report = owner.must("close", id=more["id"])
    assert report["seconds"] < BOUND
    assert report["timed_out"] == []
    assert reader.metadata()["names"][0]["fresh"]
    # A successor whose clock is right goes on above the version that it finds.
    last = _head(etcd3, node)
    successor = start_named(node, etcd3.url, takeover=True)
    assert _head(etcd3, node).version > last.version
    owner.until("FENCED")
    kept = successor.must("register", size=4096)
    # The loop reads the old owner's buffer, whose handle is refused from here on: it ends before.
    said = reader.must("halted")
    assert said["wrong"] == 0
    assert set(said["failures"]) <= {"STALE_INSTANCE"}
    said = reader.must("follow", name=node, handle=kept["handle"], writer=successor.instance)
    assert said["wrong"] == []


def _head(etcd: Etcd, name: str) -> Head:
    head = etcd.head(name)
    assert head is not None, f"nothing lies under {name}"
    return head
