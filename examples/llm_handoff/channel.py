"""The application's own messages between its processes: one JSON object a line, through pipes.

This is what a router or scheduler does in a real deployment. The library's remote handles travel inside these messages
as ordinary JSON values; the tensors they name do not.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

Message = dict[str, Any]


class Closed(Exception):
    """The process at the other end is gone."""


def write(stream: IO[str], kind: str, fields: Message) -> None:
    """Send one message."""
    try:
        stream.write(json.dumps({"kind": kind, **fields}) + "\n")
        stream.flush()
    except BrokenPipeError:
        raise Closed(f"nobody takes the message {kind!r} any more") from None


class Messages:
    """A worker process's end: messages come on stdin and go to what was stdout.

    From here on stdout is stderr, so that whatever a library prints cannot end up among the messages.
    """

    def __init__(self) -> None:
        self._incoming = sys.stdin
        self._outgoing = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message to the coordinator."""
        write(self._outgoing, kind, fields)

    def receive(self, kind: str) -> Message:
        """The next message from the coordinator, which must be of this kind."""
        line = self._incoming.readline()
        if not line:
            raise Closed(f"the coordinator went away before it sent {kind!r}")
        message: Message = json.loads(line)
        if message["kind"] != kind:
            raise ValueError(f"expected the message {kind!r}, got {message['kind']!r}")
        return message
