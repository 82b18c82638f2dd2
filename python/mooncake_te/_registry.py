"""Which buffer holds an address: transfers may name registered memory by the tensor or array itself."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._buffer import Buffer

_MANY = 16  # from here on sorting everything is cheaper than inserting one by one


class Registry:
    """The live buffers of an engine, by ID and by address. Overlapping ones are allowed. The caller locks."""

    def __init__(self) -> None:
        self._by_id: dict[int, Buffer] = {}
        self._sorted: list[tuple[int, int]] = []  # (address, ID)
        self._longest = 0  # no live buffer is longer: bounds the search to the left

    def add(self, buffers: Sequence[Buffer]) -> None:
        """New buffers."""
        for buffer in buffers:
            self._by_id[buffer.id] = buffer
            self._longest = max(self._longest, buffer.nbytes)
        if len(buffers) < _MANY:
            for buffer in buffers:
                insort(self._sorted, (buffer.address, buffer.id))
        else:  # each insertion moves what lies behind it
            self._sorted += [(buffer.address, buffer.id) for buffer in buffers]
            self._sorted.sort()

    def remove(self, buffer: Buffer) -> None:
        """A buffer that ended."""
        if self._by_id.pop(buffer.id, None) is None:
            return
        del self._sorted[bisect_right(self._sorted, (buffer.address, buffer.id)) - 1]
        if not self._by_id:
            self._longest = 0

    def find(self, low: int, high: int) -> Buffer | None:
        """The newest open buffer that holds [low, high)."""
        best: Buffer | None = None
        at = bisect_right(self._sorted, (low, 2**64))
        while at > 0:
            at -= 1
            address, id = self._sorted[at]
            if address + self._longest < high:
                break
            buffer = self._by_id[id]
            if address + buffer.nbytes >= high and not buffer.closed and (best is None or id > best.id):
                best = buffer
        return best

    def __iter__(self) -> Iterator[Buffer]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)
