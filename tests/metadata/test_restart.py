"""Owners that are killed and started again under their name: readers follow, and no byte goes astray."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from etcd import Etcd
from named import LEASE_SECONDS

SIZE = 1 << 20
BOUND = 5.0  # seconds, five times what is promised
LOST = {"PEER_DEAD", "PEER_UNREACHABLE", "STALE_INSTANCE", "SEGMENT_GONE", "PEER_CLOSING"}


@pytest.mark.parametrize("settings", [{"takeover": True}, {"name_wait_ms": 30_000}], ids=["takeover", "wait"])
def test_restart_under_the_same_name(
    etcd3: Etcd, node: str, start_named: Callable[..., Any], settings: dict[str, Any]
) -> None:
    """Readers with open segments reach the new instance; old handles are STALE_INSTANCE; 0 foreign bytes."""
    readers = [start_named("", etcd3.url) for _ in range(2)]
    owner = start_named(node, etcd3.url)
    old = owner.must("register", size=SIZE)
    for reader in readers:
        assert reader.must("open", address=node)["instance"] == owner.instance
        reader.must("write", address=node, handle=old["handle"], operation=1)
    slowest = 0.0
    for life in range(2):
        for reader in readers:
            reader.must("fly", address=node, handle=old["handle"], operation=2, count=8)
        owner.kill()
        owner = start_named(node, etcd3.url, **settings)
        fresh = owner.must("register", size=SIZE)
        assert fresh["id"] == old["id"], "numbers count per instance: the new buffer has the old number"
        for reader in readers:
            reader.send("landed")
        for reader in readers:
            # Two write to the same place at a time: what one has checked, the other may change meanwhile.
            assert set(reader.reply()["ends"]) <= LOST | {"COMPLETED", "CHECKSUM"}
        for reader in readers:
            said = reader.ask("follow", name=node, handle=fresh["handle"], writer=owner.instance)
            assert not said.get("error"), said
            assert said["wrong"] == []
            assert set(said["met"]) <= LOST, said
            assert said["seconds"] < BOUND, said
            slowest = max(slowest, said["seconds"])
            stale = reader.ask("write", address=node, handle=old["handle"], operation=3)
            assert stale["error"] == "STALE_INSTANCE", stale
            assert stale["outcome"] == "NOT_APPLIED", stale
        assert owner.must("verify", id=fresh["id"])["wrong"] == [], f"life {life}: foreign bytes"
        for number, reader in enumerate(readers, 4):
            reader.must("write", address=node, handle=fresh["handle"], operation=number)
            assert owner.must("verify", id=fresh["id"], writer=reader.instance, operation=number)["wrong"] == []
        assert reader.must("refresh", address=node)["instance"] == owner.instance
        old = fresh
    print(f"restart -> first good transfer: {slowest * 1000:.0f} ms after the new owner had its name")


def test_a_dead_owner_goes_with_its_lease(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """After kill -9 the head is gone once the lease has run out, and `open` says that it was there."""
    owner, reader = start_named(node, etcd3.url), start_named("", etcd3.url)
    reader.must("open", address=node)
    assert reader.ask("opens", name=node, timeout=5)["instance"] == owner.instance
    owner.kill()
    deadline = time.monotonic() + LEASE_SECONDS + BOUND
    while etcd3.head(node) is not None:
        assert time.monotonic() < deadline, "the lease has run out and the head is still there"
        time.sleep(0.05)
    assert reader.must("sync")["gone"] == [node]
    assert reader.ask("opens", name=node, timeout=0.1, no_cache=True)["error"] == "SEGMENT_GONE"
