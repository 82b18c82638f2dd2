"""Real processes that are killed, stopped, restarted, forked and starved, with the pattern oracle on both sides."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from peer import child_environment

SIZE = 4 << 20
LOST = {"PEER_DEAD", "PEER_UNREACHABLE", "STALE_INSTANCE"}
FAST = {"heartbeat_ms": 200}


def test_kill_in_flight(start_peer: Callable[..., Any]) -> None:
    """What was under way ends with a reason within the detection time, and the other peer does not notice."""
    writer, other = start_peer("writer", **FAST), start_peer("other")
    kept = other.must("register", size=SIZE)
    for _ in range(5):
        owner = start_peer("owner", **FAST)
        target = owner.must("register", size=SIZE)
        writer.must("write", address=owner.address, handle=target["handle"], operation=1)
        assert owner.must("verify", id=target["id"], writer=writer.instance, operation=1)["wrong"] == []
        writer.must("fly", address=owner.address, handle=target["handle"], operation=2, count=20)
        owner.kill()
        began = time.monotonic()
        ends = writer.must("landed")["ends"]
        assert time.monotonic() - began < 20
        assert set(ends) <= LOST | {"COMPLETED"}, ends
        assert set(ends) & LOST, ends
        writer.must("write", address=other.address, handle=kept["handle"], operation=3)
        assert other.must("verify", id=kept["id"], writer=writer.instance, operation=3)["wrong"] == []


def test_stop_and_continue(start_peer: Callable[..., Any]) -> None:
    """A short stop is only a wait; a write that timed out leaves nothing that lands over a later one."""
    owner, writer = start_peer("owner"), start_peer("writer")
    target = owner.must("register", size=SIZE)
    handle, address = target["handle"], owner.address
    writer.must("write", address=address, handle=handle, operation=1)
    for round in range(3):
        owner.stop()
        writer.send("write", address=address, handle=handle, operation=10 + round)
        time.sleep(0.3)
        owner.resume()
        assert writer.reply()["outcome"] == "COMPLETED"
        assert owner.must("verify", id=target["id"], writer=writer.instance, operation=10 + round)["wrong"] == []

        owner.stop()
        late = writer.ask("write", address=address, handle=handle, operation=20 + round, deadline=0.3)
        assert late["error"] in {"DEADLINE", "PEER_DEAD"}, late
        owner.resume()
        writer.must("write", address=address, handle=handle, operation=30 + round)
        time.sleep(0.1)  # a late byte needs time to be late
        assert owner.must("verify", id=target["id"], writer=writer.instance, operation=30 + round)["wrong"] == []


def test_restart_under_the_same_name_and_port(start_peer: Callable[..., Any]) -> None:
    """At most one operation fails, and not a byte of an old one reaches the new process's memory."""
    writer = start_peer("writer", **FAST)
    owner = start_peer("owner", **FAST)
    address, data = owner.address, owner.data
    target = owner.must("register", size=SIZE)
    writer.must("write", address=address, handle=target["handle"], operation=1)
    rng = random.Random(4)
    for life in range(6):
        writer.must("fly", address=address, handle=target["handle"], operation=2, count=8)
        time.sleep(rng.random() * 0.01)
        owner.kill()
        owner = start_peer("owner", address, data_listen=data, **FAST)
        fresh = owner.must("register", size=SIZE)
        assert fresh["id"] == target["id"], "numbers count per instance: the new buffer has the old number"
        assert set(writer.must("landed")["ends"]) <= LOST | {"COMPLETED"}
        old = writer.ask("write", address=address, handle=target["handle"], operation=3)
        assert old["error"] in LOST, old
        writer.must("refresh", address=address)
        assert owner.must("verify", id=fresh["id"])["wrong"] == [], f"life {life}: foreign bytes"
        read = writer.must("read", address=address, handle=fresh["handle"], operation=0, writer=owner.instance)
        assert read["wrong"] == []
        writer.must("write", address=address, handle=fresh["handle"], operation=4)
        assert owner.must("verify", id=fresh["id"], writer=writer.instance, operation=4)["wrong"] == []
        target = fresh


