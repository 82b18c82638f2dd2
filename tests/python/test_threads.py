"""One engine used by many threads at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

import mooncake_te as te
from owner import pattern


def run_all(work: Callable[[int], None], count: int = 8) -> None:
    failures: list[BaseException] = []

    def guarded(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


def test_register_transfer_close(pair) -> None:
    data = pattern(100_000)
    remote = pair.offer(bytearray(data))

    def work(index: int) -> None:
        generator = random.Random(index)
        for _ in range(30):
            size = generator.randrange(1, 100_000)
            with pair.user.register(bytearray(size)) as local:
                pair.peer.read(into=local, from_=remote[:size]).wait(timeout=60)
                assert local.obj == data[:size]

    run_all(work)


def test_many_waiters_for_one_batch(pair) -> None:
    remote, local = pair.offer(bytearray(5_000_000)), pair.user.register(bytearray(5_000_000))
    batch = pair.peer.read(into=local, from_=remote)
    run_all(lambda _: batch.wait(timeout=60) and None)
    assert batch.done


def test_closing_the_engine_under_load(make_engine: Callable[..., te.Engine]) -> None:
    owner, user = make_engine("owner"), make_engine("user")
    remote = owner.register(bytearray(200_000)).remote()
    peer = user.open(owner.address)
    working = threading.Barrier(5)

    def work(index: int) -> None:
        if index == 0:
            working.wait(60)
            user.close()
            return
        local = user.register(bytearray(200_000))
        peer.read(into=local, from_=remote).wait(timeout=60)
        working.wait(60)
        with pytest.raises((te.Closed, te.Canceled)):
            while True:
                peer.read(into=local, from_=remote).wait(timeout=60)

    run_all(work, 5)
    assert user.closed


def test_grants_from_many_threads(pair) -> None:
    cache = pair.owner.register(bytearray(8 * 1000), remote="grants")
    local = pair.user.register(bytearray(b"w" * 8))

    def work(index: int) -> None:
        for i in range(50):
            at = (index * 50 + i) * 8
            with cache.grant(ranges=[(at, 8)], to=pair.user.instance) as grant:
                pair.peer.write(from_=local, into=grant.remote().as_bytes()[at : at + 8]).wait(timeout=60)

    run_all(work)
    assert cache.obj.count(b"w") == 8 * 50 * 8
    assert cache.grants == []
