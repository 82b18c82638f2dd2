"""Ctrl-C during every kind of wait raises KeyboardInterrupt soon; what was waited for lives on. The GIL is free meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import mooncake_te as te
from owner import pattern

SOON = 20.0  # seconds: far above what it takes, far below the waits that it ends


@pytest.fixture
def engine(make_engine: Callable[..., te.Engine]) -> te.Engine:
    """One that does not give up a stopped peer while a busy machine takes its time."""
    return make_engine("solo", heartbeat_ms=20_000)


@contextmanager
def interrupted(after: float = 0.3) -> Iterator[None]:
    """Sends SIGINT to this process, and expects KeyboardInterrupt from the block."""
    main = threading.main_thread()
    timer = threading.Timer(after, lambda: signal.pthread_kill(main.ident or 0, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.monotonic() - began < SOON
    finally:
        timer.cancel()
        timer.join()


@pytest.fixture
def stopped(engine: te.Engine, start_owner: Callable[..., Any]) -> Any:
    """A peer that is stopped, an opened segment of it, and a local buffer."""
    owner = start_owner("8000000")
    peer = engine.open(owner.address)
    local = engine.register(bytearray(8_000_000))
    peer.read(into=local, from_=te.RemoteBuffer.from_json(owner.handle_json)).wait(timeout=60)
    local.obj[:] = bytes(8_000_000)
    owner.stop()
    return owner, peer, local


def test_interrupted_wait_leaves_the_batch(stopped: Any) -> None:
    owner, peer, local = stopped
    batch = peer.read(into=local, from_=te.RemoteBuffer.from_json(owner.handle_json))
    with interrupted():
        batch.wait(timeout=120)
    assert batch.outcome == "PENDING"
    owner.resume()
    batch.wait(timeout=60)
    assert local.obj == pattern(8_000_000)


def test_interrupted_ping(stopped: Any) -> None:
    _, peer, _ = stopped
    with interrupted():
        peer.ping(timeout=120)


def test_interrupted_drain_goes_on(engine: te.Engine, start_owner: Callable[..., Any]) -> None:
    owner = start_owner("1000")
    back = engine.open(owner.address)
    data = bytearray(b"s" * 100)
    buffer = engine.register(data)
    # The peer gets access by reading, so that the drain has to ask it.
    assert owner.ask("read", engine.address, buffer.remote().to_json()) == (b"s" * 100).hex()
    assert back.ping() > 0
    owner.stop()
    with interrupted():
        buffer.close(timeout=2)
    assert buffer.state in ("closing", "closed")
    report = buffer.close()
    assert buffer.state == "closed"
    assert owner.instance in (*report.fenced, *report.timed_out, *report.acknowledged)
    data.extend(b"free")


def test_waiting_calls_drop_the_gil(engine: te.Engine, stopped: Any) -> None:
    """While one thread is inside one long call of the library, this one runs; with the GIL kept it could not."""
    owner, peer, local = stopped
    batch = peer.read(into=local, from_=te.RemoteBuffer.from_json(owner.handle_json))
    entered, returned = threading.Event(), threading.Event()
    core = engine._core

    def wait() -> None:
        entered.set()
        core.library.te_batch_wait(core.handle, batch._flight.handle, 20_000)
        returned.set()

    thread = threading.Thread(target=wait)
    thread.start()
    entered.wait()
    time.sleep(0.2)  # it is inside by now, or will find the batch pending all the same
    assert not returned.is_set()
    owner.resume()
    thread.join(60)
    assert returned.is_set()
    assert batch.done


def test_signal_handlers_are_pythons_own() -> None:
    # In a fresh interpreter: other tests of this process install handlers of their own.
    text = (
        "import signal, mooncake_te as te\n"
        "before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]\n"
        "with te.Engine():\n"
        "    assert before == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]\n"
        "assert before[0] is signal.default_int_handler\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True, timeout=120)
