#!/usr/bin/env python3
"""Measures this package over TCP beside what else one could use, on this machine, in one run: `make bench`.

Two processes for each engine, alternating; all bytes are verified after every measurement. It never fails for a slow
day, only when something does not work or bytes are wrong. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import machine
import plans
import present

HERE = Path(__file__).resolve().parent
PATIENCE = 60  # seconds that a worker may take for one answer
ROOT = HERE.parent.parent


@dataclass
class Contestant:
    """One row of the tables."""

    name: str
    engine: str  # of worker.py, or plain_c
    connections: int = 1
    options: str = ""
    spins: bool = False  # burns CPU while idle, and is stopped meanwhile
    threads: bool = True  # takes part in the workloads of several threads
    apart: bool = False  # initiator and target have a processor each, as if they were on two machines


CONTESTANTS = [
    Contestant("plain C, 1 connection", "plain_c"),
    Contestant("plain C, 2 connections", "plain_c", connections=2),
    Contestant("mooncake_te, CRC on", "ours"),
    Contestant("mooncake_te, CRC off", "ours", options="crc=off"),
    Contestant("plain C, 1 connection, apart", "plain_c", apart=True),
    Contestant("plain C, 2 connections, apart", "plain_c", connections=2, apart=True),
    Contestant("mooncake_te, CRC on, apart", "ours", apart=True),
    Contestant("mooncake_te, CRC off, apart", "ours", options="crc=off", apart=True),
    Contestant("Mooncake wheel, TCP", "mooncake"),
    Contestant("NIXL wheel (cma), caller polls", "nixl", spins=True, threads=False),
]


class WorkerDied(RuntimeError):
    pass


class Process:
    """One worker: a line goes in, a line of JSON comes out."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.command = command
        with log.open("ab") as out:
            self.child = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True
            )
        self.log = log
        self.hello = self._answer()

    def ask(self, *words: object) -> dict[str, Any]:
        assert self.child.stdin is not None
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        ready, _, _ = select.select([self.child.stdout], [], [], PATIENCE)
        if not ready:
            raise WorkerDied(f"{self.command[1:3]} gave no answer within {PATIENCE} s")
        line = self.child.stdout.readline()
        if not line:
            raise WorkerDied(f"{self.command[1:3]} ended: {self.log.read_text(errors='replace')[-2000:]}")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise WorkerDied(f"{self.command[1:3]}: {said['error']}")
        return said

    def end(self) -> None:
        assert self.child.stdin is not None
        self.child.send_signal(signal.SIGCONT)
        with suppress(OSError):
            self.child.stdin.close()
        try:
            self.child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Pair:
    """Initiator and target of one contestant."""

    def __init__(self, who: Contestant, pool: int, python: dict[str, str], folder: Path, stack: ExitStack) -> None:
        self.who = who
        if who.engine == "plain_c":
            command = [str(folder / "plain_c"), str(pool)]
        else:
            command = [python[who.engine], str(HERE / "worker.py"), who.engine, str(pool)]
        environment = dict(os.environ)
        mine, theirs = (["taskset", "-c", core] if who.apart else [] for core in ("0", "1"))
        log = folder / f"{who.engine}.log"
        self.target = Process([*theirs, *command], environment | {"BENCH_ROLE": "target"}, log)
        stack.callback(self.target.end)
        self.initiator = Process([*mine, *command], environment | {"BENCH_ROLE": "initiator"}, log)
        stack.callback(self.initiator.end)
        self.initiator.ask("connect", self.target.hello["address"], who.connections)
        self.version = self.target.hello.get("version", "")
        self.pause()

    @contextmanager
    def awake(self) -> Iterator[None]:
        if self.who.spins:
            for process in (self.target, self.initiator):
                process.child.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def pause(self) -> None:
        if self.who.spins:
            for process in (self.initiator, self.target):
                process.child.send_signal(signal.SIGSTOP)


@dataclass
class Sample:
    """One measurement: many repetitions of one workload by one contestant."""

    value: float  # GB/s or microseconds, of the median repetition
    p99: float | None
    cpu_initiator: float  # seconds per GB
    cpu_target: float
    others: float  # cores that other processes used meanwhile
    repetitions: int


@dataclass
class Cell:
    """All samples of one workload and direction."""

    work: plans.Workload
    op: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)


