"""Who holds what: memory in use is never freed early, memory no longer in use is not kept."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import mooncake_te as te
from owner import pattern


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Data(bytearray):
    """A bytearray that can be watched."""


def test_dropping_the_batch_in_flight(make_engine: Callable[..., te.Engine], start_owner: Callable[..., Any]) -> None:
    engine = make_engine("patient", heartbeat_ms=20_000)
    owner = start_owner("8000000")
    peer = engine.open(owner.address)
    data = Data(8_000_000)
    engine.register(data)  # the result is dropped: the engine holds it
    owner.stop()
    peer.read(into=data, from_=te.RemoteBuffer.from_json(owner.handle_json))
    gc.collect()
    assert len(engine._core.flights) == 1
    owner.resume()
    eventually(lambda: not engine._core.flights)
    assert data == pattern(8_000_000)


def test_registered_memory_is_held_until_closed(engine: te.Engine) -> None:
    data = Data(1000)
    gone = weakref.ref(data)
    buffer = engine.register(data)
    del data
    gc.collect()
    assert gone() is not None
    buffer.close()
    gc.collect()
    assert gone() is None


def test_closing_a_buffer_waits_for_its_own_transfers(engine: te.Engine, start_owner: Callable[..., Any]) -> None:
    """close() of a target in flight ends the transfer first; the memory is untouched afterwards."""
    owner = start_owner("8000000")
    peer = engine.open(owner.address)
    data = bytearray(8_000_000)
    buffer = engine.register(data)
    owner.stop()
    batch = peer.read(into=buffer, from_=te.RemoteBuffer.from_json(owner.handle_json))
    buffer.close(timeout=0.2)
    assert batch.done
    data[:] = b"\x5a" * len(data)
    owner.resume()
    assert owner.ask("bytes", 0, 1)
    assert data.count(0x5A) == len(data)
    with pytest.raises(te.TransferError):
        batch.wait(timeout=1)


def test_engine_owned_memory_outlives_buffer_and_engine(
    make_engine: Callable[..., te.Engine], needs_numpy: Any
) -> None:
    engine = make_engine("short-lived")
    array = engine.empty(100_000, "uint8").obj
    view = engine.allocate(4096).obj
    part = array[10:20]
    part[:] = 7
    del array
    engine.close()
    gc.collect()
    assert part.tolist() == [7] * 10
    view[0] = 1
    part[:] = 8
    assert part.tolist() == [8] * 10


def test_engine_owned_memory_is_freed_when_unused(engine: te.Engine) -> None:
    buffer = engine.allocate(1 << 20)
    assert engine.status()["allocated_bytes"] == 1 << 20
    view = buffer.obj
    buffer.close()
    gc.collect()
    assert engine.status()["allocated_bytes"] == 1 << 20
    view.release()
    del view
    eventually(lambda: engine.status()["allocated_bytes"] == 0)


def test_batches_are_freed(pair) -> None:
    remote, local = pair.offer(bytearray(1000)), pair.user.register(bytearray(1000))
    kept = [pair.peer.read(into=local, from_=remote).wait(timeout=30) for _ in range(10)]
    for _ in range(500):
        pair.peer.read(into=local, from_=remote).wait(timeout=30)
    assert len(pair.user._core.flights) <= 12
    assert [batch.outcome for batch in kept] == ["COMPLETED"] * 10


def test_results_can_be_asked_after_the_engine_closed(
    make_engine: Callable[..., te.Engine], start_owner: Callable[..., Any]
) -> None:
    engine = make_engine("closing")
    owner = start_owner("8000000")
    peer = engine.open(owner.address)
    remote = te.RemoteBuffer.from_json(owner.handle_json)
    local = engine.register(bytearray(8_000_000))
    good = peer.read(into=local, from_=remote).wait(timeout=60)
    owner.stop()
    bad = peer.read(into=local, from_=remote)
    engine.close(timeout=0.1)
    assert (good.outcome, good.bytes_done) == ("COMPLETED", 8_000_000)
    assert good.wait() is good
    assert bad.done
    with pytest.raises(te.TransferError) as caught:
        bad.wait(timeout=1)
    assert caught.value.outcome == bad.outcome
    assert len(bad.outcomes()) == 1
    assert bad.explain().details["op"] == "READ"
    bad.cancel()
    assert "closed" in repr(engine)


def test_cycles_leave_descriptors_threads_and_memory_flat(make_engine: Callable[..., te.Engine]) -> None:
    offered = make_engine("offered")
    handle = offered.register(bytearray(1000)).remote()

    def cycle() -> None:
        with te.Engine("cycling") as engine:
            local = engine.register(bytearray(1000))
            with engine.open(offered.address) as peer:
                peer.read(into=local, from_=handle).wait(timeout=30)

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    for _ in range(5):
        cycle()
    eventually(lambda: offered.status()["owner"]["holders"] == 0)
    before = held()
    for _ in range(30):
        cycle()
    eventually(lambda: held()[0] <= before[0] + 2 and held()[1] <= before[1])


def test_register_cycles_are_flat(engine: te.Engine) -> None:
    data = bytearray(4096)
    for _ in range(2000):
        engine.register(data).close()
    assert engine.buffers() == []
    assert engine.status()["owner"]["registrations"] == 0


def test_find_prefers_the_newest_that_holds_it(engine: te.Engine) -> None:
    data = bytearray(1000)
    view = memoryview(data)
    wide = engine.register(view)
    narrow = engine.register(view[100:200])
    base = wide.address
    assert engine._find(base + 120, base + 130) is narrow
    assert engine._find(base + 90, base + 130) is wide
    assert engine._find(base + 990, base + 1001) is None
    assert engine._find(base - 1, base + 1) is None
    narrow.close()
    assert engine._find(base + 120, base + 130) is wide
