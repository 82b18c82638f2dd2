"""What a worker can drive: this package, and the wheels that people use today if `make bench-peers` installed them."""

from __future__ import annotations

import base64
import json
import os
import time
from array import array
from typing import Any, Protocol


class Engine(Protocol):
    """One side. prepare() is not timed; move() is: one batch, from the call to the moment that every byte is there."""

    address: str
    version: str

    def connect(self, address: str, connections: int) -> None: ...
    def prepare(self, op: str, local: array[int], remote: array[int], size: int, options: tuple[str, ...]) -> Any: ...
    def move(self, job: Any) -> None: ...
    def close(self) -> None: ...


class Ours:
    """mooncake_te as an application calls it: prepared arrays of offsets, one call for a batch, wait()."""

    def __init__(self, source: int, sink: int, size: int) -> None:
        import mooncake_te as te

        self.te = te
        self.version = te.__version__
        self.engine = te.Engine(log_level="error")
        self.source = self.engine.register((source, size), name="source")
        self.sink = self.engine.register((sink, size), name="sink")
        self.address = self.engine.address

    def connect(self, address: str, connections: int) -> None:
        del connections  # the engine decides
        self.segment = self.engine.open(address)
        self.remote_source, self.remote_sink = self.segment.buffer("source"), self.segment.buffer("sink")

    def prepare(self, op: str, local: array[int], remote: array[int], size: int, options: tuple[str, ...]) -> Any:
        checksum = "crc=off" not in options
        if op == "read":
            into, from_, into_offsets, from_offsets = self.sink, self.remote_source, local, remote
            call: Any = self.segment.read
        else:
            into, from_, into_offsets, from_offsets = self.remote_sink, self.source, remote, local
            call = self.segment.write
        arguments = {
            "into": into,
            "from_": from_,
            "into_offsets": into_offsets,
            "from_offsets": from_offsets,
            "lengths": size,
            "checksum": checksum,
        }
        return call, arguments

    def move(self, job: Any) -> None:
        call, arguments = job
        call(**arguments).wait()

    def submit(self, job: Any) -> Any:
        call, arguments = job
        return call(**arguments)

    def close(self) -> None:
        self.engine.close()


class Mooncake:
    """The stock wheel's TCP transport. At most 1,024 blocks a batch: more are refused (its queue per peer)."""

    MOST = 1024

    def __init__(self, source: int, sink: int, size: int) -> None:
        os.environ["MC_FORCE_TCP"] = "1"
        os.environ.setdefault("MC_LOG_LEVEL", "ERROR")
        from importlib.metadata import version

        from mooncake.engine import TransferEngine

        self.version = version("mooncake-transfer-engine-non-cuda")
        self.engine = TransferEngine()
        if self.engine.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", "") != 0:
            raise RuntimeError("initialize failed")
        self.source, self.sink = source, sink
        for address in (source, sink):
            if self.engine.register_memory(address, size) != 0:
                raise RuntimeError("register_memory failed")
        self.address = f"127.0.0.1:{self.engine.get_rpc_port()},{source},{sink}"

    def connect(self, address: str, connections: int) -> None:
        del connections
        self.peer, source, sink = address.split(",")
        self.remote_source, self.remote_sink = int(source), int(sink)

    def prepare(self, op: str, local: array[int], remote: array[int], size: int, options: tuple[str, ...]) -> Any:
        del options
        here, there = (self.sink, self.remote_source) if op == "read" else (self.source, self.remote_sink)
        call = self.engine.batch_transfer_sync_read if op == "read" else self.engine.batch_transfer_sync_write
        parts = []
        for i in range(0, len(local), self.MOST):
            a = [here + x for x in local[i : i + self.MOST]]
            parts.append((a, [there + x for x in remote[i : i + self.MOST]], [size] * len(a)))
        return call, parts

    def move(self, job: Any) -> None:
        call, parts = job
        for local, remote, lengths in parts:
            code = call(self.peer, local, remote, lengths)
            if code != 0:
                raise RuntimeError(f"transfer failed: {code}")

    def close(self) -> None:
        pass


class Nixl:
    """NIXL over UCX with all defaults but the initiator's progress thread: the caller polls, from one thread.

    An agent with the default synchronisation hangs under several threads, so it has no part in W6.
    """

    def __init__(self, source: int, sink: int, size: int) -> None:
        from importlib.metadata import version

        from nixl._api import nixl_agent, nixl_agent_config

        self.version = version("nixl")
        self.source, self.sink, self.size = source, sink, size
        self.target = os.environ.get("BENCH_ROLE") == "target"
        self.name = f"bench-{os.getpid()}"
        self.agent = nixl_agent(self.name, nixl_agent_config(enable_prog_thread=self.target, backends=["UCX"]))
        rows = [(source, size, 0, ""), (sink, size, 0, "")]
        self.registered = self.agent.register_memory(rows, "DRAM")
        metadata = base64.b64encode(self.agent.get_agent_metadata()).decode()
        said = {"name": self.name, "metadata": metadata, "source": source, "sink": sink}
        self.address = base64.b64encode(json.dumps(said).encode()).decode()

    def connect(self, address: str, connections: int) -> None:
        del connections
        said = json.loads(base64.b64decode(address))
        self.peer = self.agent.add_remote_agent(base64.b64decode(said["metadata"]))
        if isinstance(self.peer, bytes):
            self.peer = self.peer.decode()
        self.remote_source, self.remote_sink = said["source"], said["sink"]

    def prepare(self, op: str, local: array[int], remote: array[int], size: int, options: tuple[str, ...]) -> Any:
        del options
        here, there = (self.sink, self.remote_source) if op == "read" else (self.source, self.remote_sink)
        mine = self.agent.prep_xfer_dlist("NIXL_INIT_AGENT", [(here + x, size, 0) for x in local], "DRAM")
        theirs = self.agent.prep_xfer_dlist(self.peer, [(there + x, size, 0) for x in remote], "DRAM")
        every = list(range(len(local)))
        handle = self.agent.make_prepped_xfer(op.upper(), mine, every, theirs, every, b"")
        return handle, mine, theirs

    def move(self, job: Any) -> None:
        if self.agent.transfer(job[0]) == "ERR":
            raise RuntimeError("transfer failed")
        while True:
            state = self.agent.check_xfer_state(job[0])
            if state == "DONE":
                return
            if state == "ERR":
                raise RuntimeError("transfer failed")
            time.sleep(0)

    def close(self) -> None:
        pass


ENGINES: dict[str, type[Engine]] = {"ours": Ours, "mooncake": Mooncake, "nixl": Nixl}
