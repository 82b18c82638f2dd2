"""Numbers and lists of numbers: what is taken, what is refused, and the two ways (plain, numpy) agree."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise

import pytest

import mooncake_te as te
from mooncake_te import _numbers as n


@pytest.fixture(params=["plain", "numpy"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        request.getfixturevalue("needs_numpy")
    else:
        monkeypatch.setattr(n, "numpy", lambda: None)


@pytest.mark.parametrize("value", [1.0, "1", None, True, [1]])
def test_integer_refuses_other_kinds(value: object) -> None:
    with pytest.raises(te.InvalidType, match="want an int"):
        n.integer(value, "n")


@pytest.mark.parametrize("value", [-1, 2**64])
def test_integer_refuses_out_of_range(value: int) -> None:
    with pytest.raises(te.InvalidArgument):
        n.integer(value, "n")


def test_numpy_scalars(needs_numpy) -> None:
    assert n.integer(needs_numpy.int32(5), "n") == 5
    assert type(n.integer(needs_numpy.uint64(5), "n")) is int
    for bad in (needs_numpy.float32(5), needs_numpy.bool_(True)):
        with pytest.raises(te.InvalidType):
            n.integer(bad, "n")


@pytest.mark.parametrize("values", [[1, 2, 3], (1, 2, 3), range(1, 4), array("Q", [1, 2, 3]), array("i", [1, 2, 3])])
def test_integers(values: object) -> None:
    assert n.integers(values, "v") == array("Q", [1, 2, 3])


@pytest.mark.parametrize(
    ("values", "position"),
    [([1, -2], 1), ([0, 1.0], 1), ([True, 1], 0), ([1, None], 1), ([1, 2, "3"], 2), (range(-1, 3), 0), ([2**64], 0)],
)
def test_integers_refuse_and_name_the_position(values: object, position: int) -> None:
    with pytest.raises(te.InvalidArgument, match=rf"v\[{position}\]"):
        n.integers(values, "v")


@pytest.mark.parametrize("values", ["123", b"123", 7, {1, 2}, {1: 2}, None])
def test_integers_refuse_what_is_no_list(values: object) -> None:
    with pytest.raises(te.InvalidType):
        n.integers(values, "v")


def test_integers_from_numpy(needs_numpy) -> None:
    np = needs_numpy
    assert n.integers(np.arange(1, 4, dtype=np.int32)[::-1], "v") == array("Q", [3, 2, 1])
    assert n.integers(np.array([2**63], dtype=np.uint64), "v") == array("Q", [2**63])
    for bad in (np.array([1.0]), np.array([True]), np.array([[1]]), np.array([1, -1])):
        with pytest.raises(te.InvalidArgument):
            n.integers(bad, "v")


def test_integers_from_torch(needs_torch) -> None:
    assert n.integers(needs_torch.tensor([3, 1]), "v") == array("Q", [3, 1])
    with pytest.raises(te.InvalidArgument):
        n.integers(needs_torch.tensor([3.0]), "v")


@pytest.mark.usefixtures("arithmetic")
def test_scaled_and_sums() -> None:
    values = array("Q", range(100))
    assert n.scaled(values, 3, 5) == array("Q", [3 * v + 5 for v in range(100)])
    steps = [0, 8, -4]
    assert n.sums(array("Q", [10, 20] * 50), steps) == array("Q", [v + s for v in [10, 20] * 50 for s in steps])


@pytest.mark.usefixtures("arithmetic")
def test_overlap() -> None:
    starts = array("Q", [i * 10 for i in reversed(range(100))])
    assert n.overlap(starts, array("Q", [10])) is None
    assert n.overlap(starts, array("Q", [10] * 100)) is None
    a, b = n.overlap(starts, array("Q", [11])) or (0, 0)
    assert abs(starts[a] - starts[b]) == 10
    lengths = array("Q", [10] * 100)
    lengths[40] = 11
    assert set(n.overlap(starts, lengths) or ()) == {39, 40}
    assert n.overlap(array("Q", [5, 5]), array("Q", [1])) is not None
    assert n.overlap(array("Q", [5]), array("Q", [1])) is None


def test_outside() -> None:
    assert n.outside(array("Q", [0, 8]), array("Q", [8]), 16) is None
    assert n.outside(array("Q", [0, 9, 16]), array("Q", [8]), 16) == 1
    assert n.outside(array("Q", [0, 9]), array("Q", [16, 8]), 16) == 1
    assert n.outside(array("Q", [2**64 - 1]), array("Q", [2]), 16) == 0


def test_durations() -> None:
    assert n.milliseconds(None, "t", none=-1) == -1
    assert n.milliseconds(0, "t", none=-1, zero=True) == 0
    assert n.milliseconds(0.0001, "t", none=-1) == 1
    for bad in (0, -1, math.nan, 1e300):
        with pytest.raises(te.InvalidArgument):
            n.milliseconds(bad, "t", none=-1)
    for bad in ("1", True):
        with pytest.raises(te.InvalidType):
            n.milliseconds(bad, "t", none=-1)
    with pytest.raises(te.InvalidArgument):
        n.milliseconds(math.inf, "t", none=-1)
    assert all(a < b for a, b in pairwise([n.milliseconds(s, "t", none=0) for s in (0.001, 0.002, 1)]))
