"""Checks numbers that callers give and packs them for the C ABI.

Lists of offsets and lengths travel as array('Q') (structure of arrays), the cheapest form without numpy. Where the
application has loaded numpy already, its arrays are taken as they are and the arithmetic is done with it; numpy is never
imported from here.
"""

from __future__ import annotations

import math
import operator
import sys
from array import array
from collections.abc import Iterable, Sequence, Sized
from itertools import pairwise
from typing import Any

from ._errors import InvalidArgument, InvalidType

U64_MAX = 2**64 - 1


def numpy() -> Any:
    """The numpy module if somebody has imported it, else None."""
    return sys.modules.get("numpy")


def integer(value: Any, what: str, *, minimum: int = 0) -> int:
    """One whole number; bool, float and text are refused by name."""
    if type(value) is not int:
        if isinstance(value, bool) or not hasattr(type(value), "__index__") or _is_numpy_bool(value):
            raise InvalidType(f"{what}: want an int, got {type(value).__name__} {value!r}")
        value = operator.index(value)
    if value < minimum:
        if minimum == 1 and value == 0:
            raise InvalidArgument(f"{what}: zero is not allowed")
        raise InvalidArgument(f"{what}: {value} is negative" if value < 0 else f"{what}: {value} is below {minimum}")
    if value > U64_MAX:
        raise InvalidArgument(f"{what}: {value} does not fit 64 bits")
    return int(value)


def _is_numpy_bool(value: Any) -> bool:
    return type(value).__name__ in ("bool_", "bool") and type(value).__module__.startswith("numpy")


def integers(values: Any, what: str) -> array[int]:
    """A list of whole numbers >= 0 as array('Q'): a sequence, range, array or one-dimensional numpy/torch array."""
    if isinstance(values, array) and values.typecode == "Q":
        return values
    if isinstance(values, (str, bytes, set, frozenset, dict)) or not isinstance(values, Iterable):
        raise InvalidType(f"{what}: want a list of ints, got {type(values).__name__}")
    np = numpy()
    if type(values).__module__.partition(".")[0] == "torch":
        tensor: Any = values
        values = tensor.tolist() if np is None else tensor.numpy(force=True)
    if np is not None and isinstance(values, np.ndarray):
        return _from_numpy(np, values, what)
    if not isinstance(values, (list, tuple, range, Sized)):
        values = list(values)
    if not isinstance(values, range) and not set(map(type, values)) <= {int}:
        return array("Q", [integer(v, f"{what}[{i}]") for i, v in enumerate(values)])
    try:
        return array("Q", values)
    except OverflowError:
        return array("Q", [integer(v, f"{what}[{i}]") for i, v in enumerate(values)])


def _from_numpy(np: Any, values: Any, what: str) -> array[int]:
    if values.ndim != 1:
        raise InvalidArgument(f"{what}: want one dimension, got shape {tuple(values.shape)}")
    if values.dtype.kind not in "iu":
        raise InvalidType(f"{what}: want an array of ints, got dtype {values.dtype}")
    if values.dtype.kind == "i" and values.size and int(values.min()) < 0:
        at = int(values.argmin())
        raise InvalidArgument(f"{what}[{at}]: {int(values[at])} is negative")
    packed = array("Q")
    packed.frombytes(np.ascontiguousarray(values, dtype=np.uint64).tobytes())
    return packed


def scaled(values: array[int], factor: int, base: int) -> array[int]:
    """values * factor + base, element by element. The caller has checked that nothing wraps."""
    np = numpy()
    if np is not None and len(values) > 64:
        packed = array("Q")
        packed.frombytes((np.frombuffer(values, dtype=np.uint64) * np.uint64(factor) + np.uint64(base)).tobytes())
        return packed
    return array("Q", [v * factor + base for v in values])


def sums(starts: array[int], steps: Sequence[int]) -> array[int]:
    """For each start: start + step for each step. Steps may be negative; no sum is."""
    if len(steps) == 1 and steps[0] == 0:
        return starts
    np = numpy()
    if np is not None and len(starts) * len(steps) > 64:
        grid = np.frombuffer(starts, dtype=np.uint64).astype(np.int64)[:, None] + np.array(steps, dtype=np.int64)
        packed = array("Q")
        packed.frombytes(grid.astype(np.uint64).tobytes())
        return packed
    return array("Q", [start + step for start in starts for step in steps])


def outside(offsets: array[int], lengths: array[int], size: int) -> int | None:
    """Position of the first range that is not inside [0, size), or None. `lengths` has one entry for all, or one each."""
    if not offsets:
        return None
    if len(lengths) == 1:
        if largest(offsets) + lengths[0] <= size:
            return None
        return next(i for i, offset in enumerate(offsets) if offset + lengths[0] > size)
    return next((i for i, (offset, n) in enumerate(zip(offsets, lengths, strict=True)) if offset + n > size), None)


def overlap(starts: array[int], lengths: array[int]) -> tuple[int, int] | None:
    """Positions of two ranges that overlap, or None. `lengths` has one entry for all, or one for each."""
    count = len(starts)
    if count < 2:
        return None
    same = lengths[0] if len(lengths) == 1 else None
    np = numpy()
    if np is not None and count > 64:
        first = np.frombuffer(starts, dtype=np.uint64)
        order = np.argsort(first, kind="stable")
        sizes = np.uint64(same) if same is not None else np.frombuffer(lengths, dtype=np.uint64)[order][:-1]
        bad = np.flatnonzero(first[order][:-1] + sizes > first[order][1:])
        return (int(order[bad[0]]), int(order[bad[0] + 1])) if bad.size else None
    if same is not None:
        ordered = sorted(starts)
        if all(right - left >= same for left, right in pairwise(ordered)):
            return None
    by_start = sorted(range(count), key=starts.__getitem__)
    for left, right in pairwise(by_start):
        if starts[left] + (lengths[left] if same is None else same) > starts[right]:
            return left, right
    return None


def largest(values: array[int]) -> int:
    """The largest of a list that is not empty."""
    np = numpy()
    if np is not None and len(values) > 64:
        return int(np.frombuffer(values, dtype=np.uint64).max())
    return max(values)


def seconds(value: Any, what: str, *, none: float | None = None) -> float | None:
    """A duration in seconds, >= 0; None gives `none`."""
    if value is None:
        return none
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidType(f"{what}: want seconds as a number, got {type(value).__name__} {value!r}")
    if math.isnan(value) or value < 0:
        raise InvalidArgument(f"{what}: want seconds >= 0, got {value!r}")
    return float(value)


def milliseconds(value: Any, what: str, *, none: int, zero: bool = False) -> int:
    """A duration in seconds as whole milliseconds, rounded up; None gives `none`. 0 is refused unless it means at once."""
    checked = seconds(value, what)
    if checked is None:
        return none
    if checked == 0 and not zero:
        raise InvalidArgument(f"{what}: 0 seconds would end it before it began; leave it out for the default")
    if math.isinf(checked) or checked * 1000 >= 2**63:
        raise InvalidArgument(f"{what}: want a finite number of seconds below 2^63 ms; leave it out for none")
    return math.ceil(checked * 1000)
