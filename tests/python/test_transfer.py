"""READ and WRITE of every kind of memory, whole and in parts, between two engines of a process and to oneself."""

from __future__ import annotations

import random
from typing import Any

import pytest

import mooncake_te as te
from owner import pattern


@pytest.mark.parametrize("size", [1, 63, 64, 4096, 1_000_003, 20_000_000])
def test_read_and_write_bytes(pair, size: int) -> None:
    source, target = bytearray(pattern(size)), bytearray(size)
    remote = pair.offer(source)
    local = pair.user.register(target)
    batch = pair.peer.read(into=local, from_=remote).wait(timeout=60)
    assert target == source
    assert (batch.outcome, batch.bytes_done, batch.bytes_total, batch.progress) == ("COMPLETED", size, size, 1.0)
    assert batch.done
    assert batch.remote_quiet
    assert batch.error() is None
    target[:] = b"\x05" * size
    assert pair.peer.write(from_=local, into=remote).wait(timeout=60).outcome == "COMPLETED"
    assert source == target


def test_to_oneself(engine: te.Engine) -> None:
    source, target = engine.register(bytearray(b"abc" * 1000)), engine.register(bytearray(3000))
    peer = engine.open(engine.address)
    peer.read(into=target, from_=source.remote()).wait(timeout=30)
    assert target.obj == source.obj
    assert peer.instance == engine.instance


def test_pattern_registered_objects_by_themselves(pair) -> None:
    source, target = bytearray(b"x" * 100), bytearray(100)
    remote = pair.offer(source)
    pair.user.register(target)
    pair.peer.read(into=target, from_=remote).wait(timeout=30)
    assert target == source
    pair.peer.read(into=memoryview(target)[10:20], from_=remote[:10]).wait(timeout=30)


@pytest.mark.parametrize("count", [1, 1024, 5000, 70_000])
def test_scattered_blocks(pair, count: int) -> None:
    block = 16
    source, target = bytearray(pattern(count * block)), bytearray(count * block)
    order = list(range(count))
    random.Random(count).shuffle(order)
    remote, local = pair.offer(source), pair.user.register(target)
    batch = pair.peer.read(into=local, from_=remote, blocks=order, into_blocks=range(count), block_bytes=block)
    batch.wait(timeout=120)
    assert len(batch) == count
    assert target == b"".join(source[i * block : (i + 1) * block] for i in order)
    pairs = list(zip(order, range(count), strict=True))
    pair.peer.write(from_=local, into=remote, blocks=pairs, block_bytes=block).wait(timeout=120)
    assert source == pattern(count * block)


def test_offsets_and_lengths(pair) -> None:
    source, target = bytearray(pattern(1000)), bytearray(1000)
    remote, local = pair.offer(source), pair.user.register(target)
    pair.peer.read(into=local, from_=remote, into_offsets=[0, 500], from_offsets=[990, 3], lengths=[10, 7]).wait(
        timeout=30
    )
    assert target[:10] == source[990:]
    assert target[500:507] == source[3:10]
    assert target.count(0) >= 1000 - 17
    pair.peer.read(into=local[100:], from_=remote[500:], into_offsets=[0], from_offsets=[0], lengths=5).wait(timeout=30)
    assert target[100:105] == source[500:505]


def test_many_buffers_in_one_batch(pair) -> None:
    sources = [bytearray(pattern(400)[i:] + pattern(i)) for i in range(8)]
    targets = [bytearray(400) for _ in range(8)]
    remotes = [b.remote() for b in pair.owner.register_all(sources)]
    locals_ = pair.user.register_all(targets)
    batch = pair.peer.read(into=locals_, from_=remotes).wait(timeout=30)
    assert len(batch) == 8
    assert targets == sources
    for target in targets:
        target[:] = bytes(400)
    pair.peer.read(into=locals_, from_=remotes, blocks=[3, 1], block_bytes=100).wait(timeout=30)
    for source, target in zip(sources, targets, strict=True):
        assert target == bytes(100) + source[100:200] + bytes(100) + source[300:]


