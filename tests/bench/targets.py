"""What the TCP rows of docs/performance.md promise, as ratios inside one run."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN = ("plain C, 1 connection", "plain C, 2 connections")
ON, OFF = "mooncake_te, CRC on", "mooncake_te, CRC off"
# The same with a processor for each side, as over a network (docs/design/0008).
APART = ", apart"
PLAIN_APART = (PLAIN[0] + APART, PLAIN[1] + APART)
MOONCAKE = "Mooncake wheel, TCP"


@dataclass(frozen=True)
class Target:
    """`ours` against the best of `against`: at least `bound` times its rate, or at most `bound` times its latency."""

    ours: str
    against: tuple[str, ...]
    bounds: dict[str, float]
    latency: dict[str, float]
    cpu: float | None = None  # CPU seconds per GB, at most so many times the same row of `against`
    # No more than this share of the better plain C row (apart) is ever asked for, whatever `against` does.
    cap: float | None = None
    counts: bool = True  # else the ratio is for information


WITHOUT_CRC = {"W1": 0.85, "W2": 0.8, "W3": 0.85, "W4": 0.85, "W6": 0.8, "W7": 0.85}
WITH_CRC = dict.fromkeys(("W1", "W2", "W3", "W4", "W6", "W7"), 0.6)
NONE: dict[str, float] = {}

TARGETS = [
    Target(OFF + APART, PLAIN_APART, WITHOUT_CRC, NONE, cpu=1.2),
    Target(ON + APART, PLAIN_APART, WITH_CRC, NONE, cpu=1.6),
    Target(OFF, PLAIN, NONE, {"W5a": 1.4, "W5b": 1.4}),
    Target(ON, PLAIN, NONE, {"W5a": 1.5, "W5b": 1.5}),
    Target(
        ON,
        (MOONCAKE,),
        {"W1": 1.5, "W2": 25, "W3": 3.5, "W4": 3.5, "W6": 50, "W7": 5},
        {"W5a": 0.7, "W5b": 0.7},
        cap=0.6,
    ),
    Target(OFF, PLAIN, WITHOUT_CRC, NONE, cpu=1.2, counts=False),
    Target(ON, PLAIN, WITH_CRC, NONE, cpu=1.6, counts=False),
]

# The plain C program has to be this fast itself (W1, one connection), or it is no yardstick that day.
FLOOR_OF_IPERF3 = 0.6
FLOOR_OF_MEMCPY = 0.28
