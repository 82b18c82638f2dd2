"""The interpreter ends in good order, whatever is still under way: no hang, no crash, no message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mooncake_te as te

HEAD = """
import sys, threading, time
import mooncake_te as te
address, handle = sys.argv[1], te.RemoteBuffer.from_json(sys.argv[2])
engine = te.Engine("leaving", log_level="off")
peer = engine.open(address)
local = engine.register(bytearray(handle.nbytes))
"""

CASES = {
    "nothing": "",
    "in flight": "batch = peer.read(into=local, from_=handle)",
    "many in flight": "keep = [peer.read(into=local, from_=handle) for _ in range(50)]",
    "dropped in flight": "peer.read(into=local, from_=handle); del local",
    "daemon thread waits": """
batch = peer.read(into=local, from_=handle)
def wait():
    try:
        batch.wait()
    except te.TransferError:
        pass  # the engine was closed at exit
threading.Thread(target=wait, daemon=True).start()
time.sleep(0.1)
""",
    "exception": "batch = peer.read(into=local, from_=handle); raise SystemExit(0)",
    "owned memory in use": "array = engine.allocate(1 << 20); view = array.obj; engine.close(); view[0] = 1",
    "drain under way": "threading.Thread(target=local.close, daemon=True).start(); time.sleep(0.02)",
    "grants": "g = [local.grant(blocks=[i], block_bytes=10) for i in range(100)]",
    "asyncio loop never finished": """
import asyncio
loop = asyncio.new_event_loop()
async def main():
    asyncio.ensure_future(go())
    await asyncio.sleep(0.05)
async def go():
    await peer.read(into=local, from_=handle)
loop.run_until_complete(main())
""",
}


@pytest.mark.parametrize("stopped", [False, True], ids=["live peer", "stopped peer"])
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_exit(case: str, stopped: bool, run_python: Callable[..., Any], start_owner: Callable[..., Any]) -> None:
    owner = start_owner("4000000")
    script = HEAD + CASES[case]
    if stopped:
        script = script.replace("local =", "from owner import stop_process; stop_process(int(sys.argv[3])); local =", 1)
    done = run_python(script, owner.address, owner.handle_json, str(owner.process.pid), timeout=60)
    assert done.returncode == 0, done.stderr
    noise = [line for line in done.stderr.splitlines() if "never awaited" not in line and "was destroyed" not in line]
    if case != "asyncio loop never finished":
        assert noise == []


def test_several_engines_left_open(run_python: Callable[..., Any]) -> None:
    done = run_python(
        "import mooncake_te as te\n"
        "engines = [te.Engine(f'e{i}', log_level='off') for i in range(5)]\n"
        "peers = [e.open(engines[0].address) for e in engines]\n"
        "buffers = [e.register(bytearray(1000)) for e in engines]\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_keyboard_interrupt_ends_the_program(run_python: Callable[..., Any], start_owner: Callable[..., Any]) -> None:
    owner = start_owner("4000000")
    script = (
        HEAD
        + """
import os, signal
from owner import stop_process
stop_process(int(sys.argv[3]))
batch = peer.read(into=local, from_=handle)
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
batch.wait()
"""
    )
    done = run_python(script, owner.address, owner.handle_json, str(owner.process.pid), timeout=60)
    assert done.returncode == -2
    assert "KeyboardInterrupt" in done.stderr


def test_healthy_peers_are_told_without_a_warning(
    run_python: Callable[..., Any], make_engine: Callable[..., te.Engine]
) -> None:
    # The program that ends owns memory that a living peer has used: the peer acknowledges within a round trip.
    reader = make_engine("reader")
    environment = {**os.environ, "PYTHONPATH": str(Path(te.__file__).resolve().parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], env=environment, stdin=-1, stdout=-1, stderr=-1, text=True
    ) as owner:
        address, handle = owner.stdout.readline().split(" ", 1)
        local = reader.register(bytearray(100), remote=False)
        peer = reader.open(address)
        peer.read(into=local, from_=te.RemoteBuffer.from_json(handle)).wait(timeout=30)
        said, noise = owner.communicate("\n", timeout=60)
    assert (owner.returncode, noise) == (0, "")
    assert json.loads(said)["acknowledged"] == [reader.instance]


OWNER = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(engine._core._closing.wait())))  # runs after what the package registers
import mooncake_te as te
engine = te.Engine("ending")
print(engine.address, engine.register(bytearray(100)).remote().to_json(), flush=True)
sys.stdin.readline()
"""
