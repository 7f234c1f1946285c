"""ContextCache: contexts already computed under an adapter, so that no token is run twice.

A context is a token sequence with its keys, values and next-token logits. Because a context never changes, a finished
prompt, a shared instruction prefix and a half-written action are all the same thing: entries keyed by
(adapter digest, tokens), found whole or by their longest cached prefix.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from olal.inference.sampler import LegalDistribution


@dataclass(slots=True)
class Context:
    """A computed token sequence.

    Attributes:
        tokens: the sequence.
        past: keys and values, shape (2 * layers, kv heads, len(tokens), head size).
        logits: float32 next-token logits, shape (vocabulary,).
        distributions: legal distributions already worked out here, by the engine's own key.
    """

    tokens: tuple[int, ...]
    past: Tensor
    logits: NDArray[np.float32]
    distributions: dict[Any, LegalDistribution] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Memory of keys, values and logits."""
        return self.past.nbytes + self.logits.nbytes


class ContextCache:
    """Least-recently-used contexts, bounded by bytes.

    Attributes:
        capacity_bytes: most memory the kept tensors may take.
    """

    def __init__(self, capacity_bytes: int) -> None:
        """Start empty.

        Args:
            capacity_bytes: most memory the kept tensors may take.
        """
        self.capacity_bytes = capacity_bytes
        self._size_bytes = 0
        self._entries: OrderedDict[tuple[str, tuple[int, ...]], Context] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, adapter: str, tokens: tuple[int, ...]) -> Context | None:
        """The context of exactly these tokens under this adapter."""
        entry = self._entries.get((adapter, tokens))
        if entry is not None:
            self._entries.move_to_end((adapter, tokens))
        return entry

    def longest_prefix(self, adapter: str, tokens: tuple[int, ...]) -> Context | None:
        """The longest cached context that `tokens` strictly continues."""
        for length in sorted((n for n in self._lengths if n < len(tokens)), reverse=True):
            entry = self.get(adapter, tokens[:length])
            if entry is not None:
                return entry
        return None

    def put(self, adapter: str, context: Context) -> None:
        """Keep a context, dropping the least recently used beyond the capacity."""
        key = (adapter, context.tokens)
        if key in self._entries:
            return
        self._entries[key] = context
        self._lengths[len(context.tokens)] += 1
        self._size_bytes += context.size_bytes
        while self._size_bytes > self.capacity_bytes and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def forget(self, adapter: str) -> None:
        """Drop everything computed under an adapter that will not be asked for again."""
        for key in [key for key in self._entries if key[0] == adapter]:
            self._drop(key)

    def _drop(self, key: tuple[str, tuple[int, ...]]) -> None:
        entry = self._entries.pop(key)
        self._size_bytes -= entry.size_bytes
        self._lengths[len(key[1])] -= 1
        if not self._lengths[len(key[1])]:
            del self._lengths[len(key[1])]
