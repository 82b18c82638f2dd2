"""What engines cost by themselves, and what one step in a store does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import machine
import metadata_servers
import mooncake_te as te
from metadata_table import Row
from metadata_worker import SIZE, rss

EMPTY = (
    "import ctypes, json, sys, mooncake_te as te, metadata_worker as w\n"
    "import time; before = w.rss(); begun = time.monotonic(); e = te.Engine(); made = time.monotonic() - begun\n"
    "b = e.register(bytearray(64)); time.sleep(1); print(json.dumps([made * 1e3, (w.rss() - before) / 1e6]))"
)


def engine(_kind: str, url: str, size: dict[str, Any]) -> list[Row]:
    starts, memory, first = [], [], []
    for _ in range(5):
        out = subprocess.run(
            [sys.executable, "-c", EMPTY], capture_output=True, text=True, check=True, cwd=metadata_servers.HERE
        )
        made, grown = json.loads(out.stdout)
        starts.append(made)
        memory.append(grown)
    again = []
    for _ in range(20):
        begun = time.monotonic()
        made_engine = te.Engine(metadata=url)
        again.append((time.monotonic() - begun) * 1e3)
        made_engine.close(timeout=0)
    most = max(size["peers"])
    with ExitStack() as stack:
        owner = stack.enter_context(te.Engine(metadata=url))
        handle = owner.register(bytearray(SIZE)).remote()
        for _ in range(20):
            with te.Engine(metadata=url) as fresh:
                into = fresh.register(bytearray(SIZE), remote=False)
                begun = time.monotonic()
                fresh.open(owner.address).read(into=into, from_=handle).wait(30)
                first.append((time.monotonic() - begun) * 1e3)
        crowd = stack.enter_context(metadata_servers.worker())
        crowd.do("peers", count=most, settings={"metadata": url})
        before = rss()
        said = crowd.do("meet", target=owner.address, handle=handle.to_dict())
        time.sleep(1)
        grown = (rss() - before) / most / 1e3
    return [
        Row("engine", "first one of a process", "ms", starts, 30),
        Row("engine", "one more in a process", "ms", again, 30),
        Row("engine", "idle, above Python and the package", "MB", memory, 40),
        Row("engine", "first transfer to a new peer: open and read", "ms", first, 4),
        Row("engine", f"{most} new peers at a time: open and read", "ms", [(said["done"] - said["begun"]) * 1e3], 200),
        Row("engine", f"owner's memory per idle peer, of {most}", "KB", [grown], 120),
    ]


def rate(kind: str, url: str, size: dict[str, Any]) -> list[Row]:
    with te.Engine(f"{kind}-rate", metadata=url) as owner:
        counters = owner.status()["metadata_store"]["ownership"]["counters"]
        begun, changes = time.monotonic(), 0
        keep = []
        while time.monotonic() - begun < size["seconds"]:
            keep.append(owner.register(bytearray(64)))
            changes += 1
        took = time.monotonic() - begun
        landed = owner.status()["metadata_store"]["ownership"]["counters"]["landed"] - counters["landed"]
    return [
        Row(
            "rate",
            f"{kind}: publishes per second under {changes / took:.0f} changes per second",
            "1/s",
            [landed / took],
            21,
        ),
        Row("rate", f"{kind}: changes that one publish carries", "", [changes / max(landed, 1)]),
    ]


BENCHMARK = re.compile(r"^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(.*)$", re.MULTILINE)
PACKAGES = {"./gocore/store/etcd": "etcd", "./gocore/store/httpstore": "http", "./gocore/engine": "engine"}


def store(_kind: str, _url: str, size: dict[str, Any]) -> list[Row]:
    """Steps in Go, without Python: one store request each, and the warm open of an engine."""
    rows = []
    for package, kind in PACKAGES.items():
        time_each = "20x" if size["names"] < 1000 else "200x"
        out = subprocess.run(
            [
                "go",
                "test",
                package,
                "-run",
                "^$",
                "-bench",
                "^Benchmark(Store|WarmOpen)$",
                "-benchmem",
                "-benchtime",
                time_each,
            ],
            cwd=machine.ROOT,
            capture_output=True,
            text=True,
        )
        if out.returncode != 0:
            raise RuntimeError(out.stdout + out.stderr)
        for name, ns, rest in BENCHMARK.findall(out.stdout):
            if name.startswith("WarmOpen"):
                rows.append(
                    Row("store", "warm open and close in Go", "us", [float(ns) / 1e3], 1.0, note=" ".join(rest.split()))
                )
            else:
                rows.append(Row("store", f"{kind}: {name.split('/')[-1].replace('_', ' ')}", "us", [float(ns) / 1e3]))
    return rows
