"""PaddedAttention: vLLM's CPU attention for head sizes it has no kernel for.

Queries, keys and values are filled up with zeros to the next size that has one. The zeros add nothing to a dot product
and the scale is that of the true size, so the result is the same; the price is a larger key-value cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import pad
from vllm.v1.attention.backends.cpu_attn import (  # pyright: ignore[reportMissingImports]
    CPUAttentionBackend,
    CPUAttentionBackendImpl,
)
from vllm.v1.attention.backends.registry import (  # pyright: ignore[reportMissingImports]
    AttentionBackendEnum,
    register_backend,
)


def register() -> None:
    """Let vLLM use this in place of its own CPU attention."""
    register_backend(AttentionBackendEnum.CPU_ATTN, f"{__name__}.{PaddedAttention.__name__}")


class PaddedAttention(CPUAttentionBackend):  # type: ignore[misc]
    """CPU attention for any head size up to the largest kernel."""

    @classmethod
    def get_supported_head_sizes(cls) -> list[int]:
        """All sizes that can be filled up."""
        return list(range(1, max(super().get_supported_head_sizes()) + 1))

    @classmethod
    def customize_spec(cls, spec: Any) -> Any:
        """The cache holds heads of the filled-up size."""
        sizes = [size for size in CPUAttentionBackend.get_supported_head_sizes() if size >= spec.head_size]
        return super().customize_spec(replace(spec, head_size=min(sizes), head_size_v=min(sizes)))

    @staticmethod
    def get_impl_cls() -> type[Any]:
        """What layers call."""
        return PaddedAttentionImpl


class PaddedAttentionImpl(CPUAttentionBackendImpl):  # type: ignore[misc]
    """Fills up what goes in and cuts what comes out."""

    def forward(
        self,
        layer: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kv_cache: torch.Tensor,
        attn_metadata: Any,
        output: torch.Tensor,
        *scales: Any,
        **options: Any,
    ) -> torch.Tensor:
        """Attention of shape (tokens, heads, head size), written into `output`."""
        missing = 0 if attn_metadata is None else kv_cache.shape[-1] // 2 - query.shape[-1]
        if missing == 0:
            return super().forward(layer, query, key, value, kv_cache, attn_metadata, output, *scales, **options)
        heads = output.view(query.shape)
        wide = pad(heads, (0, missing))
        filled = [pad(tensor, (0, missing)) for tensor in (query, key, value)]
        super().forward(layer, *filled, kv_cache, attn_metadata, wide, *scales, **options)
        heads.copy_(wide[..., : heads.shape[-1]])
        return output

    def do_kv_cache_update(
        self, layer: Any, key: torch.Tensor, value: torch.Tensor, kv_cache: torch.Tensor, slot_mapping: torch.Tensor
    ) -> None:
        """Write keys and values, shape (tokens, heads, head size), into the cache."""
        missing = kv_cache.shape[-1] // 2 - key.shape[-1]
        filled = [pad(tensor, (0, missing)) for tensor in (key, value)]
        super().do_kv_cache_update(layer, *filled, kv_cache, slot_mapping)
