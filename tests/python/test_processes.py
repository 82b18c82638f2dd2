"""Real peers in processes of their own: data, replacement, death, silence, notification order, spawn."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest

import mooncake_te as te
from owner import pattern

SIZE = 1_000_000


@pytest.fixture
def owner(start_owner: Callable[..., Any]) -> Any:
    return start_owner(str(SIZE))


def handle(owner: Any) -> te.RemoteBuffer:
    return te.RemoteBuffer.from_json(owner.handle_json)


def test_read_and_write(engine: te.Engine, owner: Any) -> None:
    peer = engine.open(owner.address)
    assert (peer.instance, peer.name) == (owner.instance, "owner")
    local = engine.register(bytearray(SIZE))
    peer.read(into=local, from_=handle(owner)).wait(timeout=30)
    assert local.obj == pattern(SIZE)
    local.obj[:] = b"\x2a" * SIZE
    peer.write(from_=local, into=peer.buffer("data")).wait(timeout=30)
    assert owner.ask("only", 0x2A)


def test_notification_comes_after_its_data(engine: te.Engine, owner: Any) -> None:
    peer = engine.open(owner.address)
    local = engine.register(bytearray(b"\x07" * SIZE))
    batch = peer.write(from_=local, into=handle(owner))
    peer.notify(b"\x00payload\xff", tag="done", after=batch)
    assert batch.done
    assert owner.ask("only", 7)
    assert owner.ask("notifications") == [[engine.instance, "done", b"\x00payload\xff".hex()]]


def test_notification_after_a_failed_batch_fails(engine: te.Engine, owner: Any) -> None:
    peer = engine.open(owner.address)
    local = engine.register(bytearray(SIZE))
    remote = handle(owner)
    owner.ask("close", None)
    batch = peer.write(from_=local, into=remote)
    with pytest.raises(te.StaleBuffer):
        batch.wait(timeout=30)
    with pytest.raises(te.TransferError):
        peer.notify(b"never", after=batch)
    assert owner.ask("notifications") == []


def test_closed_by_its_owner(engine: te.Engine, owner: Any) -> None:
    peer = engine.open(owner.address)
    local = engine.register(bytearray(SIZE))
    peer.read(into=local, from_=handle(owner)).wait(timeout=30)
    assert owner.ask("close", 5)["acknowledged"] == [engine.instance]
    with pytest.raises(te.StaleBuffer):
        peer.read(into=local, from_=handle(owner)).wait(timeout=30)
    again = te.RemoteBuffer.from_json(owner.ask("register"))
    peer.read(into=local, from_=again).wait(timeout=30)


def test_grants_over_processes(engine: te.Engine, owner: Any) -> None:
    peer = engine.open(owner.address)
    local = engine.register(bytearray(b"\x01" * 4096))
    grant = te.RemoteBuffer.from_json(owner.ask("grant", [2], 4096, engine.instance, "rw"))
    peer.write(from_=local, into=grant, blocks=[(2, 0)], block_bytes=4096).wait(timeout=30)
    assert bytes.fromhex(owner.ask("bytes", 8192, 4096)) == local.obj
    owner.ask("revoke", grant.id)
    with pytest.raises(te.StaleBuffer):
        peer.write(from_=local, into=grant, blocks=[(2, 0)], block_bytes=4096).wait(timeout=30)


def test_killed_peer(engine: te.Engine, owner: Any) -> None:
    peer = engine.open(owner.address)
    local = engine.register(bytearray(SIZE))
    peer.read(into=local, from_=handle(owner)).wait(timeout=30)
    owner.kill()
    with pytest.raises((te.PeerDead, te.PeerUnreachable)) as caught:
        peer.read(into=local, from_=handle(owner), deadline=20).wait(timeout=30)
    assert isinstance(caught.value, ConnectionError)


def test_replaced_peer_is_used_again_after_one_failure(
    engine: te.Engine, owner: Any, start_owner: Callable[..., Any]
) -> None:
    peer = engine.open(owner.address)
    local = engine.register(bytearray(SIZE))
    old = handle(owner)
    peer.read(into=local, from_=old).wait(timeout=30)
    owner.kill()
    second = start_owner(str(SIZE), owner.address)
    assert second.address == owner.address
    assert second.instance != owner.instance
    with pytest.raises(te.TransferError) as caught:
        peer.write(from_=local, into=old).wait(timeout=30)
    assert isinstance(caught.value, (te.StaleInstance, te.PeerDead, te.PeerUnreachable))
    peer.refresh()
    assert peer.instance == second.instance
    with pytest.raises(te.StaleInstance):
        peer.write(from_=local, into=old)
    local.obj[:] = bytes(SIZE)
    peer.read(into=local, from_=handle(second)).wait(timeout=30)
    assert local.obj == pattern(SIZE)


def test_handle_newer_than_the_segment(engine: te.Engine, owner: Any, start_owner: Callable[..., Any]) -> None:
    """The application heard of the new instance before the segment did."""
    peer = engine.open(owner.address)
    owner.kill()
    second = start_owner(str(SIZE), owner.address)
    local = engine.register(bytearray(SIZE))
    failures = 0
    while failures < 2:
        try:
            peer.read(into=local, from_=handle(second), deadline=20).wait(timeout=30)
            break
        except te.TransferError:
            failures += 1
            peer.refresh()
    assert failures <= 1
    assert local.obj == pattern(SIZE)


def test_stopped_peer_deadline_and_progress(
    make_engine: Callable[..., te.Engine], start_owner: Callable[..., Any]
) -> None:
    engine = make_engine("patient", heartbeat_ms=20_000)
    owner = start_owner("64000000")
    peer = engine.open(owner.address)
    local = engine.register(bytearray(64_000_000))
    owner.stop()
    pending = peer.write(from_=local, into=handle(owner))
    with pytest.raises(te.WaitTimeout):
        pending.wait(timeout=0.05)
    assert pending.outcome == "PENDING"
    assert pending.bytes_done < pending.bytes_total == 64_000_000
    batch = peer.write(from_=local, into=handle(owner), deadline=0.5)
    with pytest.raises(te.DeadlineExceeded) as caught:
        batch.wait(timeout=60)
    assert caught.value.outcome in ("NOT_APPLIED", "UNKNOWN", "PARTIAL")
    assert batch.outcome == caught.value.outcome
    assert (caught.value.segment, caught.value.peer) == ("owner", owner.instance)
    assert (caught.value.remote_quiet is False) == (not batch.remote_quiet)
    assert {entry.cause for entry in batch.outcomes()} == {"DEADLINE"}


def test_cancel(engine: te.Engine, start_owner: Callable[..., Any]) -> None:
    owner = start_owner("64000000")
    peer = engine.open(owner.address)
    local = engine.register(bytearray(64_000_000))
    owner.stop()
    batch = peer.write(from_=local, into=handle(owner))
    batch.cancel()
    with pytest.raises(te.Canceled):
        batch.wait(timeout=60)
    batch.cancel()
    owner.resume()
    small = engine.register(bytearray(b"\x09" * 64_000_000))
    peer.write(from_=small, into=handle(owner)).wait(timeout=60)
    assert owner.ask("only", 9)


def test_closing_towards_a_stopped_peer_costs_the_deadline_only(
    engine: te.Engine, start_owner: Callable[..., Any]
) -> None:
    other = start_owner("1000")
    data = engine.register(bytearray(1000))
    peer = engine.open(other.address)
    assert peer.ping() > 0
    other.stop()
    began = time.monotonic()
    data.close(timeout=0.3)
    assert time.monotonic() - began < 20


def _child(address: str, handle_json: str) -> bytes:
    with te.Engine("child") as engine:
        peer = engine.open(address)
        local = engine.register(bytearray(100))
        peer.read(into=local, from_=te.RemoteBuffer.from_json(handle_json)[:100]).wait(timeout=30)
        return bytes(local.obj)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing(engine: te.Engine, method: str) -> None:
    data = engine.register(bytearray(pattern(1000)))
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        got = pool.apply(_child, (engine.address, data.remote().to_json()))
    assert got == pattern(100)


def test_errors_travel_between_processes(engine: te.Engine) -> None:
    with pytest.raises(te.PeerUnreachable) as caught:
        engine.open("127.0.0.1:1", timeout=0.5)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.hint == caught.value.hint


def test_closing_the_own_buffer_blames_nobody_else(engine: te.Engine, start_owner: Callable[..., Any]) -> None:
    owner = start_owner("64000000")
    peer = engine.open(owner.address)
    local = engine.register(bytearray(64_000_000), remote=False)
    owner.stop()
    batch = peer.read(into=local, from_=handle(owner))
    local.close(timeout=0.1)
    with pytest.raises(te.Draining, match="local buffer") as caught:
        batch.wait(timeout=60)
    assert "the owner" not in str(caught.value)
    assert "on this side" in str(caught.value)
    assert (caught.value.peer, batch.outcome) == (owner.instance, "NOT_APPLIED")
