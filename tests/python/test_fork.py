"""Importing and forking is fine; using an engine in a forked child is refused at once, and harms nobody."""

from __future__ import annotations

import mooncake_te as te

ONLY_IMPORTED = """
import os
import mooncake_te as te
pid = os.fork()
with te.Engine("either") as engine:
    peer = engine.open(engine.address)
    source, target = engine.register(bytearray(b"x" * 100)), engine.register(bytearray(100))
    peer.read(into=target, from_=source.remote()).wait(timeout=30)
    assert target.obj == source.obj
if pid == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""

AFTER_LOADING = """
import asyncio, gc, os, sys, warnings
warnings.simplefilter("ignore")
import mooncake_te as te
engine = te.Engine("parent")
peer = engine.open(engine.address)
source, target = engine.register(bytearray(b"x" * 1000)), engine.register(bytearray(1000))
owned = engine.allocate(4096)
handle = source.remote()
batch = peer.read(into=target, from_=handle)
pid = os.fork()
if pid == 0:
    calls = {
        "engine": lambda: te.Engine("child"),
        "register": lambda: engine.register(bytearray(10)),
        "open": lambda: engine.open("127.0.0.1:1"),
        "read": lambda: peer.read(into=target, from_=handle),
        "ping": lambda: peer.ping(),
        "wait": lambda: batch.wait(timeout=5),
        "done": lambda: batch.done,
        "outcome": lambda: batch.outcome,
        "cancel": lambda: batch.cancel(),
        "outcomes": lambda: batch.outcomes(),
        "explain": lambda: batch.explain(),
        "remote": lambda: source.remote(),
        "grant": lambda: source.grant(),
        "close buffer": lambda: source.close(),
        "close engine": lambda: engine.close(),
        "status": lambda: engine.status(),
        "segment": lambda: peer.close(),
    }
    wrong = []
    for name, call in calls.items():
        try:
            call()
            wrong.append(name)
        except te.ForkedProcessError as error:
            if "spawn" not in str(error):
                wrong.append(name + " does not name spawn")
        except BaseException as error:
            wrong.append(f"{name}: {error!r}")
    repr(engine), repr(source), repr(batch), repr(peer)
    del batch, owned, source, target, peer, engine, calls
    gc.collect()
    print(wrong, flush=True)
    sys.exit(1 if wrong else 0)  # an orderly exit: atexit and finalizers run
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
batch.wait(timeout=30)
assert target.obj == source.obj
peer.read(into=target, from_=handle).wait(timeout=30)
engine.close()
print("parent fine")
"""

WITH_LOCKS_HELD = """
import os, threading, warnings
warnings.simplefilter("ignore")
import mooncake_te as te
engine = te.Engine("busy")
peer = engine.open(engine.address)
source, target = engine.register(bytearray(100)), engine.register(bytearray(100))
stop = threading.Event()
def work():
    while not stop.is_set():
        peer.read(into=target, from_=source.remote()).wait(timeout=30)
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        try:
            peer.read(into=target, from_=source.remote())
        except te.ForkedProcessError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
[t.join() for t in threads]
engine.close()
"""


def test_import_then_fork(run_python) -> None:
    done = run_python(ONLY_IMPORTED)
    assert done.returncode == 0, done.stderr


def test_every_call_in_the_child_is_refused(run_python) -> None:
    done = run_python(AFTER_LOADING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "[]\nparent fine\n"


def test_fork_while_other_threads_work(run_python) -> None:
    done = run_python(WITH_LOCKS_HELD)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_childs_death_leaves_the_parent_reachable(run_python, engine: te.Engine) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
import mooncake_te as te
engine = te.Engine("parent")
peer = engine.open(sys.argv[1])
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
assert peer.ping() > 0
engine.close()
"""
    done = run_python(code, engine.address)
    assert done.returncode == 0, done.stderr
