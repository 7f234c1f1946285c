"""Attention of short rows on a CPU: two batched matrix products and a softmax.

torch's fused attention parts a row into blocks and pays for each of them. Where all scores of a row fit into the cache,
the plain formula, softmax(q k' scaling + mask) v, is faster. In half precision fused attention sums in float32, which
the plain formula would not, so there it stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "olal_short"
_WIDEST = 64  # above it fused attention catches up, on one thread first


def use_short_attention(network: Any) -> None:
    """Let a transformers model on a CPU that runs under fused attention run short rows the plain way."""
    if network.device.type == "cpu" and network.config._attn_implementation == "sdpa":
        network.set_attn_implementation(_NAME)  # which says nothing and does nothing where a model cannot


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention as transformers calls it.

    Args:
        module: the attention layer.
        query: shape (batch, heads, new tokens, head size).
        key: shape (batch, kv heads, all tokens, head size).
        value: as `key`.
        attention_mask: bool, True where a token is seen, or what is added to scores; shape (batch, 1, new, all).
        options: `scaling` and whatever else the model passes.

    Returns:
        Shape (batch, new tokens, heads, head size).
    """
    (batch, heads, new, size), (kv_heads, width) = query.shape, key.shape[1:3]
    is_short = query.dtype == torch.float32 and new * width <= _WIDEST**2 and not options.get("dropout")
    if attention_mask is None or not is_short:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if attention_mask.dtype == torch.bool:
        lowest = torch.finfo(query.dtype).min
        attention_mask = query.new_zeros(attention_mask.shape).masked_fill_(~attention_mask, lowest)
    scaling = options.get("scaling") or size**-0.5
    together = (query * scaling).reshape(batch * kv_heads, -1, size)  # the heads that share keys
    scores = torch.bmm(together, key.reshape(batch * kv_heads, width, size).transpose(1, 2))
    seen = torch.softmax(scores.view(batch, heads, new, width).add_(attention_mask), dim=-1)
    mixed = torch.bmm(seen.view(batch * kv_heads, -1, width), value.reshape(batch * kv_heads, width, size))
    return mixed.view(batch, heads, new, size).transpose(1, 2), None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)
