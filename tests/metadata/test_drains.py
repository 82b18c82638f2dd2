"""Drains of an engine whose name lies in a store: alive, frozen or dead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from etcd import Etcd
from scene import BOUND, Scene, until


@pytest.mark.parametrize("store", ["healthy", "frozen"])
def test_a_hundred_buffers_are_one_drain(etcd3: Etcd, node: str, start_named: Callable[..., Any], store: str) -> None:
    """One round of acknowledgements, few publishes; the report names who acknowledged; the store is not waited for."""
    scene = Scene(etcd3.url, node, start_named)
    owner, reader = scene.owner, scene.reader
    made = owner.must("register_many", count=100)
    reader.must("touch", name=node, handles=made["handles"])
    until(lambda: not owner.metadata()["ownership"]["publish_pending"], BOUND, "the buffers are published")
    if store == "frozen":
        etcd3.freeze()
    publishes = owner.metadata()["ownership"]["counters"]["landed"]
    report = owner.must("drain", ids=made["ids"])
    assert report["seconds"] < 1, report
    assert reader.instance[:8] in str(report["acknowledged"]), report
    assert report["fenced"] == [], report
    assert report["timed_out"] == [], report
    etcd3.heal()
    until(lambda: not owner.metadata()["ownership"]["publish_pending"], BOUND * 2, "the drain is published")
    landed = owner.metadata()["ownership"]["counters"]["landed"] - publishes
    assert landed <= 3, f"{landed} publishes for one drain"  # DRAINING, gone, and one that a lease may add


def test_a_drain_says_who_did_not_answer(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """One reader acknowledges, one stands still: the deadline holds, other threads run, and the report names both."""
    scene = Scene(etcd3.url, node, start_named)
    still = start_named("", etcd3.url)
    made = scene.owner.must("register_many", count=10)
    for reader in (scene.reader, still):
        reader.must("touch", name=node, handles=made["handles"])
    still.stop()
    report = scene.owner.must("drain", ids=made["ids"], timeout=0.3)
    still.resume()
    assert 0.3 <= report["seconds"] < 0.3 + BOUND, report
    assert report["ticks"] > 20, report
    assert scene.reader.instance[:8] in str(report["acknowledged"]), report
    assert still.instance[:8] in str(report["fenced"]) + str(report["timed_out"]), report
    assert still.instance[:8] not in str(report["acknowledged"]), report


def test_drains_are_awaitable(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    scene = Scene(etcd3.url, node, start_named)
    made = scene.owner.must("register_many", count=100)
    scene.reader.must("touch", name=node, handles=made["handles"])
    etcd3.freeze()  # the first publish of the drain fails
    report = scene.owner.must("adrain", ids=made["ids"])
    etcd3.heal()
    assert scene.reader.instance[:8] in str(report["acknowledged"]), report
    assert report["timed_out"] == []


def test_interop_waits_for_stock_readers_once(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """A hundred listed buffers cost one grace, and the engine's end another; without interop there is none."""
    owner = start_named(node, etcd3.url, interop="mooncake", dereg_grace_ms=700, metadata_cache_ttl_ms=100)
    ids = owner.must("register_many", count=100)["ids"]
    report = owner.must("drain", ids=ids)
    assert 0.7 <= report["seconds"] < 0.7 + BOUND, report
    plain = start_named(f"{node}-plain", etcd3.url)
    ids = plain.must("register_many", count=100)["ids"]
    assert plain.must("drain", ids=ids)["seconds"] < 0.7


def test_the_end_of_an_engine_gives_its_name_back(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """At once, not with the lease, its stock copy included; and a store that is away does not hold it up."""
    owner = start_named(node, etcd3.url, interop="mooncake", dereg_grace_ms=100, metadata_cache_ttl_ms=100)
    owner.must("register", size=4096)
    until(lambda: etcd3.get(f"mooncake/ram/{node}") is not None, BOUND, "the stock copy is there")
    owner.must("end")
    for key in (f"mooncake_te/owner/{node}", f"mooncake_te/head/{node}", f"mooncake/ram/{node}"):
        assert etcd3.get(key) is None, key
    began = time.monotonic()
    again = start_named(node, etcd3.url)
    assert time.monotonic() - began < BOUND, "the name was not free"
    again.must("register", size=4096)
    etcd3.freeze()
    assert again.must("end")["seconds"] < BOUND
    etcd3.heal()
