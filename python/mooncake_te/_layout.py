"""Where the elements of an array lie: shape and strides in bytes, as in numpy and torch; and how two of them pair up.

Pure: no memory is touched, nothing of the library is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ._errors import InvalidArgument, InvalidType, OutOfBounds
from ._numbers import integer


@dataclass(frozen=True)
class Layout:
    """`offset` is that of the first element, in bytes from the start of the registration."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int
    dtype: str | None = None  # None: plain bytes

    @property
    def nbytes(self) -> int:
        """Bytes of the elements (not of what lies between them)."""
        return math.prod(self.shape) * self.itemsize

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after another in row-major order."""
        expected = self.itemsize
        for count, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if count != 1 and stride != expected:
                return False
            expected *= count
        return True

    def span(self) -> tuple[int, int]:
        """Offsets of the first byte and of the one after the last."""
        low = self.offset + sum(s * (n - 1) for n, s in zip(self.shape, self.strides, strict=True) if s < 0)
        high = self.offset + sum(s * (n - 1) for n, s in zip(self.shape, self.strides, strict=True) if s > 0)
        return low, high + self.itemsize

    def describe(self) -> str:
        """For messages: dtype and shape, or the number of bytes."""
        if self.dtype is None:
            return f"{self.nbytes} bytes"
        return f"{self.dtype}{list(self.shape)}"

    def as_bytes(self) -> Layout:
        """The same memory as plain bytes."""
        if not self.contiguous:
            raise InvalidArgument(f"as_bytes: {self.describe()} with strides {self.strides} is not contiguous")
        return contiguous(self.nbytes, offset=self.offset)

    def index(self, key: Any) -> Layout:
        """Basic indexing as in numpy: ints, slices and one Ellipsis. A copy of metadata; never of data."""
        keys = self._expanded(key if isinstance(key, tuple) else (key,))
        offset, shape, strides = self.offset, [], []
        for dimension, k in enumerate(keys):
            count, stride = self.shape[dimension], self.strides[dimension]
            if isinstance(k, slice):
                start, stop, step = k.indices(count)
                picked = len(range(start, stop, step))
                if picked == 0:
                    raise InvalidArgument(f"index: {k!r} selects nothing of dimension {dimension} (size {count})")
                offset += start * stride
                shape.append(picked)
                strides.append(stride * step)
                continue
            if isinstance(k, bool) or not hasattr(type(k), "__index__"):
                raise InvalidType(f"index: want ints and slices, got {type(k).__name__} {k!r}")
            position = k.__index__()
            if not -count <= position < count:
                raise OutOfBounds(f"index: {position} is outside dimension {dimension} of size {count}")
            offset += (position % count) * stride
        rest = len(keys)
        return Layout(
            offset,
            (*shape, *self.shape[rest:]),
            (*strides, *self.strides[rest:]),
            self.itemsize,
            self.dtype,
        )

    def _expanded(self, keys: tuple[Any, ...]) -> tuple[Any, ...]:
        """The keys with '...' replaced by whole dimensions; dimensions without a key come last."""
        at = [i for i, k in enumerate(keys) if k is Ellipsis]
        if len(at) > 1:
            raise InvalidArgument("index: more than one '...'")
        missing = len(self.shape) - (len(keys) - len(at))
        if missing < 0:
            raise InvalidArgument(f"index: {len(keys) - len(at)} indices for {len(self.shape)} dimension(s)")
        if not at:
            return keys
        return (*keys[: at[0]], *[slice(None)] * missing, *keys[at[0] + 1 :])


def contiguous(nbytes: int, *, offset: int = 0) -> Layout:
    """Plain bytes."""
    return Layout(offset, (nbytes,), (1,), 1)


def row_major(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of a contiguous array, in bytes."""
    strides, step = [], itemsize
    for count in reversed(shape):
        strides.append(step)
        step *= count
    return tuple(reversed(strides))


def typed(shape: Any, itemsize: int, dtype: str | None, *, offset: int = 0) -> Layout:
    """A contiguous array."""
    sizes = tuple(integer(n, f"shape[{i}]") for i, n in enumerate(shape))
    return Layout(offset, sizes, row_major(sizes, itemsize), itemsize, dtype)


def match(into: Layout, from_: Layout) -> None:
    """Refuses to pair arrays of different dtype, shape or size. Plain bytes match anything of their size."""
    if into.dtype is not None and from_.dtype is not None:
        if into.dtype != from_.dtype:
            raise InvalidArgument(
                f"dtype: 'into' is {into.describe()}, 'from_' is {from_.describe()}",
                hint="as_bytes() ignores the dtype",
            )
        if into.shape != from_.shape:
            raise InvalidArgument(
                f"shape: 'into' is {into.describe()}, 'from_' is {from_.describe()}",
                hint="index one of them, give blocks=, or use as_bytes()",
            )
    if into.nbytes != from_.nbytes:
        raise InvalidArgument(
            f"size: 'into' has {into.nbytes} bytes ({into.describe()}), "
            f"'from_' has {from_.nbytes} bytes ({from_.describe()})",
            hint="index the larger one, or give blocks= or offsets and lengths",
        )


@dataclass(frozen=True)
class Runs:
    """Pieces that are contiguous on both sides: where each begins, in steps from the first element, and its length."""

    into: tuple[int, ...]
    from_: tuple[int, ...]
    nbytes: int


def pair(into: Layout, from_: Layout, limit: int) -> Runs:
    """Cuts two matching arrays into runs that are contiguous in both; more than `limit` of them are refused."""
    match(into, from_)
    if into.contiguous and from_.contiguous:
        return Runs((0,), (0,), into.nbytes)
    # Plain bytes take the other side's shape; match() has seen that the sizes are equal.
    if into.dtype is None and into.contiguous:
        into = replace(from_, strides=row_major(from_.shape, from_.itemsize))
    elif from_.dtype is None and from_.contiguous:
        from_ = replace(into, strides=row_major(into.shape, into.itemsize))
    if into.shape != from_.shape or into.itemsize != from_.itemsize:
        raise InvalidArgument(f"shape: {into.describe()} and {from_.describe()} differ and are not both contiguous")
    run, inner = into.itemsize, len(into.shape)
    while inner:
        count = into.shape[inner - 1]
        if count != 1 and not into.strides[inner - 1] == from_.strides[inner - 1] == run:
            break
        run *= count
        inner -= 1
    runs = math.prod(into.shape[:inner])
    if runs > limit:
        raise InvalidArgument(
            f"too many requests: {into.describe()} with strides {into.strides} and {from_.strides} is {runs} pieces of "
            f"{run} bytes, at most {limit} go in one batch",
            hint="make one side contiguous first, or cut the transfer",
        )
    return Runs(_steps(into, inner), _steps(from_, inner), run)


def _steps(layout: Layout, dimensions: int) -> tuple[int, ...]:
    """Where the elements of the first dimensions begin, in row-major order, in bytes from the first element."""
    steps = [0]
    for count, stride in zip(layout.shape[:dimensions], layout.strides[:dimensions], strict=True):
        steps = [step + i * stride for step in steps for i in range(count)]
    return tuple(steps)
