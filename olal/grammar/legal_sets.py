"""Legal sets: bitmasks as arrays of token ids, every distinct one kept once, however many states share it.

Within a JSON string nearly the whole vocabulary is legal after every token, and always the same part of it. Looking a
mask up costs a hundredth of unpacking it, and a hundred states in one string take the memory of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GrammarState:
    """What a grammar allows after some prefix.

    Attributes:
        legal: int64 array of shape (num_legal,), sorted token ids; empty when the sentence is complete.
        is_complete: the end-of-sequence token has been consumed; nothing may follow.
    """

    legal: NDArray[np.int64]
    is_complete: bool

    @property
    def is_forced(self) -> bool:
        """Whether exactly one token is legal, so that no model needs to be asked."""
        return len(self.legal) == 1


@dataclass(slots=True)
class _Shared:
    state: GrammarState
    num_users: int = 0


class LegalSets:
    """The states of all masks in use."""

    def __init__(self, size: int, eos_token_id: int) -> None:
        """Start empty.

        Args:
            size: bits of a mask that count.
            eos_token_id: the token that is legal where a mask is empty.
        """
        self._size = size
        self._end = np.array([eos_token_id], np.int64)
        self._shared: dict[bytes, _Shared] = {}
        self.num_ids = 0

    def take(self, mask: bytes) -> GrammarState:
        """The state of a mask, with one more user.

        Args:
            mask: one bit per token, lowest first.
        """
        shared = self._shared.get(mask)
        if shared is None:
            bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little").view(np.bool_)
            legal = np.flatnonzero(bits[: self._size]).astype(np.int64, copy=False)
            legal = legal if len(legal) else self._end
            legal.setflags(write=False)
            shared = self._shared[mask] = _Shared(GrammarState(legal, is_complete=False))
            self.num_ids += len(legal)
        shared.num_users += 1
        return shared.state

    def release(self, mask: bytes) -> None:
        """One user less; the last one takes the state with it."""
        shared = self._shared[mask]
        shared.num_users -= 1
        if shared.num_users == 0:
            del self._shared[mask]
            self.num_ids -= len(shared.state.legal)
