"""One process of a pair that moves blocks: initiator or target, by the engine named on the command line.

    worker.py ENGINE POOL_BYTES

It obeys lines on stdin and answers each with one line of JSON; plain_c obeys the same ones:

    connect ADDRESS CONNECTIONS     of the other process, as it said when it started
    wipe                            fills the sink with a byte that the pattern does not have in a row
    run read|write SECONDS PLAN [OPTION...]     moves each set once to warm up, then on for so long
    check local|remote PLAN         compares all blocks of all sets with what they must be now
    cpu                             CPU seconds of this process so far

A process has two pools. `source` holds a pattern that says where each word belongs; it is the same in all processes and
never written to, so it is also what the other side's sink has to look like. `sink` takes what comes.
"""

from __future__ import annotations

import gc
import json
import mmap
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import engines
from plans import Plan

MADV_NOHUGEPAGE = 15


class Pool:
    """Private 4 KiB pages, as an ordinary tensor of torch has them."""

    def __init__(self, size: int) -> None:
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(MADV_NOHUGEPAGE)
        self.bytes: Any = np.frombuffer(self.memory, dtype=np.uint8)
        self.address = int(self.bytes.ctypes.data)


class Worker:
    def __init__(self, name: str, size: int) -> None:
        self.source, self.sink = Pool(size), Pool(size)
        words = np.arange(1, size // 8 + 1, dtype=np.uint64)
        words *= np.uint64(0x9E3779B97F4A7C15)
        self.source.bytes.view(np.uint64)[:] = words
        self.sink.bytes[:] = 0xA5
        self.engine: engines.Engine = engines.ENGINES[name](self.source.address, self.sink.address, size)

    def obey(self, line: str) -> dict[str, Any]:
        words = line.split()
        command: Callable[..., dict[str, Any]] = getattr(self, "do_" + words[0])
        return command(*words[1:])

    def do_connect(self, address: str, connections: str) -> dict[str, Any]:
        self.engine.connect(address, int(connections))
        return {}

    def do_wipe(self) -> dict[str, Any]:
        self.sink.bytes[:] = 0xA5
        return {}

    def do_cpu(self) -> dict[str, Any]:
        return {"cpu": cpu_seconds()}

    def do_check(self, side: str, path: str) -> dict[str, Any]:
        plan = Plan.read(Path(path))
        bad = verified = 0
        for local, remote in zip(plan.local, plan.remote, strict=True):
            to, origin = (local, remote) if side == "local" else (remote, local)
            for a, b in zip(to, origin, strict=True):
                bad += not np.array_equal(self.sink.bytes[a : a + plan.size], self.source.bytes[b : b + plan.size])
                verified += plan.size
        return {"bad": bad, "verified": verified}

    def do_run(self, op: str, limit: str, path: str, *options: str) -> dict[str, Any]:
        plan = Plan.read(Path(path))
        jobs = [
            self.engine.prepare(op, local, remote, plan.size, options)
            for local, remote in zip(plan.local, plan.remote, strict=True)
        ]
        gc.collect()
        gc.disable()  # as timeit does
        try:
            measure = several_callers if plan.threads > 1 else one_caller
            return measure(self.engine, jobs, plan, float(limit))
        finally:
            gc.enable()

    def do_submit(self, path: str, count: str) -> dict[str, Any]:
        """Seconds that the call which submits one batch takes by itself, for each of so many."""
        plan = Plan.read(Path(path))
        if not isinstance(self.engine, engines.Ours):
            raise TypeError("only for our own package")
        jobs = [
            self.engine.prepare("read", local, remote, plan.size, ())
            for local, remote in zip(plan.local, plan.remote, strict=True)
        ]
        out = []
        for i in range(int(count)):
            start = time.perf_counter()
            batch = self.engine.submit(jobs[i % len(jobs)])
            out.append(time.perf_counter() - start)
            batch.wait()
        return {"seconds": out}


def one_caller(engine: engines.Engine, jobs: list[Any], plan: Plan, limit: float) -> dict[str, Any]:
    move, clock = engine.move, time.perf_counter
    before = cpu_seconds()
    for job in jobs:
        move(job)
    seconds: list[float] = []
    end = clock() + limit
    while len(seconds) < len(jobs) or clock() < end:
        job = jobs[len(seconds) % len(jobs)]
        start = clock()
        move(job)
        seconds.append(clock() - start)
        if len(seconds) == 1 << 16:
            break
    return {"bytes": plan.blocks * plan.size, "warm": len(jobs), "cpu": cpu_seconds() - before, "seconds": seconds}


def several_callers(engine: engines.Engine, jobs: list[Any], plan: Plan, limit: float) -> dict[str, Any]:
    each = len(jobs) // plan.threads
    begin, end = threading.Barrier(plan.threads + 1), threading.Barrier(plan.threads + 1)
    stop = False
    errors: list[BaseException] = []

    def call(mine: list[Any]) -> None:
        while True:
            begin.wait()
            if stop:
                return
            try:
                for job in mine:
                    engine.move(job)
            except Exception as error:
                errors.append(error)
            end.wait()

    threads = [threading.Thread(target=call, args=(jobs[i * each : (i + 1) * each],)) for i in range(plan.threads)]
    for thread in threads:
        thread.start()
    before = cpu_seconds()
    seconds: list[float] = []
    first = 0.0
    while len(seconds) < 4 or time.perf_counter() < first + limit:  # the first one warms up
        start = time.perf_counter()
        first = first or start
        begin.wait()
        end.wait()
        seconds.append(time.perf_counter() - start)
    used = cpu_seconds() - before
    stop = True
    begin.wait()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return {"bytes": len(jobs) * plan.blocks * plan.size, "warm": 1, "cpu": used, "seconds": seconds[1:]}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    # Libraries print to stdout; the answers have it for themselves.
    answers = open(sys.stdout.fileno(), "w", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stderr
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"address": worker.engine.address, "version": worker.engine.version}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = worker.obey(line)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    worker.engine.close()


if __name__ == "__main__":
    main()
