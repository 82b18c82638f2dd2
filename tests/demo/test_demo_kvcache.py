"""A cache taken apart and rebuilt continues a text as if nothing had happened; one rebuilt wrongly does not pass."""

import pytest
import torch
from llm_handoff import kvcache, model
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, MistralConfig

PROMPT = [(7 * i * i + 3 * i) % 97 for i in range(60)]
LIMIT = 24
COMMON = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
WINDOW = 16  # shorter than the prompt: such layers keep a part of it
CONFIGS = {
    "full attention": LlamaConfig(**COMMON),
    "sliding window": MistralConfig(**COMMON, sliding_window=WINDOW),
    "both kinds": Gemma3TextConfig(
        **COMMON,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    ),
}


def build(kind):
    torch.set_num_threads(model.THREADS)
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(CONFIGS[kind]).eval()


def moved(tensors):
    """The same values in other memory, as a transfer leaves them."""
    targets = kvcache.empty_tensors([tensor.shape for tensor in tensors], torch.float32)
    for target, source in zip(targets, tensors, strict=True):
        target.copy_(source)
    return targets


@pytest.mark.parametrize("kind", CONFIGS)
def test_rebuilt_cache_gives_the_same_tokens(kind):
    network = build(kind)
    cache, first = model.prefill(network, PROMPT)
    tensors = moved(kvcache.tensors_of(cache))
    reference = model.decode(network, cache, first, LIMIT)
    assert len(set(reference)) > LIMIT // 4, "a text that repeats one token would show nothing"

    rebuilt = kvcache.rebuild(network.config, tensors, len(PROMPT))
    assert model.decode(network, rebuilt, first, LIMIT) == reference


def test_decoding_leaves_the_offered_tensors_as_they_are():
    network = build("full attention")
    cache, first = model.prefill(network, PROMPT)
    tensors = kvcache.tensors_of(cache)
    before = moved(tensors)
    model.decode(network, cache, first, LIMIT)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_greedy_loop_is_what_transformers_generates():
    network = build("full attention")
    cache, first = model.prefill(network, PROMPT)
    ours = model.decode(network, cache, first, LIMIT)
    theirs = network.generate(torch.tensor([PROMPT]), max_new_tokens=LIMIT, do_sample=False)
    assert theirs[0, len(PROMPT) :].tolist() == ours


def test_decoding_stops_after_the_end_token():
    network = build("full attention")
    cache, first = model.prefill(network, PROMPT)
    whole = model.decode(network, cache, first, LIMIT)
    stop = whole[5]
    cache, first = model.prefill(network, PROMPT)
    assert model.decode(network, cache, first, LIMIT, stop) == whole[: whole.index(stop) + 1]


def test_sliding_window_needs_the_token_count():
    """Without the count every byte is right and the text is wrong; so the count is part of what is handed over."""
    network = build("sliding window")
    cache, first = model.prefill(network, PROMPT)
    tensors = moved(kvcache.tensors_of(cache))
    reference = model.decode(network, cache, first, LIMIT)
    assert tensors[0].shape[-2] == WINDOW - 1
    wrong = kvcache.rebuild(network.config, tensors, WINDOW - 1)
    assert model.decode(network, wrong, first, LIMIT) != reference


def test_wrong_token_count_is_refused():
    network = build("full attention")
    cache, _ = model.prefill(network, PROMPT)
    with pytest.raises(ValueError, match="holds 60 positions, but the cache is of 61"):
        kvcache.rebuild(network.config, kvcache.tensors_of(cache), 61)


def test_missing_layer_is_refused():
    network = build("full attention")
    cache, _ = model.prefill(network, PROMPT)
    with pytest.raises(ValueError, match="6 tensors cannot be K and V of the model's 4 layers"):
        kvcache.rebuild(network.config, kvcache.tensors_of(cache)[:-2], len(PROMPT))
