"""The failures that the stock Mooncake TransferEngine was measured at, each with what happens here (docs/failures.md)."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mooncake_te as te

MIB = 1 << 20
BATCH = 64 * MIB
SETTLED = 60.0  # seconds, far above the few round trips and the back-off of 5 s that it takes
LOST = {"PEER_DEAD", "PEER_UNREACHABLE", "STALE_INSTANCE"}
# So that a death is noticed soon. Where nobody dies the default has to do: a busy machine must not look like a death.
FAST = {"heartbeat_ms": 200}


def result(case: str, text: str) -> None:
    print(f"failure {case}: {text}")


def start_pair(start_peer: Callable[..., Any], **settings: Any) -> tuple[Any, Any, Any]:
    owner, writer = start_peer("owner", **settings), start_peer("writer", **settings)
    target = owner.must("register", size=BATCH)
    writer.must("write", address=owner.address, handle=target["handle"], operation=1)
    return owner, writer, target


@pytest.fixture
def pair(start_peer: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """An owner of 64 MiB, a writer that wrote once, and the handle."""
    return start_pair(start_peer)


@pytest.fixture
def fast_pair(start_peer: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """The same, and each notices soon that the other is gone."""
    return start_pair(start_peer, **FAST)


def test_a_target_killed(fast_pair: Any) -> None:
    owner, writer, target = fast_pair
    where = {"address": owner.address, "handle": target["handle"]}
    writer.must("fly", operation=2, count=8, **where)
    owner.kill()
    began = time.monotonic()
    ends = writer.must("landed")["ends"]
    took = time.monotonic() - began
    assert set(ends) & LOST, ends
    assert set(ends) <= LOST | {"COMPLETED"}, ends
    later = [writer.ask("write", operation=3, **where) for _ in range(5)]
    assert {said["error"] for said in later} <= LOST
    slowest = max(said["seconds"] for said in later)
    assert took < 20
    assert slowest < 20
    result("a", f"ended {took * 1000:.0f} ms after the kill {dict(ends)}; later calls fail within {slowest:.2f} s")


def test_b_target_restarted_with_its_buffer_elsewhere(fast_pair: Any, start_peer: Callable[..., Any]) -> None:
    owner, writer, target = fast_pair
    owner.kill()
    owner = start_peer("owner", owner.address, **FAST)
    owner.must("register", size=4096)  # so that the buffer comes to another place and number
    fresh = owner.must("register", size=BATCH)
    failed = 0
    where = {"address": owner.address, "handle": fresh["handle"]}
    said = writer.ask("write", operation=2, **where)
    while said.get("error"):
        failed += 1
        assert failed <= 1, said
        assert said["error"] in LOST, said
        writer.must("refresh", address=owner.address)
        said = writer.ask("write", operation=2, **where)
    assert owner.must("verify", id=fresh["id"], writer=writer.instance, operation=2)["wrong"] == []
    old = writer.ask("write", address=owner.address, handle=target["handle"], operation=3)
    assert old["error"] == "STALE_INSTANCE", old
    result("b", f"{failed} call failed, then it works; the old handle gives STALE_INSTANCE")


def test_b2_everything_comes_back_but_the_owner(fast_pair: Any, start_peer: Callable[..., Any]) -> None:
    """Name, ports, number and length of the buffer are those of before; the memory is somebody else's."""
    owner, writer, target = fast_pair
    address, data = owner.address, owner.data
    owner.kill()
    owner = start_peer("owner", address, data_listen=data, **FAST)
    fresh = owner.must("register", size=BATCH)
    assert fresh["id"] == target["id"]
    said = [writer.ask("write", address=address, handle=target["handle"], operation=2) for _ in range(4)]
    assert {each["error"] for each in said} <= LOST, said
    assert owner.must("verify", id=fresh["id"])["wrong"] == []
    result("b2", f"four writes with the old handle: {[each['error'] for each in said]}, 0 foreign bytes")


