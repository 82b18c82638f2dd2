"""A process with engines, for metadata.py: an owner that is killed and replaced, or peers that a drain has to ask.

It obeys lines of JSON on stdin, {"do": NAME, ...}, and answers each with one line. Times are of CLOCK_MONOTONIC, which
all processes of a machine share.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mooncake_te as te

SIZE = 1 << 16


def rss() -> int:
    """Resident bytes that no file backs: heaps and stacks, not the library's code."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no RssAnon")


class Peer:
    """An engine that reads from one segment."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.engine = te.Engine(**settings)
        self.into = self.engine.register(bytearray(SIZE), remote=False)
        self.segment: te.Segment | None = None

    def open(self, target: str) -> None:
        self.segment = self.engine.open(target, timeout=30)

    def read(self, handle: te.RemoteBuffer) -> None:
        assert self.segment is not None
        self.segment.read(into=self.into, from_=handle).wait(30)


class Worker:
    def __init__(self) -> None:
        self.engines: list[te.Engine] = []
        self.peers: list[Peer] = []
        self.kept: list[Any] = []
        self.loading = False
        self.threads: list[threading.Thread] = []

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        command: Callable[..., dict[str, Any]] = getattr(self, "do_" + order.pop("do"))
        return command(**order)

    def do_own(self, settings: dict[str, Any], fill: int) -> dict[str, Any]:
        """An engine with one buffer full of `fill`, named "b"."""
        begun = time.monotonic()
        engine = te.Engine(**settings)
        started = time.monotonic()
        memory = bytearray([fill]) * SIZE
        buffer = engine.register(memory, name="b")
        done = time.monotonic()
        self.engines.append(engine)
        self.kept.append(memory)
        return {
            "address": engine.address,
            "data": engine.info.data_addresses[0],
            "handle": buffer.remote().to_dict(),
            "begun": begun,
            "started": started,
            "done": done,
        }

    def do_names(self, prefix: str, count: int, settings: dict[str, Any]) -> dict[str, Any]:
        """Engines with names of their own, each with a buffer."""

        def start(i: int) -> float:
            begun = time.monotonic()
            engine = te.Engine(f"{prefix}{i}", **settings)
            seconds = time.monotonic() - begun
            engine.register(bytearray(64), name="b")
            self.engines.append(engine)
            return seconds

        with ThreadPoolExecutor(16) as pool:
            seconds = list(pool.map(start, range(count)))
        return {"seconds": seconds}

    def do_peers(self, count: int, settings: dict[str, Any]) -> dict[str, Any]:
        before = rss()
        self.peers += [Peer(settings) for _ in range(count)]
        return {"rss": rss() - before}

    def do_meet(self, target: str, handle: dict[str, Any]) -> dict[str, Any]:
        """Every peer opens the target and reads once; all at a time."""
        remote = te.RemoteBuffer.from_dict(handle)
        errors: list[BaseException] = []

        def meet(peer: Peer) -> None:
            try:
                peer.open(target)
                peer.read(remote)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=meet, args=(peer,)) for peer in self.peers]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return {"begun": begun, "done": time.monotonic()}

    def do_load(self, handle: dict[str, Any]) -> dict[str, Any]:
        """Every peer reads again and again, with a moment between that lets the other processes in."""
        remote = te.RemoteBuffer.from_dict(handle)
        self.loading = True

        def load(peer: Peer) -> None:
            while self.loading:
                peer.read(remote)

        self.threads = [threading.Thread(target=load, args=(peer,)) for peer in self.peers]
        for thread in self.threads:
            thread.start()
        return {}

    def do_rest(self) -> dict[str, Any]:
        self.loading = False
        for thread in self.threads:
            thread.join()
        return {}

    def do_close(self) -> dict[str, Any]:
        for engine in [*self.engines, *(peer.engine for peer in self.peers)]:
            engine.close(timeout=0)
        self.engines, self.peers = [], []
        return {}


def main() -> None:
    # Libraries print to stdout; the answers have it for themselves.
    answers = open(sys.stdout.fileno(), "w", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stderr
    worker = Worker()
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = worker.obey(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    worker.do_close()


if __name__ == "__main__":
    main()
