"""HTTP metadata servers that are killed and started again: ours, which has what etcd has, and the stock one, which has not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from named import LEASE_SECONDS
from scene import BOUND, Scene, until
from servers import MetadataServer, StockServer


def test_our_server_killed_and_started_again(
    metadata_server: MetadataServer, node: str, start_named: Callable[..., Any]
) -> None:
    """It comes back empty, as another store; owners publish again by themselves, readers notice nothing."""
    scene = Scene(metadata_server.url, node, start_named)
    assert not scene.owner.metadata()["store"].get("lacks")
    before = scene.owner.metadata()["ownership"]
    scene.begin()
    for _ in range(2):
        metadata_server.kill()
        scene.changes()
        said = scene.refused(f"{node}-other")
        assert metadata_server.url in said["text"], said
        metadata_server.start()
        took = until(
            lambda: scene.reader.ask("describe_name", name=node).get("found", {}).get("from") == "owner",
            BOUND,
            "the owner did not publish again",
        )
    scene.healed()
    ends = scene.end()
    after = scene.owner.metadata()["ownership"]
    assert after["store_id"] != before["store_id"]
    assert int(after["stored_version"]) > int(before["stored_version"])
    print(f"restarted: published again after {took:.2f} s; {ends['count']} operations, 0 failed")


def test_our_server_away_for_longer_than_the_lease(
    metadata_server: MetadataServer, node: str, start_named: Callable[..., Any]
) -> None:
    scene = Scene(metadata_server.url, node, start_named)
    scene.begin()
    metadata_server.kill()
    time.sleep(LEASE_SECONDS + 1)
    scene.changes()
    metadata_server.start()
    scene.owner.until("OWNING")
    scene.healed()
    scene.end()


def test_our_server_replaces_owners(
    metadata_server: MetadataServer, node: str, start_named: Callable[..., Any]
) -> None:
    """kill -9 and restart under the same name, as with etcd."""
    owner, reader = start_named(node, metadata_server.url), start_named("", metadata_server.url)
    reader.must("open", address=node)
    old = owner.must("register", size=1 << 16)
    owner.kill()
    second = start_named(node, metadata_server.url, name_wait_ms=30_000)
    fresh = second.must("register", size=1 << 16)
    said = reader.must("follow", name=node, handle=fresh["handle"], writer=second.instance)
    assert said["wrong"] == []
    assert said["seconds"] < BOUND, said
    stale = reader.ask("write", address=node, handle=old["handle"], operation=1)
    assert stale["error"] == "STALE_INSTANCE", stale
    assert second.must("verify", id=fresh["id"])["wrong"] == []


def test_stock_server(stock_server: StockServer, node: str, start_named: Callable[..., Any]) -> None:
    """No lease, no epoch, no push: sessions and new readers work, its restart heals, and status says what it lacks."""
    scene = Scene(stock_server.url, node, start_named)
    lacks = {lack["invariant"]: lack["reason"] for lack in scene.owner.metadata()["store"]["lacks"]}
    assert list(lacks) == ["S5", "S6"], "S5 holds per instance only"
    assert all(lacks.values())
    scene.begin()
    stock_server.kill()
    scene.changes()
    scene.refused(f"{node}-other")
    stock_server.start()
    took = until(
        lambda: scene.reader.ask("describe_name", name=node).get("found", {}).get("from") == "owner",
        BOUND,
        "the owner did not publish again",
    )
    scene.healed()
    scene.end()
    print(f"stock server: published again after {took:.2f} s")


def test_stock_server_replaces_owners(stock_server: StockServer, node: str, start_named: Callable[..., Any]) -> None:
    """The last writer has the name there; its readers are led by the handshake all the same, and by no old handle."""
    owner, reader = start_named(node, stock_server.url), start_named("", stock_server.url)
    reader.must("open", address=node)
    old = owner.must("register", size=1 << 16)
    owner.kill()
    second = start_named(node, stock_server.url, takeover=True)
    fresh = second.must("register", size=1 << 16)
    said = reader.must("follow", name=node, handle=fresh["handle"], writer=second.instance)
    assert said["wrong"] == []
    assert said["seconds"] < 2 * BOUND, said
    stale = reader.ask("write", address=node, handle=old["handle"], operation=1)
    assert stale["error"] == "STALE_INSTANCE", stale
    assert second.must("verify", id=fresh["id"])["wrong"] == []
    stored = [key for key in (f"mooncake_te/head/{node}", f"mooncake/ram/{node}") if stock_server.get(key)]
    assert stored, "the head lies in the stock server"
    assert second.instance in json.dumps([(stock_server.get(key) or b"").decode() for key in stored])
