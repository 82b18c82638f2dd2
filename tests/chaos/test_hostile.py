"""Hostile peers against real processes: wrong bytes, slow bytes, too many of everything, and floods that keep to the
protocol. Each time the victim's memory stays bounded, and a third party's transfers go on, byte for byte.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
# What an attack may cost: the caps of docs/config.md and the Go heap that is not yet collected, far below what is thrown.
MOST_GROWTH = 256 * MIB
PATIENCE = 60.0  # seconds for what takes milliseconds on a machine that is not busy


class Scene:
    """A victim that serves a friend while it is attacked."""

    def __init__(self, start_peer: Callable[..., Any], **settings: Any) -> None:
        self.victim = start_peer("victim", **settings)
        self.friend = start_peer("friend")
        self.target = self.victim.must("register", size=MIB)
        self.control, self.data = (tuple(a.rsplit(":", 1)) for a in (self.victim.address, self.victim.data))

    def connect(self, port: str) -> socket.socket:
        host, number = self.control if port == "control" else self.data
        return socket.create_connection((host, int(number)), timeout=PATIENCE)

    def calm(self, seconds: float = 1.0) -> Any:
        """The friend's figures without an attack."""
        self._run()
        time.sleep(seconds)
        return self._halted()

    def _run(self) -> None:
        where = {"address": self.victim.address, "handle": self.target["handle"]}
        self.friend.must("run", writer=self.victim.instance, **where)

    def _halted(self) -> Any:
        seen = self.friend.must("halted")
        assert (seen["failures"], seen["wrong"]) == ({}, 0), seen
        return seen

    @contextmanager
    def attacked(self, what: str) -> Iterator[None]:
        """Around an attack: measures, then checks that nothing is lost and a new peer is served."""
        calm = self.calm()
        before, most = self.victim.rss(), [0]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.05) and self.victim.alive():
                most[0] = max(most[0], self.victim.rss())

        watcher = threading.Thread(target=watch)
        watcher.start()
        self._run()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        seen = self._halted()
        growth = max(0, most[0] - before) / MIB
        print(
            f"{what}: victim +{growth:.0f} MiB; friend {seen['count']} reads, p99 {seen['p99']:.1f} ms "
            f"({calm['p99']:.1f} ms before)"
        )
        assert self.victim.alive()
        assert growth * MIB < MOST_GROWTH, f"{what}: {growth:.0f} MiB"
        assert seen["count"] > 0


@pytest.fixture
def scene(start_peer: Callable[..., Any]) -> Scene:
    return Scene(start_peer)


def answer(s: socket.socket, seconds: float = PATIENCE) -> bytes:
    """What comes until the other side closes; time-out means that it does not."""
    s.settimeout(seconds)
    got = b""
    with suppress(ConnectionError):
        while piece := s.recv(65536):
            got += piece
            assert len(got) < MIB, "a stranger is told too much"
    return got


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def header(
    op: int = 1, flags: int = 0, offset: int = 0, length: int = 8, chunk: int = 1 << 19, version: int = 1
) -> bytes:
    """A data request that is whole in form, with a token that nobody gave."""
    body = struct.pack(
        "<IBBHQ16sQQQQIII", 0x5145544D, version, op, flags, 1, b"x" * 16, 4711, 1, offset, length, chunk, 0, 0
    )
    return body + struct.pack("<I", crc32c(body))


WRONG = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "random": random.Random(1).randbytes(200_000),
    "zeros": bytes(200_000),
    "request": header(),
    "HTTP/2, then random": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.Random(2).randbytes(100_000),
    "HTTP/2 frame of 16 MiB": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + bytes.fromhex("ffffff000000000001")
    + bytes(100_000),
    "unknown version": header(version=9),
    "length 2^62": header(op=2, length=1 << 62),
    "table of 2^60 entries": header(flags=1, offset=1 << 60, length=1 << 61),
    "chunks of 4 GiB": header(op=2, length=1 << 30, chunk=(1 << 32) - 1),
    "half a header": header()[:40],
}


def test_wrong_bytes_to_both_ports(scene: Scene) -> None:
    """Each is answered by little or nothing and an end of the connection."""
    with scene.attacked("wrong bytes"):
        over = time.monotonic() + 2
        while time.monotonic() < over:
            for port in ("control", "data"):
                for what, data in WRONG.items():
                    with scene.connect(port) as s:
                        with suppress(OSError):  # it may be closed before all was sent
                            s.sendall(data)
                            s.shutdown(socket.SHUT_WR)
                        assert len(answer(s)) < 4096, (port, what)


