"""Shapes and strides: indexing and pairing against numpy as the judge."""

from __future__ import annotations

import random
from typing import Any

import pytest

import mooncake_te as te
from mooncake_te._layout import Layout, contiguous, match, pair, row_major, typed


def test_row_major_and_contiguous() -> None:
    layout = typed((2, 3, 4), 2, "float16")
    assert layout.strides == (24, 8, 2) == row_major((2, 3, 4), 2)
    assert layout.contiguous
    assert layout.nbytes == 48
    assert layout.span() == (0, 48)
    assert typed((), 4, "int32").contiguous
    assert Layout(0, (1, 5), (999, 4), 4).contiguous  # a dimension of one has no stride to speak of


@pytest.mark.parametrize(
    ("key", "offset", "shape"),
    [
        (1, 24, (3, 4)),
        (-1, 24, (3, 4)),
        ((slice(None), 2), 16, (2, 4)),
        ((..., 3), 6, (2, 3)),
        (slice(1, 2), 24, (1, 3, 4)),
        ((0, slice(None, None, -1)), 16, (3, 4)),
        ((0, 0, 0), 0, ()),
        (..., 0, (2, 3, 4)),
    ],
)
def test_index(key: Any, offset: int, shape: tuple[int, ...]) -> None:
    got = typed((2, 3, 4), 2, "float16").index(key)
    assert (got.offset, got.shape) == (offset, shape)


def test_index_as_numpy(needs_numpy) -> None:
    np = needs_numpy
    base = np.zeros((5, 6, 7), dtype=np.int32)
    layout = typed(base.shape, 4, "int32")
    generator = random.Random(1)
    for _ in range(300):
        key = tuple(
            generator.choice(
                [generator.randrange(-n, n), slice(generator.randrange(n), None, generator.choice([1, 2, -1]))]
            )
            for n in base.shape[: generator.randrange(4)]
        )
        view = base[key]
        if not isinstance(view, np.ndarray) or view.size == 0:
            continue
        got = layout.index(key)
        assert got.shape == view.shape
        assert got.offset == view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        assert got.contiguous == view.flags.c_contiguous
        assert [s for n, s in zip(got.shape, got.strides, strict=True) if n > 1] == [
            s for n, s in zip(view.shape, view.strides, strict=True) if n > 1
        ]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (2, te.OutOfBounds),
        ((0, 0, 0, 0), te.InvalidArgument),
        (1.0, te.InvalidType),
        (True, te.InvalidType),
        ("a", te.InvalidType),
        ((..., ...), te.InvalidArgument),
        (slice(2, 2), te.InvalidArgument),
        (None, te.InvalidType),
    ],
)
def test_bad_index(key: Any, error: type[te.TransferError]) -> None:
    with pytest.raises(error):
        typed((2, 3, 4), 2, "float16").index(key)


def test_match_refuses_and_names_both() -> None:
    with pytest.raises(te.InvalidArgument, match=r"float16\[2\].*bfloat16\[2\]"):
        match(typed((2,), 2, "float16"), typed((2,), 2, "bfloat16"))
    with pytest.raises(te.InvalidArgument, match="shape"):
        match(typed((2, 3), 2, "float16"), typed((3, 2), 2, "float16"))
    with pytest.raises(te.InvalidArgument, match="size"):
        match(contiguous(8), typed((2,), 2, "float16"))
    match(contiguous(12), typed((3, 2), 2, "float16"))


def test_pair_merges_inner_dimensions() -> None:
    whole = typed((4, 3, 8), 4, "f")
    assert pair(whole, whole, 1).nbytes == 4 * 3 * 8 * 4
    columns = typed((4, 6, 8), 4, "f").index((slice(None), slice(0, 3)))
    runs = pair(columns, whole, 4)
    assert runs.nbytes == 3 * 8 * 4
    assert runs.into == (0, 192, 384, 576)
    assert runs.from_ == (0, 96, 192, 288)


def test_pair_plain_bytes_take_the_shape() -> None:
    strided = typed((4, 6), 4, "f").index((slice(None), slice(0, 3)))
    runs = pair(strided, contiguous(48, offset=100), 4)
    assert runs.into == (0, 24, 48, 72)
    assert runs.from_ == (0, 12, 24, 36)


def test_pair_refuses_too_many() -> None:
    transposed = Layout(0, (1000, 1000), (4, 4000), 4, "f")
    with pytest.raises(te.InvalidArgument, match="too many requests.*1000000 pieces"):
        pair(transposed, typed((1000, 1000), 4, "f"), 1000)


def test_pair_moves_what_numpy_would(needs_numpy) -> None:
    np = needs_numpy
    generator = random.Random(2)

    def view(base: Any) -> Any:
        order = generator.sample(range(3), 3)
        return base.transpose(order)

    for _ in range(50):
        shape = [generator.randrange(1, 5) for _ in range(3)]
        order = generator.sample(range(3), 3)
        big = np.arange(1000, dtype=np.int32).reshape(10, 10, 10)
        source = big.transpose(order)[tuple(slice(0, n * s, s) for n, s in zip(shape, (1, 2, 1), strict=True))]
        target_base = np.zeros(shape[::-1], dtype=np.int32)
        target = target_base.transpose(2, 1, 0)
        runs = pair(_of(target), _of(source), 10_000)
        out, data = bytearray(target_base.tobytes()), big.tobytes()
        start = source.__array_interface__["data"][0] - big.__array_interface__["data"][0]
        for to, at in zip(runs.into, runs.from_, strict=True):
            out[to : to + runs.nbytes] = data[start + at : start + at + runs.nbytes]
        np.copyto(target, source)
        assert bytes(out) == target_base.tobytes()


def _of(array: Any) -> Layout:
    return Layout(0, array.shape, array.strides, array.itemsize, array.dtype.name)
