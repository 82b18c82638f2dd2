"""Three etcd members that are killed, frozen, emptied and set back under an owner and its readers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from etcd import Etcd, Head
from named import LEASE_SECONDS
from scene import BOUND, Scene, until


@pytest.mark.parametrize("which", ["member", "leader"])
def test_one_member_killed(etcd3: Etcd, node: str, start_named: Callable[..., Any], which: str) -> None:
    """Nothing is lost: no false loss of the name, changes are published, new readers get in."""
    scene = Scene(etcd3.url, node, start_named)
    leader = etcd3.leader()
    victim = leader if which == "leader" else next(m for m in etcd3.members if m is not leader)
    epoch = _head(etcd3, node).epoch
    scene.begin()
    victim.kill()
    scene.changes()
    before = _head(etcd3, node).version
    scene.owner.must("register", size=4096)
    until(lambda: _head(etcd3, node).version > before, BOUND, "the change was not published")
    scene.healed()
    scene.end()
    after = _head(etcd3, node)
    assert after.epoch == epoch, "the owner lost its name although most members lived"
    assert scene.owner.metadata()["ownership"]["state"] == "OWNING"


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_all_members_away(etcd3: Etcd, node: str, start_named: Callable[..., Any], outage: float, how: str) -> None:
    """0 failed operations on live sessions, nobody waits for the store, and all of it heals."""
    seconds = outage if how == "cut off" else min(outage, 5)
    scene = Scene(etcd3.url, node, start_named)
    before = _head(etcd3, node)
    scene.begin()
    etcd3.freeze() if how == "cut off" else etcd3.kill_all()
    began = time.monotonic()
    scene.changes()
    said = scene.refused(f"{node}-other")
    assert etcd3.url.removeprefix("etcd://").partition(",")[0] in said["text"], said
    while time.monotonic() - began < seconds:
        scene.changes()
        time.sleep(0.25)
    etcd3.heal()
    # The lease ran out in the outage if it was longer; the owner claims its name again by itself, and publishes.
    took = until(
        lambda: (head := etcd3.head(node)) is not None and head.version > before.version,
        LEASE_SECONDS + BOUND,
        "the owner did not publish again",
    )
    after = _head(etcd3, node)
    assert after.instance == scene.owner.instance
    assert after.epoch >= before.epoch
    scene.healed()
    ends = scene.end()
    print(f"{how} for {seconds:.0f} s: {ends['count']} operations, 0 failed; published again after {took:.2f} s")


def test_wiped(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """Another store ID; the owner publishes again by itself, with a higher version."""
    scene = Scene(etcd3.url, node, start_named)
    before = _head(etcd3, node)
    scene.begin()
    etcd3.wipe()
    took = until(lambda: etcd3.head(node) is not None, BOUND, "the owner did not publish again")
    after = _head(etcd3, node)
    assert after.store_id != before.store_id
    assert after.version >= before.version
    scene.owner.must("register", size=4096)
    until(lambda: _head(etcd3, node).version > before.version, BOUND, "the version did not go on")
    scene.healed()
    scene.end()
    print(f"wiped: published again after {took:.2f} s")


def test_restored_from_an_older_snapshot(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """The snapshot knows an owner that is dead. Readers, old and new, reach the present one all the same."""
    first = start_named(node, etcd3.url)
    snapshot = etcd3.save()
    assert _head(etcd3, node).instance == first.instance
    reader = start_named("", etcd3.url)
    assert reader.must("open", address=node)["instance"] == first.instance
    first.kill()
    second = start_named(node, etcd3.url, takeover=True)
    kept = second.must("register", size=1 << 16)
    for _ in range(5):  # so that the restored store is behind in revisions too
        second.must("register", size=64)
    said = reader.must("follow", name=node, handle=kept["handle"], writer=second.instance)
    assert said["wrong"] == []
    until(lambda: not second.metadata()["ownership"]["publish_pending"], BOUND, "it is published")
    before = _head(etcd3, node)
    assert before.instance == second.instance

    reader.must("run", address=node, handle=kept["handle"], kind="read", writer=second.instance)
    etcd3.restore(snapshot)
    # The restored store gives the dead owner its lease in full again.
    took = until(
        lambda: (head := etcd3.head(node)) is not None and head.instance == second.instance,
        LEASE_SECONDS + 2 * BOUND,
        "the present owner did not publish again",
    )
    after = _head(etcd3, node)
    assert after.store_id != before.store_id, "a revision that went back makes another store"
    assert after.version >= before.version, "the version went back"
    second.must("register", size=64)
    until(lambda: _head(etcd3, node).version > before.version, BOUND, "the version did not go on")
    ends = reader.must("halted")
    assert ends["failures"] == {}, ends
    assert ends["wrong"] == 0, ends
    fresh = start_named("", etcd3.url)
    said = fresh.must("follow", name=node, handle=kept["handle"], writer=second.instance)
    assert said["wrong"] == []
    assert reader.must("refresh", address=node)["instance"] == second.instance
    print(f"restored: the present owner had published again after {took:.2f} s")


def test_a_store_that_hangs_blocks_nobody(etcd3: Etcd, node: str, start_named: Callable[..., Any]) -> None:
    """Two of three members stand still: who asks gets an error in time, and the third serves again at once later."""
    scene = Scene(etcd3.url, node, start_named)
    scene.begin()
    leader = etcd3.leader()
    for member in [leader, next(m for m in etcd3.members if m is not leader)]:
        member.signal(signal.SIGSTOP)
    scene.refused(f"{node}-other")
    scene.changes()
    etcd3.heal()
    scene.healed()
    scene.end()


def _head(etcd: Etcd, name: str) -> Head:
    head = etcd.head(name)
    assert head is not None, f"nothing lies under {name}"
    return head