def test_numpy_strides(pair, needs_numpy: Any) -> None:
    np = needs_numpy
    source = np.arange(24 * 10, dtype=np.float32).reshape(10, 24)
    target = np.zeros((10, 24), dtype=np.float32)
    remote = pair.offer(source)
    pair.user.register(target)
    pair.peer.read(into=target[:, 4:8], from_=remote[:, 12:16]).wait(timeout=30)
    expected = np.zeros_like(target)
    expected[:, 4:8] = source[:, 12:16]
    assert (target == expected).all()
    pair.peer.write(from_=target[::-1], into=remote).wait(timeout=30)
    assert (source == expected[::-1]).all()


def test_numpy_kinds(pair, needs_numpy: Any) -> None:
    np = needs_numpy
    for source in (np.array(3.5), np.arange(6, dtype=np.int8).reshape(2, 3), np.zeros((2, 0, 3))):
        if source.size == 0:
            with pytest.raises(te.InvalidArgument, match="zero length"):
                pair.owner.register(source)
            continue
        target = np.zeros_like(source)
        remote = pair.offer(source)
        assert (remote.dtype, remote.shape) == (source.dtype.name, source.shape)
        pair.peer.read(into=pair.user.register(target), from_=remote).wait(timeout=30)
        assert (target == source).all()


def test_torch_tensors(pair, needs_torch: Any) -> None:
    torch = needs_torch
    source = torch.randn(6, 4, 8).to(torch.bfloat16)
    target = torch.zeros_like(source)
    remote, local = pair.offer(source), pair.user.register(target)
    assert (remote.dtype, remote.shape) == ("bfloat16", (6, 4, 8))
    pair.peer.read(into=local, from_=remote).wait(timeout=30)
    assert torch.equal(source, target)
    target.zero_()
    pair.peer.read(into=target[1:3, :, 2], from_=remote[4:6, :, 5]).wait(timeout=30)
    assert torch.equal(target[1:3, :, 2], source[4:6, :, 5])
    assert target.count_nonzero() <= 8
    pair.peer.read(into=local, from_=remote, blocks=[(0, 5), (5, 0)]).wait(timeout=30)
    assert torch.equal(target[0], source[5])
    assert torch.equal(target[5], source[0])


def test_torch_to_numpy_by_dtype_name(pair, needs_torch: Any, needs_ml_dtypes: Any, needs_numpy: Any) -> None:
    source = needs_torch.tensor([1.5, -2.0, 3.0], dtype=needs_torch.bfloat16)
    target = needs_numpy.zeros(3, dtype=needs_ml_dtypes.bfloat16)
    pair.peer.read(into=pair.user.register(target), from_=pair.offer(source)).wait(timeout=30)
    assert target.astype("float32").tolist() == [1.5, -2.0, 3.0]


def test_torch_grad_is_read_from(pair, needs_torch: Any) -> None:
    weight = needs_torch.nn.Parameter(needs_torch.arange(4.0))
    remote = pair.offer(weight)
    assert remote.perm == "r"
    target = needs_torch.zeros(4)
    pair.peer.read(into=pair.user.register(target), from_=remote).wait(timeout=30)
    assert target.tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("checksum", [True, False, None])
@pytest.mark.parametrize("traffic", ["latency", "bulk"])
def test_options(pair, checksum: bool | None, traffic: str) -> None:
    source, target = bytearray(pattern(100_000)), bytearray(100_000)
    remote, local = pair.offer(source), pair.user.register(target)
    batch = pair.peer.read(
        into=local, from_=remote, checksum=checksum, traffic=traffic, deadline=60, stall=30, trace=77
    )
    batch.wait(timeout=60)
    assert target == source


