"""An engine in a process of its own that obeys lines of JSON on standard input and answers each with one.

Run as a script by Peer below. Every byte that it writes, keeps or reads is of the oracle's pattern.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

REPLY_SECONDS = 120
OWN = 0  # the operation number of what an owner put there itself


class Peer:
    """The parent's side."""

    script = Path(__file__)  # what the process runs

    def __init__(
        self, name: str = "peer", listen: str = "127.0.0.1:0", namespace: str | None = None, **settings: Any
    ) -> None:
        prefix = ["ip", "netns", "exec", namespace] if namespace else []
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(self.script), name, listen, json.dumps(settings)],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = self.reply()
        self.address: str = first["address"]
        self.data: str = first["data"]
        self.instance: str = first["instance"]

    def send(self, command: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, arguments]) + "\n")
        self.process.stdin.flush()

    def reply(self, seconds: float = REPLY_SECONDS) -> Any:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        assert line, f"the peer process gave no reply (exit code {self.process.poll()})"
        return json.loads(line)

    def ask(self, command: str, **arguments: Any) -> Any:
        self.send(command, **arguments)
        return self.reply()

    def must(self, command: str, **arguments: Any) -> Any:
        """As ask, for what has to succeed."""
        said = self.ask(command, **arguments)
        assert not said.get("error"), said
        return said

    def stop(self) -> None:
        """SIGSTOP, and wait until each thread stands still."""
        os.kill(self.process.pid, signal.SIGSTOP)
        states = Path(f"/proc/{self.process.pid}/task")
        while {stat.read_text().rpartition(") ")[2][0] for stat in states.glob("*/stat")} != {"T"}:
            time.sleep(0.001)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def rss(self) -> int:
        """Resident bytes, after nothing in particular."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) * 1024

    def alive(self) -> bool:
        return self.process.poll() is None


def child_environment() -> dict[str, str]:
    """The environment of a Python child that finds the same package."""
    import mooncake_te as te

    paths = [str(Path(te.__file__).resolve().parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONFAULTHANDLER": "1"}


class Served:
    """The process's side: each method is a command."""

    def __init__(self, name: str, listen: str, settings: dict[str, Any]) -> None:
        import mooncake_te as te

        settings = {"log_level": "off", **settings}
        self.te = te
        self.engine = te.Engine(name, listen=listen, **settings)
        self.buffers: dict[int, Any] = {}
        self.memory: dict[int, Any] = {}
        self.local: Any = None
        self.segments: dict[str, Any] = {}
        self.thread: threading.Thread | None = None
        self.halt = threading.Event()
        self.failed = threading.Event()
        self.report: dict[str, Any] = {}
        self.flying: list[Any] = []
        self.holes: list[int] = []

    def hello(self) -> dict[str, Any]:
        return {
            "address": self.engine.address,
            "data": self.engine.info.data_addresses[0],
            "instance": self.engine.instance,
        }

    # ---- as an owner

    def register(self, size: int = 0, again: int | None = None, name: str = "") -> dict[str, Any]:
        """New memory, or that of an earlier buffer; with the owner's own pattern in it."""
        data = bytearray(size) if again is None else self.memory[again]
        buffer = self.engine.register(data, name=name)
        self.buffers[buffer.id], self.memory[buffer.id] = buffer, data
        self.fill(buffer.id)
        return {"handle": buffer.remote().to_json(), "id": buffer.id}

    def fill(self, id: int) -> dict[str, Any]:
        from oracle import pattern

        data = self.memory[id]
        memoryview(data)[:] = pattern(self.engine.instance, id, OWN, len(data)).data
        return {}

    def verify(self, id: int, writer: str | None = None, operation: int = OWN) -> dict[str, Any]:
        from oracle import wrong

        return {"wrong": wrong(self.memory[id], writer or self.engine.instance, id, operation)}

    def close(self, id: int, timeout: float | None = None) -> dict[str, Any]:
        """Drains; when that returned the memory is the owner's alone, and it puts its own pattern there at once."""
        began = time.monotonic()
        report = self.buffers[id].close(timeout=timeout)
        seconds = time.monotonic() - began
        self.fill(id)
        return {
            "seconds": seconds,
            "acknowledged": report.acknowledged,
            "fenced": report.fenced,
            "timed_out": report.timed_out,
        }

    # ---- as an initiator

    def segment(self, address: str) -> Any:
        if address not in self.segments:
            self.segments[address] = self.engine.open(address)
        return self.segments[address]

    def open(self, address: str) -> dict[str, Any]:
        return {"instance": self.segment(address).instance}

    def refresh(self, address: str) -> dict[str, Any]:
        self.segment(address).refresh()
        return {"instance": self.segment(address).instance}

    def scratch(self, size: int) -> Any:
        if self.local is None or self.local.nbytes < size:
            self.local = self.engine.register(bytearray(size), remote=False)
        return self.local

    def start(self, address: str, handle: str, operation: int, kind: str = "write", deadline: float | None = 60) -> Any:
        """Starts one operation over the whole buffer."""
        from oracle import pattern

        remote = self.te.RemoteBuffer.from_json(handle)
        local = self.scratch(remote.nbytes)
        if kind == "write":
            mine = pattern(self.engine.instance, remote.id, operation, remote.nbytes)
            memoryview(local.obj)[: remote.nbytes] = mine.data
            return self.segment(address).write(from_=local[: remote.nbytes], into=remote, deadline=deadline)
        memoryview(local.obj)[: remote.nbytes] = bytes(remote.nbytes)
        return self.segment(address).read(into=local[: remote.nbytes], from_=remote, deadline=deadline)

    def write(self, address: str, handle: str, operation: int, deadline: float | None = 60) -> dict[str, Any]:
        self.segment(address)
        began = time.monotonic()
        try:
            batch = self.start(address, handle, operation, "write", deadline)
        except self.te.TransferError as error:  # refused before a byte moved
            return {"outcome": "NOT_APPLIED", "seconds": time.monotonic() - began, **describe(error)}
        with contextlib.suppress(self.te.TransferError):
            batch.wait(timeout=120)
        seconds = time.monotonic() - began
        error = batch.error()
        return {"outcome": batch.outcome, "seconds": seconds, **(describe(error) if error else {})}

    def read(
        self, address: str, handle: str, operation: int, writer: str, deadline: float | None = 60
    ) -> dict[str, Any]:
        from oracle import wrong

        remote = self.te.RemoteBuffer.from_json(handle)
        began = time.monotonic()
        self.start(address, handle, operation, "read", deadline).wait(timeout=120)
        data = memoryview(self.local.obj)[: remote.nbytes]
        return {"wrong": wrong(data, writer, remote.id, operation), "seconds": time.monotonic() - began}

    def fly(self, address: str, handle: str, operation: int, count: int = 1) -> dict[str, Any]:
        """Starts so many writes of the same bytes, for which nobody waits yet; returns when the first are under way."""
        self.flying = [self.start(address, handle, operation, deadline=None)]
        remote = self.te.RemoteBuffer.from_json(handle)
        write = self.segment(address).write
        self.flying += [write(from_=self.local[: remote.nbytes], into=remote) for _ in range(count - 1)]
        while not any(batch.bytes_done for batch in self.flying) and not any(batch.done for batch in self.flying):
            time.sleep(0.0005)
        return {}

    def landed(self) -> dict[str, Any]:
        """Waits for all of these and says how they ended."""
        ends: Counter[str] = Counter()
        for batch in self.flying:
            with contextlib.suppress(self.te.TransferError):
                batch.wait(timeout=60)
            error = batch.error()
            ends[error.name if error else batch.outcome] += 1
        self.flying = []
        return {"ends": ends}

    def run(
        self, address: str, handle: str, kind: str = "read", operation: int = OWN, writer: str = ""
    ) -> dict[str, Any]:
        """Repeats one operation until halted. A read is compared with the pattern each time."""
        from oracle import wrong

        remote = self.te.RemoteBuffer.from_json(handle)
        self.halt.clear()
        self.failed.clear()
        started = threading.Event()

        def work() -> None:
            times, failures, bad = [], Counter[str](), 0
            while not self.halt.is_set():
                began = time.monotonic()
                try:
                    self.start(address, handle, operation, kind).wait(timeout=120)
                    times.append(time.monotonic() - began)
                except self.te.TransferError as error:
                    failures[error.name] += 1
                    self.failed.set()
                started.set()
                if kind == "read" and not failures:
                    bad += bool(wrong(memoryview(self.local.obj)[: remote.nbytes], writer, remote.id, operation))
            self.report = {"times": times, "failures": failures, "wrong": bad}

        self.thread = threading.Thread(target=work)
        self.thread.start()
        started.wait(60)
        return {}

    def halted(self, after_failure: bool = False) -> dict[str, Any]:
        """Ends `run`, once an operation of it has failed if that is to be waited for."""
        assert self.thread is not None
        if after_failure:
            self.failed.wait(60)
        self.halt.set()
        self.thread.join()
        times = sorted(self.report.pop("times"))
        at = {q: times[min(len(times) - 1, int(len(times) * q / 100))] * 1000 if times else None for q in (50, 99, 100)}
        return {**self.report, "count": len(times), "p50": at[50], "p99": at[99], "max": at[100]}

    # ---- as a process

    def descriptors(self, spare: int | None) -> dict[str, Any]:
        """Leaves room for so many more file descriptors; None takes the limit away again. The holes below the largest
        are filled, because a limit counts numbers, not descriptors.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if spare is None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            while self.holes:
                os.close(self.holes.pop())
            return {}
        used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1 + spare, hard))
        with contextlib.suppress(OSError):
            while True:
                self.holes.append(os.dup(0))
        for _ in range(spare):
            os.close(self.holes.pop())
        return {}

    def memory_limit(self, spare: int) -> dict[str, Any]:
        """Leaves room for so many more bytes of address space."""
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + spare, resource.RLIM_INFINITY))
        return {}

    def allocate(self, size: int) -> dict[str, Any]:
        buffer = self.engine.allocate(size)
        return {"id": buffer.id}

    def fork(self, times: int) -> dict[str, Any]:
        """Children that try the engine, or only leave."""
        codes = []
        for i in range(times):
            pid = os.fork()
            if pid == 0:
                try:
                    if i % 2:
                        next(iter(self.segments.values())).ping()
                        os._exit(1)
                except self.te.ForkedProcessError:
                    pass
                os._exit(0)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return {"codes": codes}

    def status(self) -> dict[str, Any]:
        return {"status": self.engine.status(), "threads": threading.active_count()}


def describe(error: BaseException) -> dict[str, Any]:
    name = getattr(error, "name", type(error).__name__)
    return {"error": name, "text": str(error), "type": type(error).__name__}


def main(kind: type[Served] = Served) -> None:
    served = kind(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    print(json.dumps(served.hello()), flush=True)
    for line in sys.stdin:
        command, arguments = json.loads(line)
        try:
            said = getattr(served, command)(**arguments)
        except Exception as error:
            said = describe(error)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
