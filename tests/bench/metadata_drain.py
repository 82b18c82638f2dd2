"""How long a deregistration waits for its peers: idle, loaded, and with one of them stopped."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import metadata_servers
import mooncake_te as te
from metadata_table import Row
from metadata_worker import SIZE

DEADLINE = 0.5  # of drains with a dead peer


def measure(_kind: str, url: str, size: dict[str, Any]) -> list[Row]:
    rows = []
    for peers in size["peers"]:
        with ExitStack() as stack:
            owner = stack.enter_context(te.Engine(metadata=url))
            memory = owner.register(bytearray(SIZE), name="b")
            handle = memory.remote().to_dict()
            # One process for itself, which can be stopped; the rest share another.
            crowd = [stack.enter_context(metadata_servers.worker()) for _ in range(min(peers, 2))]
            for process, count in zip(crowd, [1, peers - 1], strict=False):
                process.do("peers", count=count, settings={"metadata": url})
                process.do("meet", target=owner.address, handle=handle)
            waited = len(_drain_one(owner, None)[1].acknowledged)
            if waited != peers:
                raise AssertionError(f"{waited} of {peers} peers were asked")
            idle = [_drain_one(owner, None)[0] for _ in range(size["drains"])]
            target = 20 if peers == max(size["peers"]) else None
            rows.append(Row("drain", f"{peers} peers, idle", "ms", idle, target, "p99"))
            for process in crowd:
                process.do("load", handle=handle)
            loaded = [_drain_one(owner, None)[0] for _ in range(size["drains"])]
            for process in crowd:
                process.do("rest")
            rows.append(Row("drain", f"{peers} peers, all reading", "ms", loaded))
            dead = [_with_one_stopped(owner, crowd[0], handle) for _ in range(size["dead"])]
            rows.append(
                Row(
                    "drain",
                    f"{peers} peers, one stopped, D = {DEADLINE * 1e3:g} ms",
                    "ms",
                    dead,
                    DEADLINE * 1e3 + 100,
                    "p99",
                )
            )
    return rows


def _drain_one(owner: te.Engine, timeout: float | None) -> tuple[float, te.DrainReport]:
    buffer = owner.register(bytearray(SIZE))
    time.sleep(0.02)  # readers have heard of it
    begun = time.monotonic()
    report = owner.drain(buffer, timeout=timeout)
    return (time.monotonic() - begun) * 1e3, report


def _with_one_stopped(owner: te.Engine, process: metadata_servers.Worker, handle: dict[str, Any]) -> float:
    process.do("meet", target=owner.address, handle=handle)  # it has a session and paths
    process.freeze()
    try:
        ms, report = _drain_one(owner, DEADLINE)
    finally:
        process.thaw()
    if len(report.timed_out) != 1:
        raise AssertionError(f"the stopped peer is not what was waited for: {report}")
    return ms
