"""An owner is killed with kill -9 and another instance takes its place: how soon a reader's transfers are good again."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import metadata_servers
import mooncake_te as te
from metadata_table import Row
from metadata_worker import SIZE

NAME = "restarted"


def measure(kind: str, url: str, size: dict[str, Any]) -> list[Row]:
    adopted, whole = [], []
    with ExitStack() as stack:
        owner = _spare(stack)
        settings: dict[str, Any] = {"metadata": url, "heartbeat_ms": 1000}
        if kind != "p2p":
            settings.update(name=NAME, takeover=True)
        first = owner.do("own", settings=settings, fill=1)
        if kind == "p2p":  # the successor has the address, which is the name
            settings.update(listen=first["address"], data_listen=first["data"])
        reader = stack.enter_context(te.Engine(metadata=url))
        into = reader.register(bytearray(SIZE), remote=False)
        segment = reader.open(first["address"] if kind == "p2p" else NAME, timeout=30)
        for generation in range(size["restarts"] + 1):
            fill = 2 + generation % 250
            spare = _spare(stack)
            _read(segment, into)
            killed = time.monotonic()
            owner.kill()
            spare.begin("own", settings=settings, fill=fill)
            good = _until_good(segment, into, fill, follow=kind != "p2p")
            said = spare.answer()
            owner = spare
            if generation > 0:  # the first warms up
                adopted.append((good - said["done"]) * 1e3)
                whole.append((good - killed) * 1e3)
    how = "peer to peer, refresh in a loop" if kind == "p2p" else f"{kind}, takeover and watch"
    judged: tuple[float | None, str] = (1000, "p99")
    if kind == "p2p":  # two round trips and a handshake: no time, so it stands beside "engine: first transfer" unjudged
        judged = (None, "p99")
    return [
        Row("restart", f"{how}: new owner ready to first good transfer", "ms", adopted, *judged),
        Row("restart", f"{how}: kill -9 to first good transfer", "ms", whole),
    ]


def _spare(stack: ExitStack) -> metadata_servers.Worker:
    """A process that has imported everything: only the engine's start is measured."""
    return stack.enter_context(metadata_servers.worker())


def _read(segment: te.Segment, into: te.Buffer) -> None:
    segment.read(into=into, from_=segment.buffer("b")).wait(30)


def _until_good(segment: te.Segment, into: te.Buffer, fill: int, follow: bool) -> float:
    """Reads, as an application would that is told to try again, until the new owner's bytes are there."""
    end = time.monotonic() + 20
    last: Exception | None = None
    while True:
        try:
            if not follow:
                segment.refresh(timeout=5)
            segment.read(into=into, from_=segment.buffer("b"), deadline=5.0).wait(10)
            if into.obj[0] == into.obj[SIZE - 1] == fill:
                return time.monotonic()
        except te.TransferError as error:
            last = error
        if time.monotonic() > end:
            raise TimeoutError(f"the new owner's bytes never came: {last}")
        time.sleep(0.0005)