def test_outcomes_and_explain(pair) -> None:
    remote, local = pair.offer(bytearray(1000)), pair.user.register(bytearray(1000))
    batch = pair.peer.read(into=local, from_=remote, blocks=[1, 3, 5], block_bytes=100).wait(timeout=30)
    assert batch.outcomes() == [("COMPLETED", None)] * 3
    explanation = pair.user.explain(batch)
    assert explanation.path == "tcp"
    assert explanation.why
    assert explanation.details["bytes_total"] == 300
    assert "tcp" in str(explanation)


def test_batch_as_context_manager(pair) -> None:
    source, target = bytearray(b"q" * 1000), bytearray(1000)
    remote, local = pair.offer(source), pair.user.register(target)
    with pair.peer.read(into=local, from_=remote) as batch:
        assert batch.bytes_total == 1000
    assert target == source


def test_registered_under_names(pair) -> None:
    pair.owner.register_all({"a": bytearray(10), "b": bytearray(20)})
    pair.owner.register(bytearray(30), remote=False)
    pair.owner.register(bytearray(40), remote="grants")
    assert pair.peer.buffer("b").length == 20
    assert sorted(handle.name for handle in pair.peer.buffers()) == ["a", "b"]
    with pytest.raises(te.StaleBuffer, match="no buffer named 'c'"):
        pair.peer.buffer("c")


def test_overlapping_registrations_are_each_their_own(pair) -> None:
    data = bytearray(pattern(1000))
    whole, part = pair.offer(data), pair.offer(memoryview(data)[100:200])
    target = pair.user.register(bytearray(100))
    pair.peer.read(into=target, from_=part).wait(timeout=30)
    assert target.obj == data[100:200]
    pair.owner.buffers()[1].close()
    pair.peer.read(into=target, from_=whole[:100]).wait(timeout=30)
    assert target.obj == data[:100]


def test_foreign_memory_by_address(pair) -> None:
    import ctypes

    area = (ctypes.c_char * 100)(*b"z" * 100)
    remote = pair.offer((ctypes.addressof(area), 100))
    target = pair.user.register(bytearray(100))
    pair.peer.read(into=target, from_=remote).wait(timeout=30)
    assert target.obj == b"z" * 100


def test_engine_owned_memory(pair, needs_numpy: Any) -> None:
    buffer = pair.owner.allocate(5000, name="owned")
    assert bytes(buffer.obj) == bytes(5000)
    assert buffer.address % 4096 == 0
    buffer.obj[:4] = b"abcd"
    array = pair.user.empty((5, 1000), "uint8")
    assert array.obj.shape == (5, 1000)
    pair.peer.read(into=array.as_bytes(), from_=buffer.remote()).wait(timeout=30)
    assert bytes(array.obj[0, :4]) == b"abcd"


def test_engine_owned_torch(pair, needs_torch: Any) -> None:
    source = pair.owner.empty((4, 4), needs_torch.bfloat16)
    source.obj.fill_(2.5)
    target = pair.user.empty((4, 4), "bfloat16", framework="torch")
    pair.peer.read(into=target, from_=source.remote()).wait(timeout=30)
    assert target.obj.eq(2.5).all()


def test_status_metrics_info(pair) -> None:
    assert pair.owner.info.name == "owner"
    assert len(pair.owner.instance) == 32
    assert pair.owner.status()["instance"] == pair.owner.instance
    assert "# TYPE mooncake_te_" in pair.user.metrics()
    assert pair.peer.ping() > 0


def test_reprs_name_the_thing(pair) -> None:
    buffer = pair.owner.register(bytearray(100), name="kv")
    local = pair.user.register(bytearray(100))
    batch = pair.peer.read(into=local, from_=buffer.remote()).wait(timeout=30)
    assert repr(buffer) == f"<Buffer {buffer.id} 'kv': 100 bytes, remote=all rw, open>"
    assert "'owner'" in repr(pair.owner)
    assert pair.owner.address in repr(pair.peer)
    assert repr(batch) == "<Batch read owner: 1 request(s), 100 of 100 bytes, COMPLETED>"
    assert repr(buffer[3:5]) == f"<BufferView 2 bytes of buffer {buffer.id}>"