def test_c_unregistered_under_batches(pair: Any) -> None:
    owner, writer, target = pair
    where = {"address": owner.address, "handle": target["handle"]}
    writer.must("fly", operation=2, count=8, **where)
    report = owner.must("close", id=target["id"], timeout=2)
    ends = writer.must("landed")["ends"]
    assert set(ends) <= {"COMPLETED", "STALE_BUFFER", "REVOKED", "DRAINING"}, ends
    # close() has fenced the memory; that it is over reaches the writer later (RETIRED, and a fresh descriptor). Until then
    # it refuses by itself, and says DRAINING. Nothing else may come before, and nothing of it after.
    draining = 0
    until = time.monotonic() + SETTLED
    while (said := writer.ask("write", operation=3, **where)).get("error") == "DRAINING":
        assert said["outcome"] == "NOT_APPLIED", said
        assert time.monotonic() < until, f"DRAINING {draining} times, long after close() returned"
        draining += 1
    later = [said] + [writer.ask("write", operation=3, **where) for _ in range(4)]
    assert {said.get("error") for said in later} <= {"STALE_BUFFER", "REVOKED"}, later
    assert {said["outcome"] for said in later} == {"NOT_APPLIED"}, later
    slowest = max(said["seconds"] for said in later)
    assert slowest < 25
    assert owner.must("verify", id=target["id"])["wrong"] == []
    result(
        "c",
        f"close waited {report['seconds'] * 1000:.0f} ms for the acknowledgement; {dict(ends)}; later calls "
        f"DRAINING {draining} times, then {later[0]['error']} in {slowest * 1000:.0f} ms",
    )


def test_c2_memory_used_again_at_once(pair: Any) -> None:
    """Large operations are under way when the memory is closed; it is filled anew the moment that close returned."""
    owner, writer, target = pair
    in_flight, trial = 0, 0
    while trial < 4 or in_flight < 3:
        assert trial < 40, "too few trials had bytes in flight"
        writer.must("fly", address=owner.address, handle=target["handle"], operation=2, count=3)
        owner.must("close", id=target["id"], timeout=0 if trial % 2 else 2)
        ends = writer.must("landed")["ends"]
        in_flight += set(ends) != {"COMPLETED"}
        assert owner.must("verify", id=target["id"])["wrong"] == [], f"trial {trial}"
        target = owner.must("register", again=target["id"])
        trial += 1
    result("c2", f"0 bytes in {trial} runs (100 runs in gocore/engine TestDeregisterUnderFire)")


def test_d_stopped_for_a_while(fast_pair: Any) -> None:
    owner, writer, target = fast_pair
    owner.stop()
    writer.send("write", address=owner.address, handle=target["handle"], operation=2)
    time.sleep(3)
    owner.resume()
    said = writer.reply()
    # Three heartbeats of 200 ms are missed: it may be given up. With the default of 1 s they would not be.
    if said.get("error"):
        assert said["error"] in LOST, said
        said = writer.must("write", address=owner.address, handle=target["handle"], operation=2)
    assert owner.must("verify", id=target["id"], writer=writer.instance, operation=2)["wrong"] == []
    result("d", f"{said['outcome']}")


def test_d2_stopped_for_good(fast_pair: Any) -> None:
    owner, writer, target = fast_pair
    owner.stop()
    said = writer.ask("write", address=owner.address, handle=target["handle"], operation=2, deadline=1.0)
    assert said["error"] in LOST | {"DEADLINE"}, said
    assert said["outcome"] in {"UNKNOWN", "PARTIAL", "NOT_APPLIED"}, said
    assert said["seconds"] < 20
    result("d2", f"{said['error']} after {said['seconds']:.1f} s with a deadline of 1 s, outcome {said['outcome']}")


def test_f_forked_child(pair: Any) -> None:
    owner, writer, target = pair
    began = time.monotonic()
    codes = writer.must("fork", times=4)["codes"]
    assert codes == [0, 0, 0, 0]
    took = time.monotonic() - began
    writer.must("write", address=owner.address, handle=target["handle"], operation=2)
    result("f", f"the child gets FORKED at once (4 children in {took:.2f} s); the parent works on")


# ---- (e) bad input -----------------------------------------------------------------------------------------------------


class Bad:
    """Two engines of this process and a buffer of each."""

    def __init__(self) -> None:
        self.owner, self.user = te.Engine("owner", log_level="off"), te.Engine("user", log_level="off")
        self.peer = self.user.open(self.owner.address)
        self.theirs = self.owner.register(bytearray(MIB))
        self.remote = self.theirs.remote()
        self.mine = self.user.register(bytearray(b"\x01" * MIB))


@pytest.fixture
def bad() -> Iterator[Bad]:
    scene = Bad()
    yield scene
    scene.user.close(timeout=0)
    scene.owner.close(timeout=0)


def refused(case: str, kind: Any, call: Callable[[], Any]) -> Any:
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        batch = call()
        batch.wait(timeout=30)
    result(f"e, {case}", f"{caught.value.name} in {(time.monotonic() - began) * 1000:.1f} ms")
    return caught.value


