"""An engine with a name in a metadata store, in a process of its own: tests/chaos/peer.py and what names add to it."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "chaos"))

import peer

# A lease as short as the settings allow; everything else is as by default.
LEASE = {"lease_ttl_ms": 3000, "lease_renew_ms": 900, "heartbeat_ms": 200}
LEASE_SECONDS = 3.0
REQUEST = re.compile(r'store_requests_total\{op="(\w+)",result="(\w+)"\} (\d+)')


class Named(peer.Peer):
    """The parent's side."""

    script = Path(__file__)

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **{**LEASE, **settings})
        self.name = name

    def metadata(self) -> dict[str, Any]:
        """status()["metadata_store"]."""
        said: dict[str, Any] = self.must("status")["status"]["metadata_store"]
        return said

    def until(self, state: str, seconds: float = 30) -> dict[str, Any]:
        """Waits for a state of the ownership."""
        deadline = time.monotonic() + seconds
        while (ownership := self.metadata()["ownership"])["state"] != state:
            assert time.monotonic() < deadline, ownership
            time.sleep(0.02)
        return dict(ownership)

    def requests(self, op: str) -> int:
        """How many requests of a kind this engine made to the store."""
        return int(self.must("requests")["by"].get(op, 0))


class ServedNamed(peer.Served):
    """The process's side."""

    clock: Any = None

    def opens(self, name: str, timeout: float = 10, no_cache: bool = False) -> dict[str, Any]:
        """Opens a name beside what is open already, and closes it again."""
        began = time.monotonic()
        try:
            with self.engine.open(name, timeout=timeout, no_cache=no_cache) as found:
                return {"instance": found.instance, "seconds": time.monotonic() - began}
        except self.te.TransferError as error:
            return {**peer.describe(error), "seconds": time.monotonic() - began}

    def follow(self, name: str, handle: str, writer: str, seconds: float = 60) -> dict[str, Any]:
        """Repeats a read through the open segment until it succeeds; says what it met, and whether all bytes are right."""
        met: Counter[str] = Counter()
        began = time.monotonic()
        while True:
            try:
                wrong = self.read(name, handle, peer.OWN, writer)["wrong"]
                return {"seconds": time.monotonic() - began, "met": met, "wrong": wrong}
            except self.te.TransferError as error:
                met[error.name] += 1
                if time.monotonic() - began > seconds:
                    raise
                time.sleep(0.005)

    def requests(self) -> dict[str, Any]:
        by: Counter[str] = Counter()
        for op, _, count in REQUEST.findall(self.engine.metrics()):
            by[op] += int(count)
        return {"by": by}

    def sync(self, timeout: float = 10) -> dict[str, Any]:
        report = self.engine.sync_names(timeout=timeout)
        return {"names": report.names, "gone": report.gone, "failed": report.failed}

    def describe_name(self, name: str) -> dict[str, Any]:
        return {"found": self.engine.describe(name, timeout=10)}

    def claim(self, **options: Any) -> dict[str, Any]:
        self.engine.claim(**options)
        return {}

    def drain(self, ids: list[int], timeout: float | None = None) -> dict[str, Any]:
        """Drains all of these together, and counts what another thread does meanwhile."""
        ticks, halt = 0, threading.Event()

        def count() -> None:
            nonlocal ticks
            while not halt.wait(0.0005):
                ticks += 1

        thread = threading.Thread(target=count)
        thread.start()
        began = time.monotonic()
        report = self.engine.drain([self.buffers[id] for id in ids], timeout=timeout)
        seconds = time.monotonic() - began
        halt.set()
        thread.join()
        return {
            "seconds": seconds,
            "ticks": ticks,
            "acknowledged": report.acknowledged,
            "fenced": report.fenced,
            "timed_out": report.timed_out,
        }

    def adrain(self, ids: list[int]) -> dict[str, Any]:
        """The same in asyncio, where another coroutine runs meanwhile."""
        import asyncio

        async def main() -> dict[str, Any]:
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0.0005)
                    turns += 1

            other = asyncio.ensure_future(count())
            report = await self.engine.adrain([self.buffers[id] for id in ids])
            other.cancel()
            return {"turns": turns, "acknowledged": report.acknowledged, "timed_out": report.timed_out}

        return asyncio.run(main())

    def register_many(self, count: int, size: int = 64) -> dict[str, Any]:
        made = self.engine.register_all([bytearray(size) for _ in range(count)])
        for buffer in made:
            self.buffers[buffer.id] = buffer
        return {"ids": [buffer.id for buffer in made], "handles": [buffer.remote().to_json() for buffer in made]}

    def touch(self, name: str, handles: list[str]) -> dict[str, Any]:
        """Writes a little into each, so that their owner has this engine among those to ask before it takes them back."""
        for operation, handle in enumerate(handles, 1):
            self.start(name, handle, operation).wait(timeout=60)
        return {}

    def step_clock(self, seconds: int) -> dict[str, Any]:
        """Steps the wall clock that this process sees, its Go core included."""
        from wallclock import WallClock

        before = time.time()
        self.clock = self.clock or WallClock()
        self.clock.step(seconds)
        return {"stepped": time.time() - before}

    def end(self) -> dict[str, Any]:
        """Closes the engine in the regular way."""
        began = time.monotonic()
        self.engine.close()
        return {"seconds": time.monotonic() - began}


if __name__ == "__main__":
    peer.main(ServedNamed)