@dataclass
class Bench:
    options: argparse.Namespace
    folder: Path
    pool: int
    pairs: list[Pair] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def start(self, stack: ExitStack, python: dict[str, str]) -> None:
        for who in CONTESTANTS:
            if who.engine not in python and who.engine != "plain_c":
                self.left_out[who.name] = "not installed (make bench-peers)"
                continue
            # The two rows of one engine that differ in an option only are one pair of processes.
            kind = (who.engine, who.connections, who.apart)
            same = [p for p in self.pairs if (p.who.engine, p.who.connections, p.who.apart) == kind]
            if same and who.engine != "plain_c":
                pair = Pair.__new__(Pair)
                pair.__dict__.update(same[0].__dict__)
                pair.who = who
                self.pairs.append(pair)
                continue
            try:
                self.pairs.append(Pair(who, self.pool, python, self.folder, stack))
            except (WorkerDied, OSError) as error:
                if who.engine in ("plain_c", "ours"):
                    raise
                self.left_out[who.name] = str(error).strip().splitlines()[-1]

    def measure(self, pair: Pair, cell: Cell, plan: Path) -> Sample:
        with pair.awake():
            sink = pair.initiator if cell.op == "read" else pair.target
            sink.ask("wipe")
            cpu = pair.target.ask("cpu")["cpu"]
            busy, begun = machine.busy_seconds(), time.monotonic()
            said = pair.initiator.ask("run", cell.op, self.options.seconds, plan, pair.who.options)
            busy, took = machine.busy_seconds() - busy, time.monotonic() - begun
            cpu = pair.target.ask("cpu")["cpu"] - cpu
            found = sink.ask("check", "local" if cell.op == "read" else "remote", plan)
        if found["bad"]:
            raise SystemExit(f"{pair.who.name}: {found['bad']} wrong blocks in {cell.work.name} {cell.op}")
        seconds = said["seconds"]
        moved = said["bytes"] * (len(seconds) + said["warm"]) / 1e9
        middle = statistics.median(seconds)
        return Sample(
            value=middle * 1e6 if cell.work.latency else said["bytes"] / middle / 1e9,
            p99=sorted(seconds)[int(len(seconds) * 0.99)] * 1e6 if cell.work.latency else None,
            cpu_initiator=said["cpu"] / moved,
            cpu_target=cpu / moved,
            others=max(0.0, (busy - said["cpu"] - cpu) / took),
            repetitions=len(seconds),
        )

    def cell(self, work: plans.Workload, op: str, round_of: int) -> Cell:
        path = self.folder / f"{work.name}.plan"
        plans.make(work, self.pool, seed=round_of).write(path)
        cell = Cell(work, op)
        for turn in range(self.options.runs):
            # Alternating, and each time another one first.
            order = self.pairs[turn % len(self.pairs) :] + self.pairs[: turn % len(self.pairs)]
            for pair in order:
                if pair.who.name in self.left_out or (work.threads > 1 and not pair.who.threads):
                    continue
                try:
                    sample = self.measure(pair, cell, path)
                except WorkerDied as error:
                    if pair.who.engine in ("plain_c", "ours"):
                        raise
                    self.left_out[pair.who.name] = str(error).strip().splitlines()[-1]
                    continue
                cell.samples.setdefault(pair.who.name, []).append(sample)
        return cell

    def limits(self) -> dict[str, list[float]]:
        """memcpy and iperf3, for the floor that the plain C program is held to."""
        plain = next(p for p in self.pairs if p.who.engine == "plain_c")
        said = plain.initiator.ask("memcpy", self.options.seconds)
        out = {"memcpy": [said["bytes"] / s / 1e9 for s in said["seconds"]]}
        streams = [machine.iperf3(self.options.seconds) for _ in range(3)]
        out["iperf3, 1 stream"] = [s for s in streams if s is not None]
        return out

    def submit_cost(self) -> dict[str, float]:
        """Microseconds of the call that submits a batch of 1, 128 and 1024 requests."""
        ours = next(p for p in self.pairs if p.who.engine == "ours")
        path = self.folder / "submit.plan"
        out = {}
        for n in (1, 128, 1024):
            plans.make(plans.Workload("submit", "", n, 64), self.pool, seed=n).write(path)
            seconds = ours.initiator.ask("submit", path, 200)["seconds"]
            out[str(n)] = statistics.median(seconds) * 1e6
        return out


def interpreters(peers: str | None) -> dict[str, str]:
    """Which Python runs which worker. Ours is the one that runs this; the wheels have one of their own."""
    out = {"ours": sys.executable}
    if peers and Path(peers).exists():
        for name, package in (("mooncake", "mooncake"), ("nixl", "nixl")):
            probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
            if subprocess.run([peers, "-c", probe]).returncode == 0:
                out[name] = peers
    return out


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="measurements of each cell and engine (default 5)")
    parser.add_argument("--seconds", type=float, default=0.25, help="of one measurement (default 0.25)")
    parser.add_argument("--only", default="", help="workloads, such as W1,W5a (default: all)")
    parser.add_argument("--engines", default="", help="of worker.py, such as plain_c,ours (default: all installed)")
    parser.add_argument("--pool", type=int, default=256, help="MiB of each pool (default 256)")
    parser.add_argument("--tiny", action="store_true", help="small workloads: does it all work?")
    parser.add_argument("--peers", default=os.environ.get("BENCH_PEERS"), help="Python that has the peers' wheels")
    parser.add_argument("--out", type=Path, help="folder for NAME.json, NAME.txt and NAME.svg")
    parser.add_argument("--name", default=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H%M%SZ"))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.engines:
        CONTESTANTS[:] = [c for c in CONTESTANTS if c.engine in options.engines.split(",")]
    works = plans.TINY if options.tiny else plans.WORKLOADS
    works = [w for w in works if not options.only or w.name in options.only.split(",")]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(options, Path(folder), options.pool << 20)
        subprocess.run(
            ["gcc", "-O2", "-o", str(bench.folder / "plain_c"), str(HERE / "plain_c.c"), "-lpthread"], check=True
        )
        bench.start(stack, interpreters(options.peers))
        begun = time.monotonic()
        limits = bench.limits()
        cells = []
        for i, work in enumerate(works):
            for op in ("read", "write"):
                cells.append(bench.cell(work, op, i))
                print(present.progress(cells[-1]), file=sys.stderr, flush=True)
        report = present.report(
            cells,
            limits,
            submit=bench.submit_cost() if any(p.who.engine == "ours" for p in bench.pairs) else {},
            machine=machine.describe(),
            about={
                "name": options.name,
                "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - begun),
                "runs": options.runs,
                "versions": {p.who.name: p.version for p in bench.pairs if p.version},
                "left_out": bench.left_out,
                "tiny": options.tiny,
            },
        )
    text = present.table(report)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"{options.name}.json").write_text(json.dumps(report, indent=1) + "\n")
        (options.out / f"{options.name}.txt").write_text(text + "\n")
        (options.out / f"{options.name}.svg").write_text(present.plot(report))
        print(f"written: {options.out / options.name}.json, .txt, .svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
