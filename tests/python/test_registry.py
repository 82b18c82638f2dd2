"""Buffers are found by the memory that they hold, however many were registered at a time and in whatever order."""

from __future__ import annotations

import random

import pytest

import mooncake_te as te


@pytest.mark.parametrize("count", [1, 15, 16, 1000])
def test_batches_are_found_in_any_order(engine: te.Engine, count: int) -> None:
    memory = memoryview(bytearray(64 * count * 2))
    pieces = [memory[64 * i : 64 * (i + 1)] for i in range(count * 2)]
    random.Random(count).shuffle(pieces)
    buffers = engine.register_all(pieces[:count]) + engine.register_all(pieces[count:])
    assert len({b.address for b in buffers}) == count * 2
    for buffer in buffers:
        assert engine._find(buffer.address, buffer.address + 64) is buffer
        assert engine._find(buffer.address, buffer.address + 65) is None
    gone = buffers[::3]
    engine.drain(gone, timeout=0)
    for buffer in buffers:
        held = engine._find(buffer.address + 1, buffer.address + 2)
        assert held is (None if buffer in gone else buffer)
