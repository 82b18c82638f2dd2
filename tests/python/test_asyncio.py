"""The same things awaited; a cancelled await ends nothing; several loops and threads share one engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable

import pytest

import mooncake_te as te
from owner import pattern


def _buffers(pair, size: int = 200_000) -> tuple[te.RemoteBuffer, te.Buffer]:
    return pair.offer(bytearray(pattern(size))), pair.user.register(bytearray(size))


def test_await_batch(pair) -> None:
    remote, local = _buffers(pair)

    async def main() -> None:
        batch = pair.peer.read(into=local, from_=remote)
        assert await batch is batch
        assert batch.outcome == "COMPLETED"
        await batch  # again, when final

    asyncio.run(main())
    assert local.obj == pattern(200_000)


def test_many_at_once(pair) -> None:
    remote, local = _buffers(pair, 100 * 1000)

    async def main() -> None:
        batches = [pair.peer.read(into=local, from_=remote, blocks=[i], block_bytes=1000) for i in range(100)]
        await asyncio.gather(*batches)

    asyncio.run(main())
    assert local.obj == pattern(100_000)


def test_everything_else(pair) -> None:
    async def main() -> None:
        async with te.Engine("async") as engine:
            peer = await engine.aopen(pair.owner.address)
            assert await peer.aping() > 0
            await peer.anotify(b"hello", tag="greeting")
            await peer.arefresh()
            async with engine.register(bytearray(10)) as buffer:
                assert buffer.state == "open"
            assert buffer.state == "closed"
            two = engine.register_all([bytearray(10), bytearray(10)])
            assert sorted((await engine.adrain(two)).ids) == sorted(b.id for b in two)
            with pytest.raises(te.PeerUnreachable):
                await engine.aopen("127.0.0.1:1", timeout=0.5)
        assert engine.closed

    asyncio.run(main())
    assert [(n.tag, n.payload) for n in pair.owner.notifications()] == [("greeting", b"hello")]


def test_async_with_batch(pair) -> None:
    remote, local = _buffers(pair)

    async def main() -> None:
        async with pair.peer.read(into=local, from_=remote):
            pass

    asyncio.run(main())
    assert local.obj == pattern(200_000)


def test_failure_is_raised_in_the_await(pair) -> None:
    remote, local = _buffers(pair)
    for buffer in pair.owner.buffers():
        buffer.close()

    async def main() -> None:
        with pytest.raises(te.StaleBuffer):
            await pair.peer.read(into=local, from_=remote)

    asyncio.run(main())


def test_cancelled_await_leaves_the_batch_alone(
    make_engine: Callable[..., te.Engine], start_owner: Callable[..., object]
) -> None:
    engine = make_engine("patient", heartbeat_ms=20_000)
    owner = start_owner("8000000")
    peer = engine.open(owner.address)
    local = engine.register(bytearray(8_000_000))
    owner.stop()

    async def main() -> te.Batch:
        batch = peer.read(into=local, from_=te.RemoteBuffer.from_json(owner.handle_json))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(batch, 0.2)
        task = asyncio.ensure_future(_wait(batch))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not batch.done
        return batch

    batch = asyncio.run(main())
    owner.resume()
    batch.wait(timeout=60)
    assert local.obj == pattern(8_000_000)


async def _wait(batch: te.Batch) -> None:
    await batch


def test_cancelled_drain_goes_on(pair) -> None:
    buffer = pair.owner.register(bytearray(100))

    async def main() -> None:
        task = asyncio.ensure_future(buffer.aclose())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert buffer.closed
    buffer.close()
    assert buffer.state == "closed"


def test_loops_in_several_threads(pair) -> None:
    remote, _ = _buffers(pair)
    failures: list[BaseException] = []

    async def work() -> None:
        local = pair.user.register(bytearray(200_000))
        for _ in range(20):
            await pair.peer.read(into=local, from_=remote)
        assert local.obj == pattern(200_000)

    def run() -> None:
        try:
            asyncio.run(asyncio.wait_for(work(), 60))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_awaiting_leaves_no_descriptor_open(pair) -> None:
    remote, local = _buffers(pair, 1000)

    async def main() -> None:
        before = _eventfds()
        for _ in range(200):
            await pair.peer.read(into=local, from_=remote)
        assert _eventfds() == before

    asyncio.run(main())


def _eventfds() -> int:
    """How many descriptors of this process are eventfds; sockets come and go by themselves."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sum("eventfd" in link for link in links)


def test_engine_closed_while_awaited(make_engine: Callable[..., te.Engine], start_owner: Callable[..., object]) -> None:
    owner = start_owner("8000000")
    engine = make_engine("closing")
    peer = engine.open(owner.address)
    local = engine.register(bytearray(8_000_000))
    owner.stop()

    async def main() -> None:
        batch = peer.read(into=local, from_=te.RemoteBuffer.from_json(owner.handle_json))
        waiting = asyncio.ensure_future(_wait(batch))
        await asyncio.sleep(0.05)
        await engine.aclose(timeout=0.1)
        with pytest.raises(te.TransferError):
            await asyncio.wait_for(waiting, 30)
        assert batch.outcome in ("NOT_APPLIED", "UNKNOWN", "PARTIAL")

    asyncio.run(main())
