"""Engines of ours that publish for stock readers (`interop="mooncake"`), and stock engines that ours describe."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import mooncake_te as te
from peers import PATIENCE, Helper, StockEngine, Store

Starts = Callable[..., StockEngine]


def test_stock_reads_an_engine_of_ours(store: Store, helper: Helper, start_engine: Starts) -> None:
    memory = np.zeros(4096, np.uint8)
    with te.Engine("engine-0", metadata=store.url, config={"interop": "mooncake", "dereg_grace_ms": 0}) as engine:
        buffer = engine.register(memory, name="kv")
        shown = published(store, helper, buffers=1)
        stock = start_engine("127.0.0.1:22001", store)
        assert stock.call("first", "engine-0") == memory.ctypes.data
        assert (shown["instance_id"], shown["legacy"]) == (engine.instance, False)
        assert [(entry["id"], entry["label"]) for entry in shown["buffers"]] == [(str(buffer.id), "kv")]
    assert start_engine("127.0.0.1:22002", store).call("first", "engine-0") == 0, "closed: its key is gone"


def test_stock_sees_a_buffer_go(store: Store, helper: Helper, start_engine: Starts) -> None:
    first, second = np.zeros(4096, np.uint8), np.zeros(4096, np.uint8)
    settings = {"interop": "mooncake", "dereg_grace_ms": 0, "metadata_cache_ttl_ms": 0}
    with te.Engine("engine-1", metadata=store.url, config=settings) as engine:
        gone = engine.register(first)
        engine.register(second)
        published(store, helper, buffers=2, name="engine-1")
        assert start_engine("127.0.0.1:22003", store).call("first", "engine-1") == first.ctypes.data
        engine.drain(gone)
        published(store, helper, buffers=1, name="engine-1")
        assert start_engine("127.0.0.1:22004", store).call("first", "engine-1") == second.ctypes.data


def test_describe_says_what_a_stock_engine_published(store: Store, helper: Helper, start_engine: Starts) -> None:
    name = "127.0.0.1:22005"
    stock = start_engine(name, store)
    addresses = [stock.call("register", length) for length in (4096, 100)]
    with te.Engine("", metadata=store.url) as reader:
        described = reader.describe(name)
    assert (described["from"], described["owner"]) == ("stock", None)
    # What decode makes of the document is compared with it field by field in test_stock_formats.py.
    assert described["descriptor"] == helper.decode("", store.get(f"mooncake/ram/{name}"))
    assert [buffer["addr"] for buffer in described["descriptor"]["buffers"]] == addresses


def published(store: Store, helper: Helper, buffers: int, name: str = "engine-0") -> dict[str, Any]:
    """Waits until the engine has published so many: that happens behind register, a few times a second."""
    end = time.monotonic() + PATIENCE
    while True:
        shown = helper.decode(f"mooncake/ram/{name}", store.get(f"mooncake/ram/{name}"))
        if shown["buffer_count"] == buffers:
            return shown
        assert time.monotonic() < end, shown
        time.sleep(0.01)
