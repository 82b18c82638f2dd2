"""What is no array and no value says so: iterating, searching, copying and pickling are refused at once, by name."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import mooncake_te as te


@pytest.fixture
def objects(pair) -> dict[str, Any]:
    buffer = pair.owner.register(bytearray(1000), remote="grants")
    grant = buffer.grant()
    local = pair.user.register(bytearray(1000), remote=False)
    batch = pair.peer.read(into=local, from_=grant.remote()).wait(timeout=30)
    return {
        "Engine": pair.owner,
        "Buffer": buffer,
        "BufferView": buffer[3:5],
        "Grant": grant,
        "Segment": pair.peer,
        "Batch": batch,
        "RemoteBuffer": grant.remote(),
    }


@pytest.mark.parametrize("name", ["Engine", "Buffer", "BufferView", "Grant", "Segment", "Batch"])
def test_not_copied(objects: dict[str, Any], name: str) -> None:
    for act in (pickle.dumps, copy.copy, copy.deepcopy, multiprocessing.reduction.ForkingPickler.dumps):
        with pytest.raises(te.InvalidType, match=f"{name} cannot be pickled or copied") as caught:
            act(objects[name])
        assert isinstance(caught.value, TypeError)
        assert caught.value.hint
    assert pickle.loads(pickle.dumps(objects["RemoteBuffer"])) == copy.copy(objects["RemoteBuffer"])


@pytest.mark.parametrize("name", ["Buffer", "BufferView", "Grant", "RemoteBuffer"])
def test_not_iterable(objects: dict[str, Any], name: str) -> None:
    for act in (list, iter, lambda value: 0 in value, lambda value: [*value]):
        with pytest.raises(TypeError):
            act(objects[name])


@pytest.mark.parametrize("name", ["Buffer", "BufferView", "Grant", "RemoteBuffer"])
def test_not_an_array(objects: dict[str, Any], name: str, needs_numpy: Any) -> None:
    with pytest.raises(te.InvalidType, match=f"a {name} names memory"):
        needs_numpy.asarray(objects[name])


def test_drain_takes_one(objects: dict[str, Any]) -> None:
    grant, buffer = objects["Grant"], objects["Buffer"]
    assert grant.engine.drain(grant).ids == (grant.id,)
    assert buffer.engine.drain(buffer).ids == (buffer.id,)
    with pytest.raises(te.InvalidType, match="drain"):
        buffer.engine.drain(7)


def test_dropped_segment_is_closed(pair, make_engine: Callable[..., te.Engine]) -> None:
    other = make_engine("other")
    closed: list[int] = []
    library = other._core.library
    real = library.te_segment_close

    def record(engine: int, handle: int) -> int:
        code = int(real(engine, handle))
        closed.append(code)
        return code

    other._core.library = _With(library, te_segment_close=record)
    buffer = other.register(bytearray(100), remote=False)
    segment = other.open(pair.owner.address)
    batch = segment.read(into=buffer, from_=pair.offer(bytearray(b"x" * 100)))
    del segment
    gc.collect()
    batch.wait(timeout=30)
    assert buffer.obj == b"x" * 100
    other._core.reaper.stop(timeout=30)  # after a last look at everything
    assert closed == [0]


class _With:
    """A library with some functions replaced."""

    def __init__(self, library: Any, **replaced: Any) -> None:
        self._library = library
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


def test_names_of_listed_buffers(pair) -> None:
    with pytest.raises(te.InvalidType, match="name: want str, got int"):
        pair.peer.buffer(3)
    with pytest.raises(te.InvalidArgument, match="name"):
        pair.peer.buffer("")


def test_zero_seconds(pair) -> None:
    remote, local = pair.offer(bytearray(100)), pair.user.register(bytearray(100), remote=False)
    for keyword in ("deadline", "stall"):
        with pytest.raises(te.InvalidArgument, match=f"{keyword}: 0 seconds"):
            pair.peer.read(into=local, from_=remote, **{keyword: 0})
    for call in (pair.peer.ping, pair.peer.refresh, lambda timeout: pair.user.open(pair.owner.address, timeout)):
        with pytest.raises(te.InvalidArgument, match="timeout: 0 seconds"):
            call(0)
    pair.peer.read(into=local, from_=remote).wait(timeout=30).wait(timeout=0)
    local.close(timeout=0)


def test_repr_of_an_error_says_what_happened() -> None:
    error = te.StaleBuffer("buffer 7 is gone", op="read", segment="prefill-0", hint="ask again")
    assert repr(error) == "<StaleBuffer: read: STALE_BUFFER: buffer 7 is gone [segment prefill-0] (ask again)>"
