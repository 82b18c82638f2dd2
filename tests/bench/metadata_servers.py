"""Processes around metadata.py: one etcd member, our metadata server, and workers; all end with the block that began them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine

HERE = Path(__file__).resolve().parent
PATIENCE = 60  # seconds that a process may take for one answer


class WorkerFailed(RuntimeError):
    pass


class Worker:
    """One process that runs metadata_worker.py."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HERE / "metadata_worker.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def begin(self, do: str, **order: Any) -> None:
        assert self.process.stdin is not None
        print(json.dumps({"do": do, **order}), file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise WorkerFailed("no answer")
        line = self.process.stdout.readline()
        if not line:
            raise WorkerFailed(f"it ended with {self.process.wait()}")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise WorkerFailed(said["error"])
        return said

    def do(self, do: str, **order: Any) -> dict[str, Any]:
        self.begin(do, **order)
        return self.answer()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill -9, and nothing of it is left."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def worker() -> Iterator[Worker]:
    w = Worker()
    try:
        yield w
    finally:
        w.kill()


def _free() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server does not listen")


@contextmanager
def etcd() -> Iterator[str]:
    """One member. Its log lies in memory: with a disk, the time of one fsync would be what is measured."""
    binary = machine.ROOT / "build" / "etcd"
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        client, peer = _free(), _free()
        ours, theirs = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        flags = {
            "data-dir": folder,
            "log-level": "error",
            "listen-client-urls": ours,
            "advertise-client-urls": ours,
            "listen-peer-urls": theirs,
            "initial-advertise-peer-urls": theirs,
            "initial-cluster": f"default={theirs}",
        }
        process = subprocess.Popen(
            [binary, *(f"--{name}={value}" for name, value in flags.items())],
            env={k: v for k, v in os.environ.items() if not k.startswith("ETCD_")},
        )
        try:
            _wait_for(client, process)
            yield f"etcd://127.0.0.1:{client}"
        finally:
            process.kill()
            process.wait()


@contextmanager
def ours() -> Iterator[str]:
    """Our own HTTP metadata server, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mooncake_te._cli", "metadata-server", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def nothing() -> Iterator[str]:
    """Peer to peer."""
    yield "p2p"


STORES = {"etcd": etcd, "http": ours, "p2p": nothing}
