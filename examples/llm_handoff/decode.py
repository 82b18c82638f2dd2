"""The second process: fetches a KV cache that it did not compute, and writes the answer from it."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import mooncake_te as te

from . import channel, kvcache, model

COPIES = 5  # of the plain copy; the median counts
TIMEOUT = 60.0  # seconds for the transfer


def work(messages: channel.Messages) -> None:
    """Fetch one cache, say what that cost, and continue the text from it."""
    job = messages.receive("job")
    tokenizer, network = model.load(Path(job["model"]))
    with te.Engine("decode") as engine:
        messages.send("ready")
        handoff = messages.receive("handoff")
        tensors, report = fetch(engine, handoff)
        messages.send("received", **report, plain_copy_seconds=plain_copy(tensors))
        messages.receive("decode")  # meanwhile the engine agrees to the owner's drain, and the owner ends

    if job["zero"]:
        for tensor in tensors:
            tensor.zero_()
    started = time.perf_counter()
    cache = kvcache.rebuild(network.config, tensors, handoff["tokens"])
    tokens = model.decode(network, cache, handoff["first"], job["limit"], handoff["stop"])
    seconds = time.perf_counter() - started
    messages.send("decoded", tokens=tokens, text=tokenizer.decode(tokens, skip_special_tokens=True), seconds=seconds)


def fetch(engine: te.Engine, handoff: channel.Message) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """READ all tensors of a cache into memory of our own, in one batch. Returns them and what to report."""
    remotes = [te.RemoteBuffer.from_dict(handle) for handle in handoff["tensors"]]
    tensors = kvcache.empty_tensors([remote.shape for remote in remotes], torch.float32)
    buffers = engine.register_all(tensors, remote=False)
    peer = engine.open(handoff["address"])

    started = time.perf_counter()
    batch = peer.read(into=buffers, from_=remotes)
    batch.wait(timeout=TIMEOUT)
    seconds = time.perf_counter() - started

    explained = batch.explain()
    return tensors, {
        "bytes": sum(tensor.nbytes for tensor in tensors),
        "seconds": seconds,
        "path": explained.path,
        "why": explained.why,
    }


def plain_copy(tensors: Sequence[torch.Tensor]) -> float:
    """Seconds that one memcpy of the same tensors takes within this process: what moving costs at the very least."""
    copies = kvcache.empty_tensors([tensor.shape for tensor in tensors], torch.float32)
    times = []
    for _ in range(COPIES):
        started = time.perf_counter()
        for source, target in zip(tensors, copies, strict=True):
            ctypes.memmove(target.data_ptr(), source.data_ptr(), source.nbytes)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
