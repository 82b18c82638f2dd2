"""Block lists and byte ranges to requests; and everything that cannot be meant."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

import mooncake_te as te
from mooncake_te import _abi
from mooncake_te._blocks import Selection
from mooncake_te._layout import Layout, contiguous, typed

CACHE = typed((10, 4, 8), 2, "float16")  # 10 blocks of 64 bytes


def blocks(into: Layout = CACHE, from_: Layout = CACHE, **keywords: Any) -> tuple[list[int], list[int], list[int]]:
    pieces = Selection(**keywords).apply(into, from_)
    return list(pieces.into), list(pieces.from_), list(pieces.lengths)


def test_same_blocks_on_both_sides() -> None:
    assert blocks(blocks=[3, 7]) == ([192, 448], [192, 448], [64])


def test_pairs_are_into_then_from() -> None:
    assert blocks(blocks=[(0, 9), (1, 8)]) == ([0, 64], [576, 512], [64])


def test_two_lists() -> None:
    assert blocks(blocks=[9, 8], into_blocks=[0, 1]) == ([0, 64], [576, 512], [64])


def test_pairs_as_numpy(needs_numpy) -> None:
    assert blocks(blocks=needs_numpy.array([[0, 9], [1, 8]])) == ([0, 64], [576, 512], [64])


def test_plain_bytes_take_the_other_sides_block() -> None:
    assert blocks(from_=contiguous(640), blocks=[2])[2] == [64]
    assert blocks(into=contiguous(640, offset=8), blocks=[2]) == ([136], [128], [64])


def test_block_bytes() -> None:
    assert blocks(contiguous(100), contiguous(50), blocks=[(9, 4)], block_bytes=10) == ([90], [40], [10])


def test_offset_of_a_part_counts() -> None:
    assert blocks(CACHE.index(slice(2, 6)), CACHE.index(slice(5, 9)), blocks=[1]) == ([192], [384], [64])


def test_strided_blocks() -> None:
    split = typed((2, 10, 32), 2, "float16")  # keys and values apart: block i is two runs
    by_block = Layout(0, (10, 2, 32), (64, 640, 2), 2, "float16")
    assert blocks(by_block, by_block, blocks=[3, 0]) == ([192, 832, 0, 640], [192, 832, 0, 640], [64])
    packed = typed((10, 2, 32), 2, "float16")
    assert blocks(packed, by_block, blocks=[(0, 3)]) == ([0, 64], [192, 832], [64])
    assert split.nbytes == by_block.nbytes


def test_ranges() -> None:
    got = blocks(into_offsets=[0, 64], from_offsets=[64, 0], lengths=[64, 32])
    assert got == ([0, 64], [64, 0], [64, 32])
    assert blocks(CACHE.index(1), CACHE, into_offsets=[0], from_offsets=[6], lengths=2) == ([64], [6], [2])


@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"blocks": [10]}, te.OutOfBounds, "block 10 is outside 'into', which has 10 blocks"),
        ({"blocks": [(0, 10)]}, te.OutOfBounds, "outside 'from_'"),
        ({"blocks": [-1]}, te.InvalidArgument, r"blocks\[0\]: -1 is negative"),
        ({"blocks": [1.0]}, te.InvalidType, "float"),
        ({"blocks": [True]}, te.InvalidType, "bool"),
        ({"blocks": []}, te.InvalidArgument, "empty"),
        ({"blocks": 3}, te.InvalidType, "want a list"),
        ({"blocks": [(1, 2, 3)]}, te.InvalidType, "pair"),
        ({"blocks": [(1, 2), 3]}, te.InvalidType, "pair"),
        ({"blocks": [1, 2], "into_blocks": [1]}, te.InvalidArgument, "into_blocks has 1 entries, blocks has 2"),
        ({"into_blocks": [1]}, te.InvalidArgument, "need blocks"),
        ({"block_bytes": 64}, te.InvalidArgument, "need blocks"),
        ({"blocks": [0], "block_bytes": 0}, te.InvalidArgument, "zero"),
        ({"blocks": [0], "block_bytes": 1000}, te.InvalidArgument, "less than one block"),
        ({"blocks": [0], "lengths": [1]}, te.InvalidArgument, "not both"),
        ({"into_offsets": [0], "lengths": 1}, te.InvalidArgument, "go together"),
        ({"into_offsets": [0, 1], "from_offsets": [0], "lengths": 1}, te.InvalidArgument, "entries"),
        ({"into_offsets": [0], "from_offsets": [0], "lengths": [1, 1]}, te.InvalidArgument, "entries"),
        ({"into_offsets": [0], "from_offsets": [0], "lengths": [0]}, te.InvalidArgument, "zero length"),
        ({"into_offsets": [0], "from_offsets": [0], "lengths": 0}, te.InvalidArgument, "zero length"),
        ({"into_offsets": [639], "from_offsets": [0], "lengths": 2}, te.OutOfBounds, "into_offsets.0.: 639 . 2"),
        ({"into_offsets": [0], "from_offsets": [2**64 - 1], "lengths": 2}, te.OutOfBounds, "from_offsets"),
        ({"into_offsets": [0.5], "from_offsets": [0], "lengths": 2}, te.InvalidType, "float"),
        ({"into_offsets": [-1], "from_offsets": [0], "lengths": 2}, te.InvalidArgument, "negative"),
    ],
)
def test_refused(keywords: dict[str, Any], error: type[te.TransferError], text: str) -> None:
    with pytest.raises(error, match=text):
        blocks(**keywords)


def test_refused_by_layout() -> None:
    with pytest.raises(te.InvalidArgument, match="block_bytes: needed"):
        blocks(contiguous(64), contiguous(64), blocks=[0])
    with pytest.raises(te.InvalidArgument, match="0-d"):
        blocks(typed((), 4, "f"), typed((), 4, "f"), blocks=[0])
    with pytest.raises(te.InvalidArgument, match="shape"):
        blocks(CACHE, typed((10, 4, 9), 2, "float16"), blocks=[0])
    with pytest.raises(te.InvalidArgument, match="dtype"):
        blocks(CACHE, typed((10, 4, 8), 2, "bfloat16"), blocks=[0])
    with pytest.raises(te.InvalidArgument, match="dtype"):
        blocks(CACHE, typed((10, 4, 8), 2, "bfloat16"), blocks=[0], block_bytes=64)
    strided = CACHE.index((slice(None), slice(0, 2)))
    with pytest.raises(te.InvalidArgument, match="contiguous"):
        blocks(strided, strided, into_offsets=[0], from_offsets=[0], lengths=1)
    with pytest.raises(te.InvalidArgument, match="contiguous"):
        blocks(strided, strided, blocks=[0], block_bytes=8)


def test_too_many_requests() -> None:
    many = array("Q", bytes(8 * (_abi.MAX_REQUESTS + 1)))
    with pytest.raises(te.InvalidArgument, match="too many requests: 1048577, at most 1048576"):
        blocks(blocks=many)
