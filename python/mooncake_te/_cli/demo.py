"""`mooncake-te demo`: two processes, one reads and writes the other's memory; every byte is checked.

Needs nothing but the standard library, so it runs wherever the package was installed. The other process is this module
run as a program: it offers one buffer, and ends when its standard input does, so none is left behind.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from .. import Batch, Engine, RemoteBuffer

_REPEATS = 5  # of each measurement; the median counts
_TIMEOUT = 60.0  # seconds for each transfer
_PIECE = 32 << 20  # bytes of a pattern made at a time
# Ports and addresses are the demo's own: a fixed port in MOONCAKE_TE_LISTEN could serve only one of its engines.
_HERE: dict[str, Any] = {
    "listen": "127.0.0.1:0",
    "advertise": [],
    "data_listen": "127.0.0.1:0",
    "data_advertise": [],
}


class DemoFailed(Exception):
    """A byte was wrong, or the other process ended."""


def run(size: int, block: int) -> dict[str, Any]:
    """Moves `size` bytes in scattered blocks of `block` bytes, both ways, between this process and another.

    Returns what was measured: seconds, GB/s (10^9 bytes), the path, and the time of a plain copy of as many bytes.
    """
    block = min(block, size)
    size -= size % block
    with Engine("demo-initiator", **_HERE) as engine:
        owner = subprocess.Popen(
            [sys.executable, "-m", __name__, str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process; the other one ends with its standard input
        )
        assert owner.stdin is not None
        assert owner.stdout is not None
        try:
            return _measure(engine, owner.stdin, owner.stdout, size, block)
        except BaseException:
            owner.kill()  # it may be busy making its pattern
            raise
        finally:
            owner.stdin.close()
            try:
                owner.wait(timeout=10)
            except subprocess.TimeoutExpired:
                owner.kill()
                owner.wait()
            owner.stdout.close()


def _measure(engine: Engine, to_owner: IO[str], from_owner: IO[str], size: int, block: int) -> dict[str, Any]:
    offer = _hear(from_owner)
    remote = RemoteBuffer.from_json(offer["handle"])
    peer = engine.open(offer["address"])
    count = size // block
    places = list(range(count))
    random.Random(0).shuffle(places)

    target = bytearray(size)
    mine = engine.register(target, remote=False)
    scattered: dict[str, Any] = {"blocks": list(enumerate(places)), "block_bytes": block}

    def read() -> Batch:
        return peer.read(into=mine, from_=remote, **scattered).wait(timeout=_TIMEOUT)

    read_seconds, batch = _timed(read)
    expected = memoryview(_pattern(1, size))
    for here, there in scattered["blocks"]:
        if target[here * block : (here + 1) * block] != expected[there * block : (there + 1) * block]:
            raise DemoFailed(f"READ: block {there} of the other process arrived with wrong bytes")

    target[:] = _pattern(2, size)

    def write() -> Batch:
        return peer.write(into=remote, from_=mine, blocks=[(there, here) for here, there in scattered["blocks"]],
                          block_bytes=block).wait(timeout=_TIMEOUT)  # fmt: skip

    write_seconds, _ = _timed(write)
    print("digest", file=to_owner, flush=True)
    landed = bytearray(size)
    for here, there in scattered["blocks"]:
        landed[there * block : (there + 1) * block] = target[here * block : (here + 1) * block]
    if _hear(from_owner)["digest"] != hashlib.sha256(landed).hexdigest():
        raise DemoFailed("WRITE: the other process has wrong bytes in its memory")

    copy_seconds, _ = _timed(lambda: landed.__setitem__(slice(None), target))
    explanation = batch.explain()
    return {
        "bytes": size,
        "blocks": count,
        "block_bytes": block,
        "verified": True,
        "path": explanation.path,
        "why": explanation.why,
        "read": _rate(read_seconds, size),
        "write": _rate(write_seconds, size),
        "plain_copy": _rate(copy_seconds, size),
    }


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Median of the seconds, and the last result."""
    seconds, result = [], None
    for _ in range(_REPEATS):
        start = time.perf_counter()
        result = action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def _rate(seconds: float, size: int) -> dict[str, float]:
    return {"seconds": round(seconds, 6), "gb_per_s": round(size / seconds / 1e9, 3)}


def _pattern(seed: int, size: int) -> bytearray:
    """Bytes that are the same in both processes. In pieces: the generator takes at most 2^31 bits at a time."""
    source = random.Random(seed)
    made = bytearray(size)
    for start in range(0, size, _PIECE):
        made[start : start + _PIECE] = source.randbytes(min(_PIECE, size - start))
    return made


def _hear(stream: IO[str]) -> dict[str, Any]:
    line = stream.readline()
    if not line:
        raise DemoFailed("the other process ended early; its messages stand above")
    said: dict[str, Any] = json.loads(line)
    return said


def render(result: dict[str, Any]) -> str:
    """As text for a terminal."""
    size, block = f"{result['bytes'] / 2**20:.6g} MiB", f"{result['block_bytes'] / 2**10:.6g} KiB"
    lines = [
        f"{size} in {result['blocks']} scattered blocks of {block} between two processes, over {result['path']}, "
        "every byte checked"
    ]
    for name, label in (("read", "READ"), ("write", "WRITE"), ("plain_copy", "plain copy")):
        lines.append(f"  {label:<10} {result[name]['seconds'] * 1e3:9.1f} ms  {result[name]['gb_per_s']:7.2f} GB/s")
    return "\n".join(lines)


def within_process(size: int) -> float:
    """Seconds for one READ between two engines of this process; raises DemoFailed if a byte is wrong."""
    source, target = _pattern(3, size), bytearray(size)
    with Engine("doctor-owner", **_HERE) as owner, Engine("doctor-initiator", **_HERE) as initiator:
        remote = owner.register(source).remote()
        mine = initiator.register(target, remote=False)
        peer = initiator.open(owner.address)
        start = time.perf_counter()
        peer.read(into=mine, from_=remote).wait(timeout=_TIMEOUT)
        seconds = time.perf_counter() - start
    if source != target:
        raise DemoFailed("the bytes that arrived are not those that were sent")
    return seconds


def _own(size: int) -> None:
    """The other process: offers one buffer, answers what is asked, ends with its standard input."""
    memory = _pattern(1, size)
    with Engine("demo-owner", **_HERE) as engine:
        buffer = engine.register(memory)
        print(json.dumps({"address": engine.address, "handle": buffer.remote().to_json()}), flush=True)
        for line in sys.stdin:
            if line.strip() == "digest":
                print(json.dumps({"digest": hashlib.sha256(memory).hexdigest()}), flush=True)


if __name__ == "__main__":
    _own(int(sys.argv[1]))
