"""Engines that find each other by name in a metadata store: mem:// here, the real servers in tests/metadata."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mooncake_te as te


@pytest.fixture
def store() -> str:
    return f"mem://{uuid.uuid4().hex}"


@pytest.fixture
def engine(store: str) -> Iterator[Callable[..., te.Engine]]:
    made: list[te.Engine] = []

    def make(name: str = "", **settings: Any) -> te.Engine:
        made.append(te.Engine(name, metadata=store, **settings))
        return made[-1]

    yield make
    for each in reversed(made):
        each.close(timeout=0)


def test_names_lead_to_memory(engine: Callable[..., te.Engine]) -> None:
    owner, reader = engine("decode-0"), engine()
    theirs, mine = bytearray(4096), bytearray(b"\x2a" * 4096)
    owner.register(theirs, name="kv")
    peer = reader.open("decode-0")
    assert peer.name == "decode-0"
    assert peer.instance == owner.instance
    peer.write(from_=reader.register(mine, remote=False), into=peer.buffer("kv")).wait(timeout=30)
    assert theirs == mine
    again = reader.open("decode-0")
    assert again.instance == owner.instance
    peer.close()
    assert again.ping() > 0
    anew = reader.open("decode-0", no_cache=True)
    assert anew.instance == owner.instance


def test_a_living_owner_is_not_replaced_by_accident(engine: Callable[..., te.Engine]) -> None:
    first = engine("node")
    with pytest.raises(te.SegmentOwned, match=first.instance[:8]) as raised:
        engine("node")
    assert "takeover" in str(raised.value)
    second = engine("node", takeover=True)
    reader = engine()
    assert reader.open("node").instance == second.instance
    deadline = time.monotonic() + 30
    while first.status()["metadata_store"]["ownership"]["state"] != "FENCED":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.claim(takeover=True)
    assert first.status()["metadata_store"]["ownership"]["state"] == "OWNING"


def test_the_name_is_waited_for(engine: Callable[..., te.Engine]) -> None:
    first = engine("node")
    timer = threading.Timer(0.3, first.close)
    timer.start()
    assert engine("node", name_wait_ms=30_000).name == "node"
    timer.join()


def test_names_that_nobody_has(engine: Callable[..., te.Engine]) -> None:
    reader = engine()
    with pytest.raises(te.SegmentNotFound, match="nobody"):
        reader.open("nobody", timeout=0.05)
    for bad in ("", "a/b", "a\0b", "n" * 300, "\ud800"):
        with pytest.raises(te.InvalidArgument):
            reader.open(bad, timeout=0.05)
    with pytest.raises(te.InvalidArgument):
        engine("a/b")


def test_sync_reports_what_is_gone(engine: Callable[..., te.Engine]) -> None:
    owner, reader = engine("short"), engine()
    peer = reader.open("short")
    assert reader.sync_names().gone == ()
    owner.close()
    deadline = time.monotonic() + 30
    while reader.sync_names().gone != ("short",):
        assert time.monotonic() < deadline
    with pytest.raises(te.SegmentGone):
        reader.open("short", timeout=0.05)
    assert not peer.closed


def test_asyncio_twins(engine: Callable[..., te.Engine]) -> None:
    owner, reader = engine("a"), engine()

    async def main() -> None:
        peer = await reader.aopen("a")
        assert peer.instance == owner.instance
        assert (await reader.async_names()).names == 1
        assert (await reader.adescribe("a"))["from"] == "owner"
        await owner.aclaim()

    asyncio.run(main())


def test_describe(engine: Callable[..., te.Engine]) -> None:
    owner, reader = engine("d"), engine()
    buffer = owner.register(bytearray(64), name="kv")
    found = reader.describe("d")
    assert found["from"] == "owner"
    assert found["owner"]["instance_id"] == owner.instance
    (listed,) = found["descriptor"]["buffers"]
    assert listed["id"] == str(buffer.id)
    assert listed["label"] == "kv"
    assert listed["state"] == "READY"
    assert reader.describe("nothing")["from"] == ""


def test_status_shows_what_is_known(engine: Callable[..., te.Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_METADATA_CACHE_TTL_MS", "2500")
    monkeypatch.setenv("MC_METADATA_DEREG_GRACE_MS", "500")
    owner, reader = engine("s"), engine(interop="mooncake")
    peer = reader.open("s")
    shown = reader.status()["metadata_store"]
    assert shown["store"]["kind"] == "mem"
    assert shown["ownership"] is None
    (name,) = shown["names"]
    assert name["name"] == "s"
    assert name["instance"] == owner.instance
    assert name["fresh"]
    assert name["source"]
    assert shown["settings"]["metadata_cache_ttl_ms"] == {"value": 2500, "from": "MC_METADATA_CACHE_TTL_MS"}
    assert shown["settings"]["dereg_grace_ms"] == {"value": 2500, "from": "raised to metadata_cache_ttl_ms"}
    assert shown["settings"]["hard_ttl_ms"]["value"] == 30_000
    own = owner.status()["metadata_store"]["ownership"]
    assert own["state"] == "OWNING"
    assert int(own["owner_epoch"]) > 0
    assert len(own["store_id"]) == 32
    assert 'mooncake_te_ownership_total{event="owning"} 1' in owner.metrics()
    peer.close()


def test_bad_settings_name_their_variable(engine: Callable[..., te.Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_METADATA_CACHE_TTL_MS", "3600001")
    with pytest.raises(te.InvalidArgument, match="MC_METADATA_CACHE_TTL_MS"):
        engine("x")
    monkeypatch.setenv("MC_METADATA_CACHE_TTL_MS", "soon")
    with pytest.raises(te.InvalidArgument, match="MC_METADATA_CACHE_TTL_MS='soon'"):
        engine("x")


def test_drains_wait_for_stock_readers(engine: Callable[..., te.Engine]) -> None:
    owner = engine("g", interop="mooncake", dereg_grace_ms=300, metadata_cache_ttl_ms=100)
    many = owner.register_all([bytearray(64) for _ in range(100)])
    begun = time.monotonic()
    owner.drain(many)
    assert 0.3 <= time.monotonic() - begun < 15, "one grace for all"
    single = engine("h")
    begun = time.monotonic()
    single.register(bytearray(64)).close()
    assert time.monotonic() - begun < 5


def test_other_threads_run_while_a_name_is_waited_for(engine: Callable[..., te.Engine]) -> None:
    reader = engine()
    ticks = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not stop.wait(0.001):
            ticks += 1

    thread = threading.Thread(target=count)
    thread.start()
    with pytest.raises(te.SegmentNotFound):
        reader.open("nobody", timeout=0.5)
    stop.set()
    thread.join()
    assert ticks > 20


def test_a_store_that_is_not_there() -> None:
    for url in ("http://127.0.0.1:1/metadata", "etcd://127.0.0.1:1"):
        with pytest.raises(te.MetadataUnavailable):
            te.Engine("x", metadata=url, open_timeout_ms=500, metadata_timeout_ms=200)
    for url in ("redis://h:1", "etcd://", "etcd://h:99999", "mem", "http://"):
        with pytest.raises(te.InvalidArgument):
            te.Engine("x", metadata=url)


def test_the_command_line_describes(tmp_path: Any) -> None:
    """Against our metadata server, in processes of their own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "mooncake_te._cli", "metadata-server", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        run = [sys.executable, "-m", "mooncake_te._cli", "describe", "--metadata", url]
        missing = subprocess.run([*run, "cli"], capture_output=True, text=True, timeout=60, check=False)
        assert missing.returncode == 1, missing
        assert "nothing is published" in missing.stdout
        with te.Engine("cli", metadata=url) as owner:
            owner.register(bytearray(64), name="kv")
            said = subprocess.run([*run, "--json", "cli"], capture_output=True, text=True, timeout=60, check=True)
            found = json.loads(said.stdout)
            assert found["from"] == "owner"
            assert found["descriptor"]["buffers"][0]["label"] == "kv"
            text = subprocess.run([*run, "cli"], capture_output=True, text=True, timeout=60, check=True).stdout
            assert owner.instance in text
            assert "'kv'" in text
            watching = subprocess.Popen(
                [*run, "--watch", "--json", "--every", "0.05", "cli"], stdout=subprocess.PIPE, text=True
            )
            assert watching.stdout is not None
            assert len(json.loads(watching.stdout.readline())["descriptor"]["buffers"]) == 1
            owner.register(bytearray(64), name="more")
            assert len(json.loads(watching.stdout.readline())["descriptor"]["buffers"]) == 2
            watching.terminate()
            watching.wait()
            watching.stdout.close()
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0
        server.stdout.close()


def test_an_open_whose_caller_went_away_leaves_no_handle(engine: Callable[..., te.Engine]) -> None:
    reader = engine()

    async def given_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.aopen("late", timeout=30), 0.05)

    asyncio.run(given_up())
    engine("late")
    deadline = time.monotonic() + 30
    seen = False
    while True:
        metadata = reader.status()["metadata_store"]
        seen = seen or metadata["counters"]["adopted"] > 0
        if seen and not metadata["names"] and not reader.status()["segments"]:
            break
        assert time.monotonic() < deadline, (metadata["names"], reader.status()["segments"])
        time.sleep(0.01)


def test_closing_a_segment_from_many_threads_closes_it_once(engine: Callable[..., te.Engine]) -> None:
    engine("node")
    reader = engine()
    first = reader.open("node")
    for _ in range(200):
        again = reader.open("node")  # shares the handle of the first
        gate = threading.Barrier(4)

        def close(segment: te.Segment = again, gate: threading.Barrier = gate) -> None:
            gate.wait()
            segment.close()

        threads = [threading.Thread(target=close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.ping() > 0
