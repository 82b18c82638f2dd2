"""A peer in a process of its own: registers a patterned bytearray, prints its handle, obeys lines on standard input.

Run as a script by Owner below. Replies are one line of JSON each.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPLY_SECONDS = 60


class Owner:
    """The parent's side."""

    def __init__(self, size: str = "1048576", listen: str = "127.0.0.1:0", name: str = "owner") -> None:
        from checkout import child_environment

        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), size, listen, name],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = self._reply()
        self.address: str = first["address"]
        self.handle_json: str = first["handle"]
        self.instance: str = first["instance"]

    def ask(self, command: str, *arguments: Any) -> Any:
        """Sends a command and returns its result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()
        return self._reply()

    def _reply(self) -> Any:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], REPLY_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        assert line, f"the peer process gave no reply (exit code {self.process.poll()})"
        return json.loads(line)

    def stop(self) -> None:
        """SIGSTOP: alive and silent."""
        stop_process(self.process.pid)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def stop_process(pid: int) -> None:
    """SIGSTOP, and wait until each thread of it stands still."""
    os.kill(pid, signal.SIGSTOP)
    while True:
        states = [stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        if set(states) == {"T"}:
            return
        time.sleep(0.001)


def pattern(size: int) -> bytes:
    """Bytes that differ at neighbouring offsets and neighbouring blocks."""
    period = bytes((i * 7 + 3) % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


def main() -> None:
    import mooncake_te as te

    size, listen, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    engine = te.Engine(name, listen=listen)
    data = bytearray(pattern(size))
    buffer = engine.register(data, name="data")

    def reply(value: Any) -> None:
        print(json.dumps(value), flush=True)

    reply({"address": engine.address, "handle": buffer.remote().to_json(), "instance": engine.instance})
    grants = {}
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "bytes":
            offset, length = arguments
            reply(data[offset : offset + length].hex())
        elif command == "fill":
            data[:] = bytes([arguments[0]]) * size
            reply(True)
        elif command == "only":  # is every byte of this value?
            reply(data.count(arguments[0]) == size)
        elif command == "close":
            report = buffer.close(timeout=arguments[0])
            reply({"fenced": report.fenced, "acknowledged": report.acknowledged})
        elif command == "register":
            buffer = engine.register(data, name="data")
            reply(buffer.remote().to_json())
        elif command == "grant":
            blocks, block_bytes, to, perm = arguments
            grant = buffer.grant(blocks=blocks, block_bytes=block_bytes, to=to, perm=perm)
            grants[grant.id] = grant
            reply(grant.remote().to_json())
        elif command == "revoke":
            grants.pop(arguments[0]).close()
            reply(True)
        elif command == "read":
            address, handle = arguments
            remote = te.RemoteBuffer.from_json(handle)
            local = engine.register(bytearray(remote.nbytes), remote=False)
            engine.open(address).read(into=local, from_=remote).wait(timeout=30)
            reply(local.obj.hex())
        elif command == "notifications":
            reply([[n.peer, n.tag, n.payload.hex()] for n in engine.notifications()])
        elif command == "exit":
            engine.close()
            reply(True)
            return
        elif command == "vanish":
            os._exit(0)


if __name__ == "__main__":
    main()
