"""An owner that was stopped for longer than its lease: when it goes on it publishes nothing and touches nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from etcd import Etcd, Head
from scene import BOUND, until

SIZE = 1 << 20


class Watcher:
    """Asks etcd itself for a head, over and over, and keeps each one that differs from the one before."""

    def __init__(self, etcd: Etcd, name: str) -> None:
        self.seen: list[Head | None] = []
        self._etcd, self._name = etcd, name
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._halt.wait(0.005):
            head = self._etcd.head(self._name)
            if not self.seen or head != self.seen[-1]:
                self.seen.append(head)

    def stop(self) -> list[Head]:
        self._halt.set()
        self._thread.join()
        return [head for head in self.seen if head is not None]


def test_zombie(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    old, reader, late = start_named(node, etcd3.url), start_named("", etcd3.url), start_named("", etcd3.url)
    theirs = old.must("register", size=SIZE)
    reader.must("write", address=node, handle=theirs["handle"], operation=1)
    watcher = Watcher(etcd3, node)
    try:
        # Writes of the late reader are under way when the owner stops; it goes on with them when it wakes up.
        late.must("fly", address=node, handle=theirs["handle"], operation=2, count=30)
        old.stop()
        new = start_named(node, etcd3.url, name_wait_ms=30_000)
        ours = new.must("register", size=SIZE)
        assert ours["id"] == theirs["id"]
        said = reader.must("follow", name=node, handle=ours["handle"], writer=new.instance)
        assert said["wrong"] == []
        assert said["seconds"] < 5, said

        old.resume()
        more = old.must("register", size=64)  # a change that it would publish
        old.until("FENCED")  # by its own clock first, and then because it finds who has the name
        until(lambda: old.metadata()["ownership"].get("holder") == new.instance, BOUND, "it does not know by whom")
        old.must("close", id=more["id"])
        time.sleep(1.5)  # nothing is to happen, and that needs time
        late.must("landed")
        for operation in range(3, 6):  # readers stay with the new one, and it alone has the bytes
            reader.must("write", address=node, handle=ours["handle"], operation=operation)
            assert reader.must("refresh", address=node)["instance"] == new.instance
        assert new.must("verify", id=ours["id"], writer=reader.instance, operation=5)["wrong"] == []
        stale = late.ask("write", address=node, handle=theirs["handle"], operation=7)
        assert stale["error"] == "STALE_INSTANCE", stale
        assert new.must("verify", id=ours["id"], writer=reader.instance, operation=5)["wrong"] == []
        assert late.ask("opens", name=node)["instance"] == new.instance
        # The zombie as an initiator: its own name leads it to the new owner too, where its old handle is refused.
        own = old.ask("write", address=node, handle=theirs["handle"], operation=8)
        assert own["error"] == "STALE_INSTANCE", own
        assert own["outcome"] == "NOT_APPLIED", own
        assert new.must("verify", id=ours["id"], writer=reader.instance, operation=5)["wrong"] == []
        assert old.metadata()["ownership"]["state"] == "FENCED"
    finally:
        heads = watcher.stop()
    first = next(i for i, head in enumerate(heads) if head.instance == new.instance)
    assert {head.instance for head in heads[:first]} == {old.instance}
    assert {head.instance for head in heads[first:]} == {new.instance}, "the zombie published"
    assert heads == sorted(heads, key=lambda head: (head.epoch, head.version)), "a head went back"
    assert etcd3.head(node) == heads[-1]


def test_a_fenced_owner_takes_its_name_back(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """As a new epoch, and only when the application asks."""
    first = start_named(node, etcd3.url)
    second = start_named(node, etcd3.url, takeover=True)
    first.until("FENCED")
    refused = first.ask("claim")
    assert refused["error"] in {"SEGMENT_OWNED", "FENCED"}, refused
    before = etcd3.head(node)
    first.must("claim", takeover=True)
    after = etcd3.head(node)
    assert before is not None
    assert after is not None
    assert after.instance == first.instance
    assert after.epoch > before.epoch
    second.until("FENCED")
