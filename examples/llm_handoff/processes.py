"""The coordinator's side of its worker processes: starting them, talking to them, and leaving none behind.

Each worker runs in a session of its own: a Ctrl-C on the terminal reaches the coordinator alone, and that ends the
workers. If the coordinator is killed without a chance to do so, the kernel ends them (see `worker`).
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from . import channel
from .worker import PARENT

GRACE = 3.0  # seconds between SIGTERM and SIGKILL


class WorkerFailed(Exception):
    """A worker process gave up, ended early or said nothing for too long."""


class Crew:
    """Some worker processes, one for each role, none of which outlives the `with` block.

    Whoever waits for one of them learns at once if another has failed.
    """

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._dismissed: set[str] = set()
        self._incoming: queue.Queue[tuple[str, str | None]] = queue.Queue()  # role and a line; None: no more will come
        self._unread: dict[str, list[channel.Message]] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()

    def start(self, role: str) -> int:
        """Start the worker whose work is the module of this package with that name. Returns its process ID."""
        path = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, PARENT: str(os.getpid()), "PYTHONPATH": os.pathsep.join(path)},
        )
        self._processes[role], self._unread[role] = process, []
        threading.Thread(target=self._read, args=(role, process), name=f"messages of {role}", daemon=True).start()
        return process.pid

    def send(self, role: str, kind: str, **fields: Any) -> None:
        """Send a worker a message."""
        stream = self._processes[role].stdin
        assert stream is not None
        try:
            channel.write(stream, kind, fields)
        except channel.Closed:
            raise WorkerFailed(self._how_ended(role)) from None

    def receive(self, role: str, kind: str, timeout: float) -> channel.Message:
        """The next message of a worker, which must be of this kind. `timeout` in seconds."""
        deadline = time.monotonic() + timeout
        while not self._unread[role]:
            try:
                sender, line = self._incoming.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise WorkerFailed(f"the {role} process did not send {kind!r} within {timeout:g} s") from None
            if line is not None:
                self._take(sender, json.loads(line))
            elif sender not in self._dismissed:
                raise WorkerFailed(self._how_ended(sender))
        message = self._unread[role].pop(0)
        if message["kind"] != kind:
            raise WorkerFailed(f"the {role} process sent {message['kind']!r} instead of {kind!r}")
        return message

    def dismiss(self, role: str, timeout: float) -> None:
        """Wait for a worker that has done its work to end, `timeout` seconds at most."""
        self._dismissed.add(role)
        try:
            status = self._processes[role].wait(timeout)
        except subprocess.TimeoutExpired:
            raise WorkerFailed(f"the {role} process did not end within {timeout:g} s") from None
        if status != 0:
            raise WorkerFailed(self._how_ended(role))

    def _take(self, sender: str, message: channel.Message) -> None:
        if message["kind"] == "failed":
            raise WorkerFailed(f"the {sender} process failed: {message['reason']}")
        self._unread[sender].append(message)

    def _read(self, role: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with suppress(ValueError):  # closed while the crew is being ended
            for line in process.stdout:
                self._incoming.put((role, line))
        self._incoming.put((role, None))

    def _how_ended(self, role: str) -> str:
        try:
            status = self._processes[role].wait(GRACE)
        except subprocess.TimeoutExpired:
            return f"the {role} process closed its end of the pipe"
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"the {role} process {how}"