def test_oversized_control_message(scene: Scene) -> None:
    """A message that says it is 4 GiB long ends its stream before that much is read."""
    frame = struct.Struct("!I")
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    # HPACK without a table: POST, http, the path of Session, an authority, the content type and te.
    fields = {b":path": b"/mooncake_te.v1.Control/Session", b":authority": b"a", b"content-type": b"application/grpc"}
    block = bytes.fromhex("8386") + b"".join(
        b"\x00" + bytes([len(k)]) + k + bytes([len(v)]) + v for k, v in {**fields, b"te": b"trailers"}.items()
    )
    headers = frame.pack(len(block))[1:] + bytes.fromhex("010400000001") + block
    start = b"\x00" + frame.pack(0xFFFFFFFF) + bytes(16_000)
    data = frame.pack(len(start))[1:] + bytes.fromhex("000000000001") + start
    reset = bytes.fromhex("00000403000000000100000000")  # RST_STREAM of stream 1, behind the status
    with scene.attacked("message of 4 GiB"):
        over = time.monotonic() + 2
        while time.monotonic() < over:
            with scene.connect("control") as s:
                s.sendall(hello + headers + data)
                got = b""
                with suppress(ConnectionError, TimeoutError):
                    while reset not in got and (piece := s.recv(65536)):
                        got += piece
                assert reset in got, "the stream must end before the message does"


def test_slow_loris(scene: Scene) -> None:
    """Connections that say one byte now and then are closed when their handshake's time is over; others are served."""
    start = {"control": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "data": header()}
    with scene.attacked("slow loris"):
        slow = [(port, scene.connect(port)) for port in ("control", "data") for _ in range(150)]
        closed = 0
        began = time.monotonic()
        for i in range(400):
            still = []
            for port, s in slow:
                try:
                    s.sendall(start[port][i % 20 : i % 20 + 1])
                    still.append((port, s))
                except OSError:
                    closed += 1
                    s.close()
            slow = still
            if not slow:
                break
            time.sleep(0.25)
        print(f"slow loris: {closed} of 300 connections closed within {time.monotonic() - began:.0f} s")
        left = [port for port, _ in slow]
        for _, s in slow:
            s.close()
        assert "data" not in left, "the handshake of a data connection has a time-out"


def test_connection_flood(start_peer: Callable[..., Any]) -> None:
    """Thousands of connections to both ports: those above the limits are closed at once, and descriptors come back."""
    scene = Scene(start_peer, max_inbound_connections=512, max_sessions=256)
    late = start_peer("late")

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{scene.victim.process.pid}/fd"))

    before = descriptors()
    with scene.attacked("connection flood"):
        for port in ("control", "data"):
            for _ in range(4):
                kept = []
                for _ in range(500):
                    with suppress(OSError):
                        kept.append(scene.connect(port))
                assert descriptors() < before + 2000
                for s in kept:
                    s.close()
    deadline = time.monotonic() + PATIENCE
    while descriptors() > before + 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert descriptors() <= before + 20
    where = {"address": scene.victim.address, "handle": scene.target["handle"]}
    assert late.must("read", operation=0, writer=scene.victim.instance, **where)["wrong"] == []


@pytest.fixture(scope="session")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("attacker") / "attacker"
    subprocess.run(["go", "build", "-o", str(program), "./tests/chaos/attacker"], cwd=ROOT, check=True)
    return program


@pytest.mark.parametrize("what", ["attach", "grant_query", "notify", "retire", "drain", "ping", "hello", "describe"])
def test_flood_that_keeps_to_the_protocol(scene: Scene, attacker: Path, what: str) -> None:
    with scene.attacked(f"flood of {what}"):
        done = subprocess.run(
            [str(attacker), "-to", scene.victim.address, "-with", what, "-seconds", "3"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        print(f"flood of {what}: {said}")
        assert said["Sent"] > 0
    # The victim is its old self. A flooder that took tokens and went away is fenced when D is over, like anybody.
    report = scene.victim.must("close", id=scene.target["id"], timeout=3)
    assert report["seconds"] < 5 * 3
    assert scene.friend.instance not in report["timed_out"]
    assert scene.victim.must("verify", id=scene.target["id"])["wrong"] == []
