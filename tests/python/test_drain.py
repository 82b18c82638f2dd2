"""Closing buffers and revoking grants: acknowledged, idempotent, together; afterwards nobody touches the memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import mooncake_te as te
from mooncake_te._grants import merge_ranges


def test_close_is_acknowledged_and_final(pair) -> None:
    data = bytearray(b"a" * 1000)
    buffer = pair.owner.register(data)
    handle = buffer.remote()
    local = pair.user.register(bytearray(b"b" * 1000))
    pair.peer.write(from_=local, into=handle).wait(timeout=30)
    report = buffer.close()
    assert report.ids == (buffer.id,)
    assert report.acknowledged == (pair.user.instance,)
    assert report.fenced == report.timed_out == ()
    assert buffer.close() == report
    assert buffer.closed
    with pytest.raises(te.StaleBuffer):
        pair.peer.write(from_=local, into=handle).wait(timeout=30)
    data.extend(b"no longer pinned")


def test_same_memory_again_is_a_new_id(pair) -> None:
    data = bytearray(b"a" * 100)
    first = pair.owner.register(data)
    old = first.remote()
    target = pair.user.register(bytearray(100))
    pair.peer.read(into=target, from_=old).wait(timeout=30)
    first.close()
    second = pair.owner.register(data)
    assert second.id > first.id
    with pytest.raises(te.StaleBuffer):
        pair.peer.read(into=target, from_=old).wait(timeout=30)
    pair.peer.read(into=target, from_=second.remote()).wait(timeout=30)


def test_many_at_once(pair) -> None:
    buffers = pair.owner.register_all([bytearray(10) for _ in range(100)])
    target = pair.user.register(bytearray(10))
    pair.peer.read(into=target, from_=buffers[0].remote()).wait(timeout=30)
    drains = pair.owner.status()["owner"]["drains_total"]
    report = pair.owner.drain(buffers)
    assert sorted(report.ids) == sorted(b.id for b in buffers)
    assert pair.owner.status()["owner"]["drains_total"] == drains + 1
    assert {b.state for b in buffers} == {"closed"}
    assert pair.owner.buffers() == []
    assert pair.owner.drain([]).ids == ()


def test_two_threads_close_the_same_buffer(pair) -> None:
    buffer = pair.owner.register(bytearray(10))
    reports: list[te.DrainReport] = []
    threads = [threading.Thread(target=lambda: reports.append(buffer.close())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 8
    assert set(reports) == {reports[0]}


def test_context_manager(engine: te.Engine) -> None:
    with engine.register(bytearray(10)) as buffer:
        assert buffer.state == "open"
    assert buffer.state == "closed"


def test_zero_timeout_fences_at_once(pair) -> None:
    buffer = pair.owner.register(bytearray(1000))
    local = pair.user.register(bytearray(1000))
    pair.peer.write(from_=local, into=buffer.remote()).wait(timeout=30)
    began = time.monotonic()
    report = buffer.close(timeout=0)
    assert time.monotonic() - began < 20
    assert report.acknowledged == () or report.fenced == ()
    other = pair.offer(bytearray(1000))
    pair.peer.write(from_=local, into=other).wait(timeout=30)


def test_registration_modes(pair) -> None:
    for mode, text in (("grants", "use grant"), (False, "remote=True")):
        buffer = pair.owner.register(bytearray(10), remote=mode)
        with pytest.raises(te.PermissionDenied, match=text):
            buffer.remote()
    with pytest.raises(te.PermissionDenied, match="remote=False"):
        buffer.grant()
    assert pair.peer.buffers() == []


def test_grant_of_blocks(pair) -> None:
    data = bytearray(b"." * 100)
    cache = pair.owner.register(data, remote="grants")
    local = pair.user.register(bytearray(b"x" * 100))
    grant = cache.grant(blocks=[3, 7], block_bytes=10, to=pair.user.instance)
    handle = grant.remote()
    assert handle.ranges == ((30, 10), (70, 10))
    assert te.RemoteBuffer.from_json(handle.to_json()) == handle
    pair.peer.write(from_=local, into=handle, blocks=[3, 7], block_bytes=10).wait(timeout=30)
    assert data == b"." * 30 + b"x" * 10 + b"." * 30 + b"x" * 10 + b"." * 20
    with pytest.raises(te.OutOfBounds, match="not inside one range"):
        pair.peer.write(from_=local, into=handle, blocks=[4], block_bytes=10)
    grant.close()
    assert grant.state == "closed"
    assert cache.grants == []
    with pytest.raises(te.StaleBuffer):
        pair.peer.write(from_=local, into=handle, blocks=[3], block_bytes=10).wait(timeout=30)
    assert data.count(b"x") == 20
    assert cache.state == "open"


def test_the_owner_checks_ranges_itself(pair) -> None:
    from dataclasses import replace

    data = bytearray(100)
    cache = pair.owner.register(data, remote="grants")
    local = pair.user.register(bytearray(b"x" * 100))
    lying = replace(cache.grant(blocks=[3], block_bytes=10, to=pair.user.instance).remote(), ranges=None)
    with pytest.raises(te.OutOfBounds):
        pair.peer.write(from_=local, into=lying, blocks=[4], block_bytes=10).wait(timeout=30)
    assert data == bytes(100)


def test_grant_for_somebody_else_is_refused(pair, make_engine: Callable[..., te.Engine]) -> None:
    third = make_engine("third")
    cache = pair.owner.register(bytearray(100), remote="grants")
    handle = cache.grant(to=third.instance).remote()
    local = pair.user.register(bytearray(100))
    with pytest.raises(te.TransferError) as caught:
        pair.peer.read(into=local, from_=handle).wait(timeout=30)
    assert isinstance(caught.value, (te.StaleBuffer, te.PermissionDenied))
    peer = third.open(pair.owner.address)
    peer.read(into=third.register(bytearray(100)), from_=handle).wait(timeout=30)


def test_grant_to_an_opened_segment_and_permission(pair) -> None:
    back = pair.owner.open(pair.user.address)
    cache = pair.owner.register(bytearray(b"s" * 100), remote="grants")
    grant = cache.grant(to=back, perm="r")
    assert grant.peer == pair.user.instance
    local = pair.user.register(bytearray(100))
    pair.peer.read(into=local, from_=grant.remote()).wait(timeout=30)
    with pytest.raises(te.PermissionDenied):
        pair.peer.write(from_=local, into=grant.remote())


def test_grant_for_nobody_in_particular(pair) -> None:
    cache = pair.owner.register(bytearray(b"n" * 100), remote="grants")
    with cache.grant(ranges=[(10, 10), (20, 5)]) as grant:
        assert grant.ranges == ((10, 15),)
        local = pair.user.register(bytearray(100))
        pair.peer.read(into=local[10:25], from_=grant.remote()[10:25]).wait(timeout=30)
    assert grant.closed


def test_closing_a_buffer_closes_its_grants(pair) -> None:
    cache = pair.owner.register(bytearray(100), remote="grants")
    grants = [cache.grant(blocks=[i], block_bytes=10) for i in range(10)]
    assert set(cache.grants) == set(grants)
    report = cache.close()
    assert cache.id in report.ids
    assert {g.state for g in grants} == {"closed"}
    with pytest.raises(te.Closed):
        grants[0].remote()


def test_buffers_and_grants_in_one_drain(pair) -> None:
    one, two = (pair.owner.register(bytearray(100), remote="grants") for _ in range(2))
    grant = two.grant(blocks=[1], block_bytes=10)
    pair.owner.drain([one, grant])
    assert (one.state, two.state, grant.state) == ("closed", "open", "closed")


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"blocks": [0], "ranges": [(0, 1)]}, te.InvalidArgument, "not both"),
        ({"blocks": [10], "block_bytes": 10}, te.OutOfBounds, "outside"),
        ({"blocks": [-1], "block_bytes": 10}, te.InvalidArgument, "negative"),
        ({"blocks": [0]}, te.InvalidArgument, "block_bytes"),
        ({"ranges": []}, te.InvalidArgument, "empty"),
        ({"ranges": [(0, 0)]}, te.InvalidArgument, "zero"),
        ({"ranges": [(90, 11)]}, te.InvalidArgument, "outside"),
        ({"ranges": [5]}, te.InvalidType, "offset, length"),
        ({"to": "somebody"}, te.InvalidArgument, "32 hexadecimal"),
        ({"to": 5}, te.InvalidType, "to"),
        ({"perm": "x"}, te.InvalidArgument, "perm"),
    ],
)
def test_bad_grants(engine: te.Engine, keywords: dict[str, Any], error: type[te.TransferError], text: str) -> None:
    cache = engine.register(bytearray(100), remote="grants")
    with pytest.raises(error, match=text):
        cache.grant(**keywords)


def test_grant_cannot_exceed_the_buffer(engine: te.Engine) -> None:
    cache = engine.register(bytearray(100), remote="grants", perm="r")
    with pytest.raises(te.PermissionDenied, match="allows 'r' at most"):
        cache.grant(perm="rw")


def test_merge_ranges() -> None:
    assert merge_ranges([(20, 5), (0, 10), (10, 5), (3, 2)], 100) == ((0, 15), (20, 5))


def test_closing_while_a_peer_writes(pair) -> None:
    """After close() returned not one byte changes, though the peer never stops trying."""
    data = bytearray(1 << 20)
    buffer = pair.owner.register(data)
    handle = buffer.remote()
    local = pair.user.register(bytearray(b"\xff" * len(data)))
    running = threading.Event()

    def write() -> None:
        with pytest.raises((te.StaleBuffer, te.Closed)):
            while True:
                pair.peer.write(from_=local, into=handle).wait(timeout=60)
                running.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert running.wait(60)
    buffer.close()
    data[:] = b"\x11" * len(data)
    thread.join(60)
    assert not thread.is_alive()
    assert data.count(0x11) == len(data)


def test_ten_thousand_grants_at_once(pair) -> None:
    count = 10_000
    cache = pair.owner.register(bytearray(count * 16), remote="grants")
    grants = [cache.grant(blocks=[i], block_bytes=16, to=pair.user.instance) for i in range(count)]
    local = pair.user.register(bytearray(b"g" * 16))
    for i in (0, 5000, 9999):
        pair.peer.write(from_=local, into=grants[i].remote().as_bytes()[i * 16 : (i + 1) * 16]).wait(timeout=30)
    assert cache.obj.count(b"g") == 48
    pair.owner.drain(grants)
    assert cache.grants == []
