"""Rademacher noise from an integer counter: any slice of a direction, from its seed, the same everywhere.

Only integers are drawn (no Box-Muller, no libm), so the signs are a pure function of (seed, index). Noise version 1:
flat index i uses bit i % 64 (least significant first) of word i // 64 of Philox-4x64-10 keyed by the seed, four words
a block, block b made from counter b + 1 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

NOISE_VERSION = 1
_WORD_BITS = 64
_WORDS_PER_BLOCK = 4


def rademacher(seed: int, start: int, stop: int) -> NDArray[np.float32]:
    """Signs of the direction `seed` at flat indices start..stop-1.

    Args:
        seed: unsigned 64-bit key of the direction.
        start: first flat index.
        stop: one past the last.

    Returns:
        float32 array of shape (stop - start,) of -1 and +1.

    >>> whole = rademacher(7, 0, 1000)
    >>> bool((whole[300:517] == rademacher(7, 300, 517)).all())
    True
    """
    if not 0 <= start <= stop:
        raise ValueError(f"need 0 <= start <= stop: {start}, {stop}")
    if start == stop:
        return np.empty(0, np.float32)
    first_block = start // (_WORD_BITS * _WORDS_PER_BLOCK)
    last_block = (stop - 1) // (_WORD_BITS * _WORDS_PER_BLOCK)
    words = _counter.words(seed, first_block, (last_block - first_block + 1) * _WORDS_PER_BLOCK)
    bits = np.unpackbits(np.ascontiguousarray(words, "<u8").view(np.uint8), bitorder="little")
    offset = first_block * _WORD_BITS * _WORDS_PER_BLOCK
    return bits[start - offset : stop - offset].astype(np.float32) * 2 - 1


class _Counter(threading.local):
    """One generator a thread, set to another key and counter which takes far less time than to make a new one."""

    def __init__(self) -> None:
        self._generator = np.random.Philox(key=0)
        self._fresh = self._generator.state  # whose buffer holds nothing yet

    def words(self, seed: int, block: int, count: int) -> NDArray[np.uint64]:
        """The first words from the start of a block on."""
        self._fresh["state"]["key"][0], self._fresh["state"]["counter"][0] = seed, block
        self._generator.state = self._fresh
        return self._generator.random_raw(count)


_counter = _Counter()
