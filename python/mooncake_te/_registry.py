"""Which buffer holds an address: transfers may name registered memory by the tensor or array itself."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._buffer import Buffer


class Registry:
    """The live buffers of an engine, by ID and by address. Overlapping ones are allowed. The caller locks."""

    def __init__(self) -> None:
        self._by_id: dict[int, Buffer] = {}
        self._sorted: list[tuple[int, int]] = []  # (address, ID)
        self._longest = 0  # no live buffer is longer: bounds the search to the left

    def add(self, buffer: Buffer) -> None:
        """A new buffer."""
        self._by_id[buffer.id] = buffer
        insort(self._sorted, (buffer.address, buffer.id))
        self._longest = max(self._longest, buffer.nbytes)

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
