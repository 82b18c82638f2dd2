"""What is moved: the workloads W1 to W7 of docs/performance.md, as files that every worker reads."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    blocks: int  # of one batch
    size: int  # bytes of a block
    threads: int = 1
    latency: bool = False  # microseconds of one operation instead of GB/s

    @property
    def batch(self) -> int:
        return self.blocks * self.size


WORKLOADS = [
    Workload("W1", "1 x 64 MiB", 1, 64 * MIB),
    Workload("W2", "1024 x 4 KiB", 1024, 4 * KIB),
    Workload("W3", "256 x 64 KiB", 256, 64 * KIB),
    Workload("W4", "64 x 1 MiB", 64, MIB),
    Workload("W5a", "1 x 4 KiB", 1, 4 * KIB, latency=True),
    Workload("W5b", "1 x 8 B", 1, 8, latency=True),
    Workload("W6", "16 threads x 16 x 64 KiB", 16, 64 * KIB, threads=16),
    Workload("W7", "4096 x 32 KiB", 4096, 32 * KIB),
]

# A tiny form of each, for a run that only shows that everything works.
TINY = [
    Workload("W1", "1 x 4 MiB", 1, 4 * MIB),
    Workload("W2", "64 x 4 KiB", 64, 4 * KIB),
    Workload("W5a", "1 x 4 KiB", 1, 4 * KIB, latency=True),
    Workload("W6", "4 threads x 4 x 64 KiB", 4, 64 * KIB, threads=4),
]


@dataclass
class Plan:
    """Sets of blocks, used in turn so that nothing is in a cache. Set i belongs to thread i // (sets / threads)."""

    blocks: int
    size: int
    threads: int
    local: list[array[int]]
    remote: list[array[int]]

    def write(self, path: Path) -> None:
        words = array("Q", [len(self.local), self.blocks, self.size, self.threads])
        for local, remote in zip(self.local, self.remote, strict=True):
            words.extend(local)
            words.extend(remote)
        path.write_bytes(words.tobytes())

    @classmethod
    def read(cls, path: Path) -> Plan:
        words = array("Q")
        words.frombytes(path.read_bytes())
        sets, blocks, size, threads = words[:4]
        at = [4 + i * blocks for i in range(2 * sets)]
        lists = [words[i : i + blocks] for i in at]
        return cls(blocks, size, threads, lists[0::2], lists[1::2])


def make(work: Workload, pool: int, seed: int) -> Plan:
    """Blocks at random slots of pools of that many bytes; sets that share no block and fill half of the pool at least."""
    slots = pool // work.size
    sets = min(slots // work.blocks, max(2, pool // 2 // work.batch))
    if work.latency:
        sets = min(slots, 1024)
    sets = max(sets // work.threads, 1) * work.threads
    rng = random.Random(seed)

    def side() -> list[array[int]]:
        picked = rng.sample(range(slots), sets * work.blocks)
        return [array("Q", (i * work.size for i in picked[s::sets][: work.blocks])) for s in range(sets)]

    return Plan(work.blocks, work.size, work.threads, side(), side())
