"""A language model reads a prompt in one process and writes the answer in another; mooncake_te moves its KV cache.

    make demo [ZERO=1] [JSON=FILE]

starts both processes, compares the answer's tokens with those of a single process and prints what the hand-off cost.
ZERO=1 is the negative control: the received cache is zeroed before decoding, and the tokens must then differ.

Exit status: 0 as it should be, 1 not (tokens differ; with ZERO=1: are equal; a process failed), 2 something is missing
on this machine, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import model, processes

HERE = Path(__file__).resolve().parent
CONVERSION = 600.0  # seconds within which the model must be converted
STEP = 120.0  # seconds within which each step of a worker must be done
LIMIT = 48  # tokens of the answer at most


@dataclass(frozen=True)
class Result:
    """What one run showed. Times are in seconds."""

    prompt: str
    prompt_tokens: int
    text: str
    tokens: list[int]
    reference: list[int]  # of a single process
    equal: bool
    zero: bool  # the received cache was zeroed
    tensors: int
    bytes: int
    path: str
    why: str
    seconds: float
    gb_per_s: float
    plain_copy_seconds: float
    plain_copy_gb_per_s: float
    drain_seconds: float
    drain_acknowledged: int  # peers
    prefill_seconds: float
    decode_seconds: float
    prefill_pid: int
    decode_pid: int

    @property
    def as_expected(self) -> bool:
        """Equal tokens, or different ones if the cache was zeroed."""
        return self.equal != self.zero


def hand_off(folder: Path, prompt: str, limit: int, zero: bool) -> Result:
    """Run both processes once with the model in `folder`. Neither outlives this call."""
    with processes.Crew() as crew:
        prefill_pid, decode_pid = crew.start("prefill"), crew.start("decode")
        crew.send("prefill", "job", model=str(folder), prompt=prompt, limit=limit)
        crew.send("decode", "job", model=str(folder), limit=limit, zero=zero)
        crew.receive("decode", "ready", STEP)
        offered = crew.receive("prefill", "prefilled", STEP)
        handoff = {field: offered[field] for field in ("address", "tensors", "tokens", "first", "stop")}
        crew.send("decode", "handoff", **handoff)
        received = crew.receive("decode", "received", STEP)
        # The owner withdraws its memory and ends before the first token is decoded: what the second process then
        # knows of the prompt is what it has fetched.
        crew.send("prefill", "release")
        released = crew.receive("prefill", "released", STEP)
        crew.dismiss("prefill", STEP)
        crew.send("decode", "decode")
        decoded = crew.receive("decode", "decoded", STEP)
        crew.dismiss("decode", STEP)
    return Result(
        prompt=prompt,
        prompt_tokens=offered["tokens"],
        text=decoded["text"],
        tokens=decoded["tokens"],
        reference=offered["reference"],
        equal=decoded["tokens"] == offered["reference"],
        zero=zero,
        tensors=len(offered["tensors"]),
        bytes=received["bytes"],
        path=received["path"],
        why=received["why"],
        seconds=received["seconds"],
        gb_per_s=received["bytes"] / received["seconds"] / 1e9,
        plain_copy_seconds=received["plain_copy_seconds"],
        plain_copy_gb_per_s=received["bytes"] / received["plain_copy_seconds"] / 1e9,
        drain_seconds=released["seconds"],
        drain_acknowledged=released["acknowledged"],
        prefill_seconds=offered["seconds"],
        decode_seconds=decoded["seconds"],
        prefill_pid=prefill_pid,
        decode_pid=decode_pid,
    )


def summary(result: Result) -> str:
    """What a reader wants to know of a run."""
    megabytes = f"{result.bytes / 1e6:.1f} MB"
    opening, question = result.prompt.split("\n")[0], result.prompt.strip().split("\n")[-1]
    same = sum(a == b for a, b in zip(result.tokens, result.reference, strict=False))
    verdict = (
        f"all {len(result.tokens)} equal to those of a single process"
        if result.equal
        else f"not those of a single process ({same} of {len(result.reference)} are the same)"
    )
    if result.zero:
        verdict += ", as it must be: " if result.as_expected else ", but must differ: "
        verdict += "the received cache was zeroed before decoding"
    rows = {
        "prompt": f"{opening[:60]}... {question}",
        "prefill": f"process {result.prefill_pid}: {result.prompt_tokens} tokens in {result.prefill_seconds:.2f} s",
        "moved": f"{megabytes}, {result.tensors} tensors in one batch of READs, over {result.path}: "
        f"{1e3 * result.seconds:.1f} ms, {result.gb_per_s:.2f} GB/s",
        "path": result.why,
        "plain copy": f"{megabytes} by memcpy within one process: {1e3 * result.plain_copy_seconds:.1f} ms, "
        f"{result.plain_copy_gb_per_s:.2f} GB/s",
        "released": f"{result.tensors} buffers in one drain: {1e3 * result.drain_seconds:.1f} ms, "
        f"acknowledged by {result.drain_acknowledged} peer",
        "decode": f"process {result.decode_pid}: {len(result.tokens)} tokens in {result.decode_seconds:.2f} s",
        "text": repr(result.text),
        "tokens": verdict,
    }
    return "\n".join(f"{name:<11} {value}" for name, value in rows.items() if value)


def converted_model() -> Path:
    """The folder of converted weights, made by a worker if it is not there yet."""
    folder = model.converted_folder()
    if folder.is_dir():
        return folder
    with processes.Crew() as crew:
        crew.start("model")
        crew.receive("model", "converted", CONVERSION)
        crew.dismiss("model", STEP)
    return folder


def check_machine(own_model: bool) -> str | None:
    """One sentence about what is missing here, or None. `own_model`: the user gave a folder that needs no conversion."""
    if absent := model.missing_packages(model.TO_RUN if own_model else model.TO_RUN + model.TO_CONVERT):
        return f"missing Python packages: {', '.join(absent)}; `make demo` installs them, see examples/llm_handoff/README.md"
    if importlib.util.find_spec("mooncake_te") is None:
        return "the Python package mooncake_te is missing: start this with `make demo`, or `pip install` the checkout"
    return None


def arguments(command_line: Sequence[str]) -> argparse.Namespace:
    """The options. Their defaults come from the variables that make passes on."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompt-file", type=Path, default=HERE / "prompt.txt", help="text of the user's message")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a folder that transformers loads a causal language model from\n(default: SmolLM2-135M)",
    )
    parser.add_argument("--limit", type=int, default=LIMIT, help="tokens of the answer at most (default: %(default)s)")
    parser.add_argument("--zero", action="store_true", default=os.environ.get("ZERO", "") not in ("", "0"))
    parser.add_argument("--json", metavar="FILE", default=os.environ.get("JSON") or None, help="write the result here")
    options = parser.parse_args(command_line)
    if options.limit < 2:
        parser.error("--limit must be at least 2: the first token comes from the prefill")
    return options


def say(message: str) -> None:
    """Progress, on stderr."""
    print(f"demo: {message}", file=sys.stderr, flush=True)


def on_termination(number: int, _frame: Any) -> NoReturn:
    """End as the shell expects of a process that was told to by this signal, after stopping the workers."""
    raise SystemExit(128 + number)


def main(command_line: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    options = arguments(sys.argv[1:] if command_line is None else command_line)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_termination)
    if problem := check_machine(options.model is not None):
        say(problem)
        return 2
    try:
        folder = options.model or converted_model()
        started = time.perf_counter()
        say("starting the prefill and the decode process")
        result = hand_off(folder, options.prompt_file.read_text(), options.limit, options.zero)
        print(summary(result))
        say(f"{time.perf_counter() - started:.1f} s")
        if options.json:
            Path(options.json).write_text(json.dumps(asdict(result), indent=2) + "\n")
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except (processes.WorkerFailed, OSError) as error:
        say(str(error))
        return 1
    return 0 if result.as_expected else 1


if __name__ == "__main__":
    sys.exit(main())
