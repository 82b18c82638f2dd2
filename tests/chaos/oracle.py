"""The pattern oracle: what every 64 bytes of a buffer must be, from who wrote them, where, and in which operation.

A byte that comes from another instance, another buffer, another place or another operation does not fit, so that a reader
and an owner can tell foreign, torn and late data from their own.
"""

from __future__ import annotations

from typing import Any

import numpy

BLOCK = 64
_WORDS = BLOCK // 8
_MIX = numpy.uint64(0x9E3779B97F4A7C15)


def pattern(instance: str, buffer: int, operation: int, size: int, offset: int = 0) -> Any:
    """`size` bytes from `offset` (a multiple of 64) of the buffer, as one operation of an instance writes them."""
    assert offset % BLOCK == 0
    blocks = (size + BLOCK - 1) // BLOCK
    who = int(instance, 16)
    with numpy.errstate(over="ignore"):
        where = numpy.arange(offset // BLOCK, offset // BLOCK + blocks, dtype=numpy.uint64)
        out = numpy.empty((blocks, _WORDS), dtype=numpy.uint64)
        key = [who & (2**64 - 1), who >> 64, buffer, operation]
        for word in range(_WORDS):
            x = where * _MIX + numpy.uint64(word)
            for part in key:
                x = (x ^ numpy.uint64(part & (2**64 - 1))) * _MIX
                x ^= x >> numpy.uint64(29)
            out[:, word] = x
    return out.reshape(-1).view(numpy.uint8)[:size]


def wrong(data: Any, instance: str, buffer: int, operation: int, offset: int = 0) -> list[int]:
    """Offsets of the first few blocks that are not as that operation wrote them."""
    data = numpy.frombuffer(data, dtype=numpy.uint8)
    bad = numpy.nonzero(data != pattern(instance, buffer, operation, len(data), offset))[0]
    return sorted({int(i) // BLOCK * BLOCK for i in bad[:10_000]})[:10]
