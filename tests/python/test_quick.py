"""The short way of a transfer (_quick.py) gives the results and the errors of the long way, whatever the arguments are."""

from __future__ import annotations

import dataclasses
import random
from array import array
from collections.abc import Callable
from typing import Any

import pytest

import mooncake_te as te
from mooncake_te import _native, _quick, _segment
from owner import pattern

SIZE = 4096


class Ways:
    """Sends the same call the short way and the long one."""

    def __init__(self, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pair = pair
        self.peer: te.Segment = pair.peer
        self.source = bytearray(pattern(SIZE))
        self.memory = bytearray(SIZE)
        self.remote = pair.offer(self.source)
        self.local = pair.user.register(self.memory)
        self.short = 0
        self.enabled = True

        def quick(*arguments: Any) -> te.Batch | None:
            batch = _quick.submit(*arguments) if self.enabled else None
            self.short += batch is not None
            return batch

        monkeypatch.setattr(_segment, "quick", quick)
        # From here on the library knows the remote buffer, and refuses at once what is outside of it.
        self.once("read", True)

    def once(self, op: str, enabled: bool, **keywords: Any) -> tuple[Any, ...]:
        """What came of one call: the bytes of both sides, or the error."""
        self.enabled = enabled
        self.memory[:] = b"\x05" * SIZE if op == "read" else pattern(SIZE)[::-1]
        self.source[:] = pattern(SIZE)
        keywords = {
            "into" if op == "read" else "from_": self.local,
            "from_" if op == "read" else "into": self.remote,
        } | keywords
        try:
            batch = getattr(self.peer, op)(**keywords)
            batch.wait(timeout=60)
        except te.TransferError as error:
            return type(error), str(error), error.hint
        counts = len(batch), batch.op, batch.peer, batch.outcome, batch.bytes_total
        return bytes(self.memory), bytes(self.source), counts

    def same(self, op: str, **keywords: Any) -> tuple[Any, ...]:
        """Both ways, which must agree; what came, and whether the short way was taken."""
        before = self.short
        by_short = self.once(op, True, **keywords)
        taken = self.short > before
        by_long = self.once(op, False, **keywords)
        assert by_short == by_long, (op, keywords)
        return (*by_short, taken)


@pytest.fixture
def ways(pair: Any, monkeypatch: pytest.MonkeyPatch) -> Ways:
    return Ways(pair, monkeypatch)


def q(*numbers: int) -> array[int]:
    return array("Q", numbers)


@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize("checksum", [None, True, False])
def test_plain_calls_go_the_short_way(ways: Ways, op: str, checksum: bool | None) -> None:
    for into, from_, length in [
        ((0,), (8,), 8),
        ((0, 64, 128), (1024, 7, 512), 64),
        ((3,), (1,), 4000),
        ((0,), (0,), SIZE),
    ]:
        *_, counts, taken = ways.same(
            op, into_offsets=q(*into), from_offsets=q(*from_), lengths=length, checksum=checksum
        )
        assert taken
        assert counts == (len(into), op, "owner", "COMPLETED", len(into) * length)


NOT_PLAIN: list[dict[str, Any]] = [
    {"into_offsets": [0, 8]},
    {"from_offsets": (0, 8)},
    {"into_offsets": array("I", [0, 8])},
    {"into_offsets": array("q", [0, 8])},
    {"into_offsets": array("q", [-1, 8])},
    {"into_offsets": array("d", [0.0, 8.0])},
    {"into_offsets": memoryview(q(0, 8))},
    {"into_offsets": q(0), "lengths": 8},
    {"into_offsets": q(), "from_offsets": q()},
    {"from_offsets": None},
    {"lengths": [8, 8]},
    {"lengths": q(8, 8)},
    {"lengths": None},
    {"lengths": 0},
    {"lengths": -1},
    {"lengths": True},
    {"lengths": 8.0},
    {"lengths": "8"},
    {"lengths": 1 << 63},
    {"lengths": 1 << 64},
    {"checksum": 1},
    {"checksum": 0},
    {"checksum": 1.0},
    {"checksum": "on"},
    {"traffic": "bulk"},
    {"traffic": "slow"},
    {"deadline": 5.0},
    {"stall": 5.0},
    {"trace": 7},
    {"trace": -1},
    {"blocks": [0]},
    {"block_bytes": 8},
]


@pytest.mark.parametrize("change", NOT_PLAIN, ids=repr)
@pytest.mark.parametrize("op", ["read", "write"])
def test_what_is_not_plain_goes_the_long_way(ways: Ways, op: str, change: dict[str, Any]) -> None:
    keywords = {"into_offsets": q(0, 8), "from_offsets": q(16, 24), "lengths": 8} | change
    assert ways.same(op, into_offsets=q(0, 8), from_offsets=q(16, 24), lengths=8)[-1]
    assert not ways.same(op, **keywords)[-1]


@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize(
    ("into", "from_", "length"),
    [
        ((0, 4), (0, 8), 8),  # two requests write the same byte
        ((0, SIZE), (0, 8), 8),
        ((0, 8), (0, SIZE - 7), 8),
        ((0,), (2**64 - 8,), 8),
        ((2**64 - 8,), (0,), 8),
        ((0,), (0,), SIZE + 1),
        ((0,), (0,), 2**63 - 1),
    ],
)
def test_what_the_library_refuses_is_refused_alike(ways: Ways, op: str, into: Any, from_: Any, length: int) -> None:
    error, *_, taken = ways.same(op, into_offsets=q(*into), from_offsets=q(*from_), lengths=length)
    assert issubclass(error, te.TransferError)
    assert not taken


@pytest.mark.parametrize("op", ["read", "write"])
def test_objects_that_are_not_whole_buffers(ways: Ways, op: str) -> None:
    here, there = ("into", "from_") if op == "read" else ("from_", "into")
    plain: dict[str, Any] = {"into_offsets": q(0, 8), "from_offsets": q(16, 24), "lengths": 8}
    assert ways.same(op, **plain)[-1]
    strange = dataclasses.replace(ways.remote, instance="0" * 32)
    wrong_id = dataclasses.replace(ways.remote, id=ways.remote.id + 1000)
    read_only = ways.pair.user.register(bytes(SIZE))
    guarded = ways.pair.offer(bytearray(SIZE), perm="w" if op == "read" else "r")
    granting = ways.pair.owner.register(bytearray(SIZE), remote="grants")
    grant = granting.grant(ranges=[(0, 64)], to=ways.pair.user.instance).remote()
    stranger = ways.pair.owner.register(bytearray(SIZE))
    for keywords in [
        {here: ways.local[0:100]},
        {here: ways.local.as_bytes()},
        {here: ways.memory},
        {here: memoryview(ways.memory)[8:]},
        {here: [ways.local], there: [ways.remote]},
        {here: stranger},
        {here: None},
        {here: ways.remote},
        {there: ways.remote[4:]},
        {there: grant},
        {there: ways.remote.to_json()},
        {there: ways.local},
        {there: None},
        {there: strange},
    ]:
        assert not ways.same(op, **plain | keywords)[-1], keywords
    # Refused on this side: they do not allow it.
    for keywords in [{there: guarded}] + ([{here: read_only}] if op == "read" else []):
        error, *_, taken = ways.same(op, **plain | keywords)
        assert issubclass(error, te.TransferError), keywords
        assert not taken
    # The owner is asked about an ID that nobody knows: the first call is refused by its answer, the next one at once.
    for enabled in (True, False):
        assert issubclass(ways.once(op, enabled, **plain | {there: wrong_id})[0], te.StaleBuffer)
    assert ways.same(op, **plain)[-1]


def test_what_ended_meanwhile(ways: Ways) -> None:
    plain: dict[str, Any] = {"into_offsets": q(0, 8), "from_offsets": q(16, 24), "lengths": 8}
    assert ways.same("read", **plain)[-1]

    closed_remote = ways.pair.owner.register(bytearray(SIZE))
    handle = closed_remote.remote()
    ways.peer.refresh()
    assert ways.same("read", **plain | {"from_": handle})[-1]
    closed_remote.close()
    error, *_ = ways.same("read", **plain | {"from_": handle})
    assert issubclass(error, te.TransferError)

    other = ways.pair.user.register(bytearray(SIZE))
    assert ways.same("read", **plain | {"into": other})[-1]
    other.close()
    error, *_, taken = ways.same("read", **plain | {"into": other})
    assert issubclass(error, te.Closed)
    assert not taken

    assert ways.same("read", **plain)[-1]
    ways.peer.close()
    error, *_, taken = ways.same("read", **plain)
    assert issubclass(error, te.Closed)
    assert not taken


def test_memory_that_is_gone_and_a_forked_child(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: dict[str, Any] = {"into_offsets": q(0), "from_offsets": q(16), "lengths": 8}
    assert ways.same("read", **plain)[-1]
    kept = ways.local._memory
    ways.local._memory = dataclasses.replace(kept, alive=lambda: False)
    error, *_, taken = ways.same("read", **plain)
    assert issubclass(error, te.TransferError)
    assert not taken
    ways.local._memory = kept
    with monkeypatch.context() as forked:
        forked.setattr(_native, "_forked", True)
        with pytest.raises(te.ForkedProcessError):
            ways.peer.read(into=ways.local, from_=ways.remote, **plain)
    assert ways.same("read", **plain)[-1]


def test_closed_engine(ways: Ways) -> None:
    plain: dict[str, Any] = {"into_offsets": q(0), "from_offsets": q(16), "lengths": 8}
    assert ways.same("read", **plain)[-1]
    ways.pair.user.close(timeout=0)
    error, *_, taken = ways.same("read", **plain)
    assert issubclass(error, te.Closed)
    assert not taken


def test_what_is_remembered_is_of_one_call(pair: Any, make_engine: Callable[..., te.Engine]) -> None:
    """Directions, buffers, segments and checksum settings alternate; each call moves its own bytes."""
    third = make_engine("third")
    peers = [pair.peer, pair.user.open(third.address)]
    sources = [[bytearray(bytes([16 * i + k]) * 64) for k in range(2)] for i in range(2)]
    remotes = [
        [owner.register(s).remote() for s in pieces] for owner, pieces in zip((pair.owner, third), sources, strict=True)
    ]
    targets = [bytearray(64) for _ in range(2)]
    locals_ = [pair.user.register(t) for t in targets]
    rng = random.Random(5)
    for _ in range(300):
        i, k, t, at = rng.randrange(2), rng.randrange(2), rng.randrange(2), rng.randrange(64)
        offsets, checksum = q(at), rng.choice([None, True, False])
        common = {"into_offsets": offsets, "from_offsets": offsets, "lengths": 1, "checksum": checksum}
        if rng.random() < 0.5:
            targets[t][at] = 255
            peers[i].read(into=locals_[t], from_=remotes[i][k], **common).wait(timeout=60)
            assert targets[t][at] == sources[i][k][at]
        else:
            targets[t][at] = rng.randrange(256)
            batch = peers[i].write(from_=locals_[t], into=remotes[i][k], **common).wait(timeout=60)
            assert sources[i][k][at] == targets[t][at]
            assert batch.peer == ("owner", "third")[i]


def test_arrays_stay_where_they_are_during_the_call(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    into, from_ = q(0, 8), q(16, 24)
    ways.same("read", into_offsets=into, from_offsets=from_, lengths=8)
    scratch = ways.pair.user._core.scratch
    call, tried = scratch.call, []

    def meddle(*arguments: Any) -> int:
        for offsets in (into, from_):
            with pytest.raises(BufferError):
                offsets.extend([1] * 100_000)
            tried.append(offsets)
        return int(call(*arguments))

    monkeypatch.setattr(scratch, "call", meddle)
    ways.enabled = True
    ways.peer.read(into=ways.local, from_=ways.remote, into_offsets=into, from_offsets=from_, lengths=8).wait(
        timeout=60
    )
    assert len(tried) == 2
    into.extend([1])  # and is free again afterwards


@pytest.mark.parametrize("seed", range(8))
def test_any_arguments(ways: Ways, seed: int) -> None:
    """Property: for arguments drawn from what is likely and what is not, both ways agree, errors to the letter."""
    rng = random.Random(seed)

    shorts = 0
    for _ in range(60):
        n, length = rng.choice([1, 1, 2, 3, 20]), rng.choice([1, 8, 8, 16, 100])
        step = rng.sample(range(SIZE // max(length, 1)), n)
        plain_into, plain_from = q(*(s * length for s in step)), q(*(s * length for s in rng.sample(step, n)))
        keywords: dict[str, Any] = {"into_offsets": plain_into, "from_offsets": plain_from, "lengths": length}
        for _ in range(rng.choice([0, 0, 1, 2])):
            strange: dict[str, Any] = {
                "into_offsets": mixed(rng, n, length),
                "from_offsets": mixed(rng, n, length),
                "lengths": rng.choice([0, -1, 1, 7, SIZE, 2**63, [length] * n, None, True, 2.0]),
                "checksum": rng.choice([True, False, None, 0, 1, 1.0, "x"]),
                "traffic": rng.choice(["latency", "bulk", ""]),
                "trace": rng.choice([0, 1, 2**32]),
            }
            key = rng.choice(list(strange))
            keywords[key] = strange[key]
        shorts += ways.same(rng.choice(["read", "write"]), **keywords)[-1]
    assert shorts > 10


def mixed(rng: random.Random, n: int, length: int) -> Any:
    """Offsets of any form, some of them outside, some overlapping, some too few."""
    values = [rng.choice([rng.randrange(SIZE), i * length, rng.randrange(2 * SIZE), SIZE - length]) for i in range(n)]
    if rng.random() < 0.1:
        values.append(0)
    return rng.choice([q(*values), q(*values), values, tuple(values), array("q", values), array("I", values)])
