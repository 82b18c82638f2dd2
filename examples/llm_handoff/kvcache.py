"""A transformers DynamicCache as a flat list of tensors, and back.

The list is K of layer 0, V of layer 0, K of layer 1 and so on; each is [batch, KV heads, positions, head size]. The
tensors alone are not the cache: a sliding-window layer holds only its last window of positions, yet the model must know
how many tokens it has seen, else it numbers the next one wrongly and writes nonsense from perfectly good bytes. So the
token count travels with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache


def tensors_of(cache: Cache) -> list[torch.Tensor]:
    """The tensors of a cache, contiguous. They are the cache's own wherever those are contiguous already."""
    return [tensor.contiguous() for layer in cache.layers for tensor in (layer.keys, layer.values)]


def named(tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under names for people: layer0.k, layer0.v, layer1.k and so on."""
    return {f"layer{index // 2}.{'kv'[index % 2]}": tensor for index, tensor in enumerate(tensors)}


def empty_tensors(shapes: Sequence[Sequence[int]], dtype: torch.dtype) -> list[torch.Tensor]:
    """Memory to receive a cache into. Zeroed, so that every page is there before anybody counts the time."""
    return [torch.empty(tuple(shape), dtype=dtype).zero_() for shape in shapes]


def rebuild(config: Any, tensors: Sequence[torch.Tensor], tokens: int) -> Cache:
    """The cache that `tensors_of` took apart, for a model of this configuration, `tokens` tokens long."""
    cache = DynamicCache(config=config)
    if len(tensors) != 2 * len(cache.layers):
        raise ValueError(f"{len(tensors)} tensors cannot be K and V of the model's {len(cache.layers)} layers")
    for index, layer in enumerate(cache.layers):
        cache.update(tensors[2 * index], tensors[2 * index + 1], index)
        if hasattr(layer, "cumulative_length"):
            layer.cumulative_length = tokens
        if layer.get_seq_length() != tokens:
            raise ValueError(f"layer {index} holds {layer.get_seq_length()} positions, but the cache is of {tokens}")
    return cache
