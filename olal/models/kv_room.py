"""Keys and values of a batch in one tensor with room for the tokens to come, so that a pass copies the past once.

transformers' own cache concatenates past and new at every layer and pass; here a layer writes the new ones behind the
past it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class _RoomyLayer(DynamicLayer):
    """A layer whose keys and values are views into the batch's tensor."""

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        """Take views of shape (batch, kv heads, length + new tokens, head size), filled up to `length`."""
        super().__init__()
        self._all_keys, self._all_values, self._length = keys, values, length
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the new tokens' keys and values behind the past."""
        self._all_keys[:, :, self._length :] = key_states
        self._all_values[:, :, self._length :] = value_states
        self.keys, self.values = self._all_keys, self._all_values
        return self.keys, self.values


class _RoomyCache(DynamicCache):
    """Layers over one tensor of shape (batch, 2 * layers, kv heads, length + new tokens, head size)."""

    def __init__(self, whole: Tensor, length: int) -> None:
        super().__init__()
        self.whole = whole
        self.layers = [
            _RoomyLayer(whole[:, 2 * layer], whole[:, 2 * layer + 1], length) for layer in range(whole.shape[1] // 2)
        ]


def kv_room(past: Sequence[Tensor | None], longest: int, width: int) -> DynamicCache:
    """Right-align cached contexts into one batched cache with room for `width` new tokens.

    Args:
        past: per row its keys and values, shape (2 * layers, kv heads, length, head size); None when empty.
        longest: the longest length among them.
        width: new tokens per row, padding included.
    """
    if longest == 0:
        return DynamicCache()
    sample = next(entry for entry in past if entry is not None)
    whole = sample.new_empty(len(past), sample.shape[0], sample.shape[1], longest + width, sample.shape[3])
    for row, entry in enumerate(past):
        length = 0 if entry is None else entry.shape[2]
        whole[row, :, :, : longest - length] = 0  # masked, but what is not a number would spread all the same
        if entry is not None:
            whole[row, :, :, longest - length : longest] = entry
    return _RoomyCache(whole, longest)


def kv_of(cache: DynamicCache) -> Tensor:
    """Keys and values of every layer after a pass, shape (batch, 2 * layers, kv heads, length, head size)."""
    if isinstance(cache, _RoomyCache):
        return cache.whole
    layers: list[Any] = cache.layers
    return torch.stack([tensor for layer in layers for tensor in (layer.keys, layer.values)], dim=1)
