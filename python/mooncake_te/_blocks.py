"""Which pieces of two arrays a transfer moves: everything, blocks of the first dimension, or byte ranges.

Pure: it turns what the caller wrote into offsets and lengths, and refuses what cannot be meant.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import Any

from ._abi import MAX_REQUESTS
from ._errors import InvalidArgument, InvalidType, OutOfBounds
from ._layout import Layout, Runs, match, pair
from ._numbers import integer, integers, largest, numpy, outside, scaled, sums


@dataclass
class Pieces:
    """Requests of one pair of buffers. Offsets count from the start of each registration. `lengths`: 1 for all, or n."""

    into: array[int]
    from_: array[int]
    lengths: array[int]

    def __len__(self) -> int:
        return len(self.into)

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return self.lengths[0] * len(self.into) if len(self.lengths) == 1 else sum(self.lengths)


@dataclass(frozen=True)
class Selection:
    """The keywords of Segment.read and Segment.write that pick pieces; see there."""

    blocks: Any = None
    into_blocks: Any = None
    block_bytes: int | None = None
    into_offsets: Any = None
    from_offsets: Any = None
    lengths: Any = None

    def apply(self, into: Layout, from_: Layout) -> Pieces:
        """The pieces for one pair of arrays."""
        by_range = [f for f in ("into_offsets", "from_offsets", "lengths") if getattr(self, f) is not None]
        if by_range and (self.blocks is not None or self.into_blocks is not None or self.block_bytes is not None):
            raise InvalidArgument(f"{by_range[0]}: give either blocks or offsets and lengths, not both")
        if by_range:
            if len(by_range) != 3:
                raise InvalidArgument("into_offsets, from_offsets and lengths go together")
            return self._ranges(into, from_)
        if self.blocks is None:
            if self.into_blocks is not None or self.block_bytes is not None:
                raise InvalidArgument("blocks: into_blocks and block_bytes need blocks")
            return _shifted(pair(into, from_, MAX_REQUESTS), into.offset, from_.offset)
        return self._blocks(into, from_)

    def _ranges(self, into: Layout, from_: Layout) -> Pieces:
        for side, layout in (("into", into), ("from_", from_)):
            if not layout.contiguous:
                raise InvalidArgument(f"{side}: offsets need contiguous memory, not {layout.describe()} with strides")
        targets = integers(self.into_offsets, "into_offsets")
        sources = integers(self.from_offsets, "from_offsets")
        one = type(self.lengths) is int or hasattr(type(self.lengths), "__index__")
        lengths = array("Q", [integer(self.lengths, "lengths")]) if one else integers(self.lengths, "lengths")
        _same_length("into_offsets", targets, "from_offsets", sources)
        if not one:
            _same_length("lengths", lengths, "into_offsets", targets)
        _count(len(targets), "into_offsets")
        if 0 in lengths:
            raise InvalidArgument(f"lengths[{lengths.index(0)}]: zero length")
        for side, offsets, layout in (("into_offsets", targets, into), ("from_offsets", sources, from_)):
            bad = outside(offsets, lengths, layout.nbytes)
            if bad is not None:
                n = lengths[bad if len(lengths) > 1 else 0]
                raise OutOfBounds(
                    f"{side}[{bad}]: {offsets[bad]} + {n} bytes goes past the end of {layout.nbytes} bytes"
                )
        return Pieces(scaled(targets, 1, into.offset), scaled(sources, 1, from_.offset), lengths)

    def _blocks(self, into: Layout, from_: Layout) -> Pieces:
        targets, sources = _block_lists(self.blocks, self.into_blocks)
        into, from_ = _as_blocks(into, from_, self.block_bytes)
        for side, indices, layout in (("into", targets, into), ("from_", sources, from_)):
            worst = largest(indices)
            if worst >= layout.shape[0]:
                raise OutOfBounds(
                    f"blocks: block {worst} is outside {side!r}, which has {layout.shape[0]} blocks "
                    f"of {layout.nbytes // layout.shape[0]} bytes ({layout.describe()})"
                )
        runs = pair(into.index(0), from_.index(0), MAX_REQUESTS)
        _count(len(targets) * len(runs.into))
        return Pieces(
            sums(_starts(targets, into), runs.into),
            sums(_starts(sources, from_), runs.from_),
            array("Q", [runs.nbytes]),
        )


def _starts(indices: array[int], layout: Layout) -> array[int]:
    if layout.strides[0] >= 0:
        return scaled(indices, layout.strides[0], layout.offset)
    return array("Q", [layout.offset + i * layout.strides[0] for i in indices])


def _shifted(runs: Runs, into: int, from_: int) -> Pieces:
    return Pieces(sums(array("Q", [into]), runs.into), sums(array("Q", [from_]), runs.from_), array("Q", [runs.nbytes]))


def _same_length(name: str, values: array[int], other: str, others: array[int]) -> None:
    if len(values) != len(others):
        raise InvalidArgument(f"{name} has {len(values)} entries, {other} has {len(others)}")


def _count(n: int, what: str = "blocks") -> None:
    if n == 0:
        raise InvalidArgument(f"{what}: the list is empty")
    if n > MAX_REQUESTS:
        raise InvalidArgument(f"too many requests: {n}, at most {MAX_REQUESTS} go in one batch", hint="cut the list")


def _block_lists(blocks: Any, into_blocks: Any) -> tuple[array[int], array[int]]:
    """Target and source block numbers from [i, ...], [(into, from_), ...] or two lists."""
    if into_blocks is not None:
        sources, targets = integers(blocks, "blocks"), integers(into_blocks, "into_blocks")
        _same_length("into_blocks", targets, "blocks", sources)
    else:
        np = numpy()
        if np is not None and isinstance(blocks, np.ndarray) and blocks.ndim == 2:
            if blocks.shape[1] != 2:
                raise InvalidArgument(f"blocks: want pairs (into, from_), got shape {blocks.shape}")
            targets, sources = integers(blocks[:, 0], "blocks"), integers(blocks[:, 1], "blocks")
        elif isinstance(blocks, (list, tuple)) and blocks and isinstance(blocks[0], (tuple, list)):
            for i, entry in enumerate(blocks):
                if not isinstance(entry, (tuple, list)) or len(entry) != 2:
                    raise InvalidType(f"blocks[{i}]: want a pair (into, from_) like the first one, got {entry!r}")
            targets = integers([entry[0] for entry in blocks], "blocks (into)")
            sources = integers([entry[1] for entry in blocks], "blocks (from_)")
        else:
            targets = sources = integers(blocks, "blocks")
    _count(len(targets))
    return targets, sources


def _as_blocks(into: Layout, from_: Layout, block_bytes: int | None) -> tuple[Layout, Layout]:
    """Both sides as arrays whose first dimension counts blocks."""
    if block_bytes is not None:
        size = integer(block_bytes, "block_bytes", minimum=1)
        if into.dtype is not None and from_.dtype is not None and into.dtype != from_.dtype:
            match(into, from_)
        return _cut(into, size, "into"), _cut(from_, size, "from_")
    if into.dtype is None and from_.dtype is None:
        raise InvalidArgument("block_bytes: needed, because both sides are plain bytes")
    if into.dtype is None:
        into = _cut(into, _block_size(from_, "from_"), "into")
    elif from_.dtype is None:
        from_ = _cut(from_, _block_size(into, "into"), "from_")
    else:
        _block_size(into, "into")
        _block_size(from_, "from_")
    return into, from_


def _block_size(layout: Layout, side: str) -> int:
    if not layout.shape:
        raise InvalidArgument(f"blocks: {side!r} is 0-d and has no blocks")
    return layout.nbytes // layout.shape[0]


def _cut(layout: Layout, size: int, side: str) -> Layout:
    if not layout.contiguous:
        raise InvalidArgument(
            f"block_bytes: {side!r} is not contiguous ({layout.describe()} with strides {layout.strides})"
        )
    if layout.nbytes < size:
        raise InvalidArgument(f"block_bytes: {side!r} has {layout.nbytes} bytes, less than one block of {size}")
    return replace(layout, shape=(layout.nbytes // size, size), strides=(size, 1), itemsize=1, dtype=None)
