"""Two processes: one offers a buffer, the other reads it without the first one's help."""

import multiprocessing

import mooncake_te as te


def read(address: str, handle: te.RemoteBuffer) -> None:
    """The second process: knows the first one's address and a handle of its memory, nothing else."""
    received = bytearray(handle.nbytes)
    with te.Engine("reader") as engine:
        target = engine.register(received, remote=False)
        batch = engine.open(address).read(into=target, from_=handle)
        batch.wait(timeout=10)
        print(f"read {len(received)} bytes over {batch.explain().path}: {bytes(received[:29]).decode()!r}")


def main() -> None:
    """The first process: owns the memory."""
    memory = bytearray(b"one-sided READs need no help." * 100_000)
    with te.Engine("owner") as engine, engine.register(memory, perm="r") as buffer:
        # Handles are small picklable values. Never fork a process that uses an engine: spawn.
        reader = multiprocessing.get_context("spawn").Process(target=read, args=(engine.address, buffer.remote()))
        reader.start()
        reader.join()
    # Buffer and engine are closed: no peer can touch `memory` any more, it may be freed.


if __name__ == "__main__":
    main()