def test_e_local_memory_not_registered(bad: Bad) -> None:
    refused("source not registered", te.InvalidArgument, lambda: bad.peer.write(from_=bytearray(MIB), into=bad.remote))


def test_e_local_memory_not_mapped(bad: Bad) -> None:
    """The connection survives: the next transfer works."""
    gone = mmap.mmap(-1, MIB)
    address = te_address(gone)
    buffer = bad.user.register((address, MIB), remote=False)
    gone.close()
    refused("source not mapped", te.MemoryFault, lambda: bad.peer.write(from_=buffer, into=bad.remote))
    bad.peer.write(from_=bad.mine, into=bad.remote).wait(timeout=30)
    assert bad.theirs.obj == bad.mine.obj


def te_address(memory: mmap.mmap) -> int:
    import ctypes

    view = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(view)
    del view
    return address


def test_e_remote_range(bad: Bad) -> None:
    small = bad.owner.register(bytearray(100)).remote()
    refused("remote past the end", te.InvalidArgument, lambda: bad.peer.write(from_=bad.mine, into=small))
    blocks = {"blocks": [(0, 1 << 40)], "block_bytes": 4096}
    refused("block past the end", te.TransferError, lambda: bad.peer.write(from_=bad.mine, into=bad.remote, **blocks))


def test_e_length_zero_and_empty_batch(bad: Bad) -> None:
    refused("length 0", te.InvalidArgument, lambda: bad.user.register(bytearray(0)))
    none = {"blocks": [], "block_bytes": 4096}
    refused("empty batch", te.InvalidArgument, lambda: bad.peer.write(from_=bad.mine, into=bad.remote, **none))


def test_e_lists_of_different_length(bad: Bad) -> None:
    odd = {"blocks": [0, 1], "into_blocks": [0], "block_bytes": 4096}
    refused("different lengths", te.InvalidArgument, lambda: bad.peer.write(from_=bad.mine, into=bad.remote, **odd))


def test_e_one_of_two_out_of_range(bad: Bad) -> None:
    """Checked before a byte moves; the good one alone is at once written."""
    two = {"blocks": [(0, 0), (1, 1 << 20)], "block_bytes": 4096}
    refused("one of two out of range", te.TransferError, lambda: bad.peer.write(from_=bad.mine, into=bad.remote, **two))
    assert bad.theirs.obj == bytes(MIB)


def test_e_batch_of_4096_and_more(bad: Bad) -> None:
    for count in (4096, 65_536):
        blocks = [(i, i) for i in range(count)]
        bad.peer.write(from_=bad.mine, into=bad.remote, blocks=blocks, block_bytes=MIB // count).wait(timeout=60)
        assert bad.theirs.obj == bad.mine.obj
        memoryview(bad.theirs.obj)[:] = bytes(MIB)
    result("e, batch of 4096", "all written; 65,536 as well")


@pytest.mark.parametrize("name", ["", "nobody", "a:b:c", "127.0.0.1:1"])
def test_e_segment_name(bad: Bad, name: str) -> None:
    began = time.monotonic()
    with pytest.raises(te.TransferError) as caught:
        bad.user.open(name, timeout=2)
    assert time.monotonic() - began < 30
    result(f"e, segment {name!r}", f"{caught.value.name}: {caught.value.hint}")


def test_e_registrations(bad: Bad) -> None:
    """The same memory twice is two buffers, each with its own number and end; NULL and length 0 are refused."""
    data = bytearray(4096)
    first, second = bad.owner.register(data), bad.owner.register(data)
    assert first.id != second.id
    first.close()
    bad.peer.write(from_=bad.mine[:4096], into=second.remote()).wait(timeout=30)
    refused("register NULL", te.InvalidArgument, lambda: bad.owner.register((0, 4096)))
    refused("register length 0", te.InvalidArgument, lambda: bad.owner.register((4096, 0)))
    first.close()
    result("e, unregister twice", "nothing happens")


def test_e_after_the_end(bad: Bad) -> None:
    """Where the stock engine crashes: calls before the start and with numbers of nothing."""
    batch = bad.peer.write(from_=bad.mine, into=bad.remote)
    batch.wait(timeout=30)
    bad.user.close(timeout=0)
    refused("closed engine", te.Closed, lambda: bad.user.register(bytearray(10)))
    refused("closed engine's peer", te.Closed, lambda: bad.peer.write(from_=bad.mine, into=bad.remote))
    assert batch.outcome == "COMPLETED"