def test_deregister_under_fire(start_peer: Callable[..., Any]) -> None:
    """After close() returned not one byte changes. gocore/engine makes 100 trials of this; here all of Python is in it."""
    owner, writer = start_peer("owner"), start_peer("writer")
    target = owner.must("register", size=SIZE)
    in_flight, trial = 0, 0
    while trial < 20 or in_flight < 10:
        assert trial < 200, "too few trials had bytes in flight"
        writer.must("fly", address=owner.address, handle=target["handle"], operation=5, count=12)
        # Without waiting for the writer, who may be in the middle of a write, and with.
        report = owner.must("close", id=target["id"], timeout=0 if trial % 4 < 2 else 2)
        assert report["seconds"] < 5 * 2 + 5, report
        again = owner.must("register", again=target["id"]) if trial % 2 else None
        ends = writer.must("landed")["ends"]
        assert set(ends) <= {"COMPLETED", "STALE_BUFFER", "REVOKED", "DRAINING"}, ends
        in_flight += set(ends) != {"COMPLETED"}
        time.sleep(0.05)  # a late byte needs time to be late
        # A new registration of the memory has its own pattern, by its own number.
        seen = owner.must("verify", id=again["id"] if again else target["id"])
        assert seen["wrong"] == [], f"trial {trial}: a byte landed after the drain, {report} {ends}"
        target = again or owner.must("register", again=target["id"])
        trial += 1


EXIT = """
import os, random, sys, threading
import mooncake_te as te
rng = random.Random(int(sys.argv[3]))
handle = te.RemoteBuffer.from_json(sys.argv[2])
engine = te.Engine("leaving", log_level="off")
peer = engine.open(sys.argv[1])
local = engine.register(bytearray(handle.nbytes))
kept = [peer.read(into=local, from_=handle) for _ in range(rng.randrange(1, 9))]
if rng.random() < 0.3:
    threading.Thread(target=kept[0].wait, daemon=True).start() if rng.random() < 0.5 else local.grant()
if rng.random() < 0.3:
    del kept
if rng.random() < 0.2:
    kept = None
    raise SystemExit(0)
"""


def test_exit_in_flight(start_peer: Callable[..., Any], trials: Callable[[int], int]) -> None:
    """Interpreters that end with reads under way: none hangs, none crashes."""
    owner = start_peer("owner")
    target = owner.must("register", size=SIZE)

    def leave(seed: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", EXIT, owner.address, target["handle"], str(seed)],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=180,
        )
        return done.returncode, "" if done.returncode == 0 else done.stderr

    with ThreadPoolExecutor(4) as pool:
        ends = Counter(pool.map(leave, range(trials(100))))
    assert set(ends) == {(0, "")}, ends
    assert owner.must("verify", id=target["id"])["wrong"] == []
    print(f"{sum(ends.values())} interpreter exits with reads in flight, all with status 0")


INTERRUPTED = """
import sys
import mooncake_te as te
handle = te.RemoteBuffer.from_json(sys.argv[2])
engine = te.Engine("interrupted", log_level="off")
peer = engine.open(sys.argv[1])
local = engine.register(bytearray(handle.nbytes))
print("ready", flush=True)
while True:
    peer.write(from_=local, into=handle).wait()
"""


def test_ctrl_c(start_peer: Callable[..., Any]) -> None:
    """SIGINT at any moment of a loop of writes ends the program as Python does, and the owner serves the next."""
    owner = start_peer("owner")
    target = owner.must("register", size=SIZE)
    rng = random.Random(1)
    for _ in range(10):
        victim = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, owner.address, target["handle"]],
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        time.sleep(rng.random() * 0.05)
        victim.send_signal(signal.SIGINT)
        _, text = victim.communicate(timeout=60)
        assert victim.returncode == -signal.SIGINT, text
        assert "KeyboardInterrupt" in text
    owner.must("close", id=target["id"], timeout=2)
    assert owner.must("verify", id=target["id"])["wrong"] == []


