"""A stock Mooncake engine in a process of its own, driven by lines of JSON; runs in the `stock` environment.

    engine.py NAME METADATA_URL

Reads {"call": ..., "arguments": [...]} and answers {"value": ...}. It holds the interpreter while it waits for its
metadata server, so nothing else may live in this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

from mooncake.engine import TransferEngine  # type: ignore[import-not-found]  # of another environment


def main() -> None:
    # What the library itself prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, url = sys.argv[1:]
    engine = TransferEngine()
    memory: list[ctypes.Array[ctypes.c_char]] = []

    def register(length: int) -> int:
        memory.append(ctypes.create_string_buffer(length))
        address = ctypes.addressof(memory[-1])
        status = engine.register_memory(address, length)
        return address if status == 0 else int(status)

    calls = {
        "initialize": lambda: engine.initialize(name, url, "tcp", ""),
        "register": register,
        "first": engine.get_first_buffer_address,
        "rpc_port": engine.get_rpc_port,
    }
    for line in sys.stdin:
        request = json.loads(line)
        value = calls[request["call"]](*request["arguments"])
        print(json.dumps({"value": value}), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # stock Mooncake's own end may hang


main()
