"""What many buffers under one name cost, and many names in one engine."""

from __future__ import annotations

import mmap
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

import metadata_servers
import metadata_worker
import mooncake_te as te
from metadata_table import Row


def _pieces(count: int) -> tuple[mmap.mmap, list[tuple[int, int]]]:
    memory = mmap.mmap(-1, count * 64)
    base = int(np.frombuffer(memory, dtype=np.uint8).ctypes.data)
    return memory, [(base + 64 * i, 64) for i in range(count)]


def _told(reader: te.Engine) -> str:
    """The version of the head that the store's watch told a reader who has one name open."""
    return str(reader.status()["metadata_store"]["names"][0]["version"])


def _until_told(reader: te.Engine, before: str) -> None:
    """Of an owner with many buffers the status itself takes long, so a reader without any is looked at."""
    while _told(reader) == before:
        time.sleep(0.0002)


def _landed(owner: te.Engine) -> int:
    """Publishes so far, once none is under way: a watch may tell of one before its owner has its answer."""
    while (found := owner.status()["metadata_store"]["ownership"])["publish_pending"]:
        time.sleep(0.001)
    return int(found["counters"]["landed"])


def _ms(begun: float) -> float:
    return (time.monotonic() - begun) * 1e3


def buffers(kind: str, url: str, size: dict[str, Any]) -> list[Row]:
    rows = []
    most = size["buffers"]
    for count, repeat, target in ((1, 20, None), (1000, 10, 50.0), (most, 1, 1000.0)):
        register, publish = [], []
        for i in range(repeat):
            with te.Engine(f"{kind}-{count}-{i}", metadata=url) as owner, te.Engine(metadata=url) as reader:
                memory, pieces = _pieces(count)
                followed = reader.open(owner.name)
                time.sleep(0.06)  # past the pause between two publishes
                landed = _landed(owner)
                told = _told(reader)
                begun = time.monotonic()
                owner.register_all(pieces)
                register.append(_ms(begun))
                _until_told(reader, told)
                publish.append(_ms(begun))
                followed.close()
                if _landed(owner) != landed + 1:
                    raise AssertionError("one batch is not one publish")
                if count == most:
                    rows += _described(kind, url, owner, count)
            del memory
        rows.append(Row("buffers", f"{kind}: {count} in one batch, register_all() by itself", "ms", register))
        rows.append(Row("buffers", f"{kind}: {count} in one batch, until a watch has told it", "ms", publish, target))
    return rows


def _described(kind: str, url: str, owner: te.Engine, count: int) -> list[Row]:
    """A reader of many buffers, and one more after them."""
    before = metadata_worker.rss()
    with te.Engine(metadata=url) as reader:
        begun = time.monotonic()
        segment = reader.open(owner.name)
        opened = _ms(begun)
        grown = metadata_worker.rss() - before
        again = []
        for _ in range(5):
            begun = time.monotonic()
            segment.refresh()
            again.append(_ms(begun))
        mine = reader.register(bytearray(64), remote=False)
        segment.read(into=mine, from_=owner.register(bytearray(64)).remote()).wait(30)
        call, stored, used = [], [], []
        for _ in range(10):
            time.sleep(0.3)  # past the pauses between two publishes and two refreshes
            memory = bytearray(64)
            begun = time.monotonic()
            more = owner.register(memory)
            call.append(_ms(begun))
            segment.read(into=mine, from_=more.remote()).wait(30)
            used.append(_ms(begun))
            time.sleep(0.2)
            memory = bytearray(64)
            told = _told(reader)
            begun = time.monotonic()
            owner.register(memory)
            _until_told(reader, told)
            stored.append(_ms(begun))
    return [
        Row("buffers", f"{kind}: open of {count} cold, with Describe", "ms", [opened], 1000),
        Row("buffers", f"{kind}: Describe of {count} again", "ms", again, 1000),
        Row("buffers", f"{kind}: one more after {count}, the call", "ms", call, 20),
        Row("buffers", f"{kind}: one more after {count}, until a peer has read from it", "ms", used, 20),
        Row("buffers", f"{kind}: one more after {count}, until a watch has told it", "ms", stored, 20),
        Row("buffers", f"{kind}: reader's memory per buffer known, Python's included", "B", [grown / count]),
    ]


def opens(kind: str, url: str, size: dict[str, Any]) -> list[Row]:
    count = size["names"]
    with ExitStack() as stack:
        owners = stack.enter_context(metadata_servers.worker())
        starts = owners.do("names", prefix=f"{kind}-", count=count, settings={"metadata": url, "listen": "127.0.0.1:0"})
        reader = stack.enter_context(te.Engine(metadata=url))
        names = [f"{kind}-{i}" for i in range(count)]
        before = metadata_worker.rss()
        begun = time.monotonic()
        tasks = [reader._begin_open(name, 30, False) for name in names]
        segments = [reader._opened(name, task.wait()) for name, task in zip(names, tasks, strict=True)]
        cold = _ms(begun)
        grown = metadata_worker.rss() - before
        warm = []
        for name in names:
            begun = time.monotonic()
            reader.open(name).close()
            warm.append((time.monotonic() - begun) * 1e6)
        if len({s.instance for s in segments}) != count:
            raise AssertionError("two names lead to one instance")
    return [
        Row(
            "names",
            f"{kind}: start of a named engine, with claim and publish, 16 at a time",
            "ms",
            [s * 1e3 for s in starts["seconds"]],
        ),
        Row("names", f"{kind}: {count} opens, cold, at a time", "ms", [cold], 1000),
        Row("names", f"{kind}: one open and close, warm, from Python", "us", warm, note="in Go: see the store part"),
        Row("names", f"{kind}: reader's memory per name, with its peer", "KB", [grown / count / 1e3]),
    ]