def test_fork_under_load(start_peer: Callable[..., Any]) -> None:
    """Children of a process that reads at full speed; each read is right, each child is refused or leaves."""
    owner, reader = start_peer("owner"), start_peer("reader")
    target = owner.must("register", size=1 << 20)
    reader.must("run", address=owner.address, handle=target["handle"], writer=owner.instance)
    codes = reader.must("fork", times=20)["codes"]
    seen = reader.must("halted")
    assert set(codes) == {0}
    assert (seen["failures"], seen["wrong"]) == ({}, 0)
    assert seen["count"] > 0


def opens(peer: Any, address: str) -> None:
    """It can be opened again: sooner or later, since each attempt of these peers is a short one."""
    deadline = time.monotonic() + 60
    while (said := peer.ask("open", address=address)).get("error"):
        assert time.monotonic() < deadline, said


def test_full_descriptor_table_of_the_owner(start_peer: Callable[..., Any]) -> None:
    """No descriptor is left to accept with: present peers go on, a new one gets a typed error, and later succeeds."""
    owner, reader, late = start_peer("owner"), start_peer("reader"), start_peer("late", open_timeout_ms=2000)
    target = owner.must("register", size=1 << 20)
    reader.must("run", address=owner.address, handle=target["handle"], writer=owner.instance)
    owner.must("descriptors", spare=0)
    said = late.ask("open", address=owner.address)
    assert said.get("error") in {"PEER_UNREACHABLE", "METADATA_UNAVAILABLE", "DEADLINE", "RESOURCE_EXHAUSTED"}, said
    seen = reader.must("halted")
    assert (seen["failures"], seen["wrong"]) == ({}, 0)
    owner.must("descriptors", spare=None)
    opens(late, owner.address)
    read = late.must("read", address=owner.address, handle=target["handle"], operation=0, writer=owner.instance)
    assert read["wrong"] == []


def test_full_descriptor_table_of_the_initiator(start_peer: Callable[..., Any]) -> None:
    owner, second, user = start_peer("owner"), start_peer("second"), start_peer("user", open_timeout_ms=2000)
    target, other = owner.must("register", size=1 << 20), second.must("register", size=1 << 20)
    user.must("read", address=owner.address, handle=target["handle"], operation=0, writer=owner.instance)
    user.must("descriptors", spare=0)
    said = user.ask("open", address=second.address)
    assert said.get("error") in {"PEER_UNREACHABLE", "METADATA_UNAVAILABLE", "DEADLINE", "RESOURCE_EXHAUSTED"}, said
    read = user.must("read", address=owner.address, handle=target["handle"], operation=0, writer=owner.instance)
    assert read["wrong"] == []
    user.must("descriptors", spare=None)
    opens(user, second.address)
    read = user.must("read", address=second.address, handle=other["handle"], operation=0, writer=second.instance)
    assert read["wrong"] == []


def test_memory_pressure(start_peer: Callable[..., Any]) -> None:
    """Address space runs out: what asks for more is told so, what is there goes on."""
    owner, reader = start_peer("owner"), start_peer("reader")
    target = owner.must("register", size=1 << 20)
    reader.must("run", address=owner.address, handle=target["handle"], writer=owner.instance)
    owner.must("memory_limit", spare=256 << 20)
    for size in (1 << 30, 1 << 36):
        said = owner.ask("allocate", size=size)
        assert said.get("error") == "RESOURCE_EXHAUSTED", said
    owner.must("allocate", size=1 << 20)
    seen = reader.must("halted")
    assert (seen["failures"], seen["wrong"]) == ({}, 0)
    assert owner.alive()
    assert os.path.exists(f"/proc/{owner.process.pid}")
