"""The first process: reads the prompt, offers its KV cache to whoever holds the handles, and takes it back."""

from __future__ import annotations

import time
from pathlib import Path

import mooncake_te as te

from . import channel, kvcache, model


def work(messages: channel.Messages) -> None:
    """Prefill one prompt, hand its KV cache over, and end when it has been fetched."""
    job = messages.receive("job")
    tokenizer, network = model.load(Path(job["model"]))
    prompt = model.tokens_of(tokenizer, job["prompt"])

    started = time.perf_counter()
    cache, first = model.prefill(network, prompt)
    prefill_seconds = time.perf_counter() - started
    tensors = kvcache.tensors_of(cache)
    # What one process alone makes of the prompt. It leaves `tensors` as they are: the cache grows into new ones.
    stop = tokenizer.eos_token_id
    reference = model.decode(network, cache, first, job["limit"], stop)

    with te.Engine("prefill") as engine:
        # Offered for reading only: no peer can change what this process may still use.
        buffers = engine.register_all(kvcache.named(tensors), perm="r")
        messages.send(
            "prefilled",
            address=engine.address,
            tensors=[buffer.remote().to_dict() for buffer in buffers],
            tokens=len(prompt),
            first=first,
            stop=stop,
            reference=reference,
            seconds=prefill_seconds,
        )
        messages.receive("release")
        # One acknowledged drain for all of them. After it the memory could be given to the next request: nobody can
        # still be reading from it.
        report = engine.drain(buffers)
        messages.send("released", acknowledged=len(report.acknowledged), seconds=report.waited_ms / 1e3)
