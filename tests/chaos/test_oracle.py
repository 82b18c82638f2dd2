"""The oracle must notice every kind of wrong byte, else no test that uses it means anything."""

from __future__ import annotations

from oracle import BLOCK, pattern, wrong

ME, OTHER = "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdee"
SIZE = 64 * BLOCK + 5


def test_its_own_bytes_fit() -> None:
    assert wrong(pattern(ME, 3, 1, SIZE).tobytes(), ME, 3, 1) == []
    assert wrong(pattern(ME, 3, 1, SIZE).tobytes()[BLOCK:], ME, 3, 1, offset=BLOCK) == []


def test_every_other_origin_is_noticed_in_every_block() -> None:
    mine = pattern(ME, 3, 1, SIZE).tobytes()
    for foreign in (pattern(OTHER, 3, 1, SIZE), pattern(ME, 4, 1, SIZE), pattern(ME, 3, 2, SIZE)):
        for block in range(0, SIZE, BLOCK):
            mixed = mine[:block] + foreign.tobytes()[block : block + BLOCK] + mine[block + BLOCK :]
            assert wrong(mixed, ME, 3, 1) == [block]
    moved = mine[BLOCK : 2 * BLOCK] + mine[BLOCK:]
    assert wrong(moved, ME, 3, 1) == [0]
    assert wrong(bytes([mine[0] ^ 1]) + mine[1:], ME, 3, 1) == [0]
