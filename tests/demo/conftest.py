"""A random language model small enough to build in a test, so that the demo's own code runs without downloads."""

import os
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from llm_handoff import model  # noqa: E402

model.before_import(bars=False)

import torch  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

END = "<end>"
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of four layers and one token per byte.

    Its weights are larger than those that training starts from: so attention decides what comes next, and a wrong cache
    shows.
    """
    folder = tmp_path_factory.mktemp("tiny_model")
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), END]
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, chat_template=CHAT_TEMPLATE)
    fast.save_pretrained(folder)
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=alphabet.index(END),
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What the demo's processes need to find: its package, the library, and a cache folder of the test's own."""
    path = [str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]
    clean = {name: value for name, value in os.environ.items() if name not in ("ZERO", "JSON")}
    return {**clean, "PYTHONPATH": os.pathsep.join(path), "MOONCAKE_TE_CACHE": str(tmp_path / "cache")}
