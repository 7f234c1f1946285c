"""TokenRows: token sequences laid out for one model pass, what they share in front laid out once.

Sequences that begin alike become one row, a tree written out depth first. A token sees those on its own way from the
root and no other, at the position it has in its sequence, so nothing but rounding changes:

    ab c d          row    a b c d e f        sees itself and   a  ab  abc  ab  abe
    ab e f          at     0 1 2 3 2 3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Sequences = Sequence[Sequence[int]]
_WORTH_IT = 0.8  # a tree must save a fifth of the work: its mask costs something to make


@dataclass(frozen=True, slots=True)
class TokenRows:
    """What one pass reads, and where in it the answers stand.

    Attributes:
        ids: int64, shape (rows, width).
        mask: int64, shape (rows, width), 1 where a token stands; or, of trees, what is added to attention scores,
            shape (rows, 1, width, width).
        positions: int64, shape (rows, width); None where they are those of the columns.
        ends: int64, shape (decisions,): places in the flattened rows after which logits are wanted.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor | None
    ends: Tensor

    def copies(self, count: int) -> TokenRows:
        """The same rows several times, one copy after the other, and so the places."""
        if count == 1:
            return self
        steps = torch.arange(count).repeat_interleave(len(self.ends)) * self.ids.numel()
        positions = None if self.positions is None else self.positions.repeat(count, 1)
        mask = self.mask.repeat(count, *[1] * (self.mask.dim() - 1))
        return TokenRows(self.ids.repeat(count, 1), mask, positions, self.ends.repeat(count) + steps)


def rectangle(sequences: _Sequences, rows: Tensor, columns: Tensor) -> TokenRows:
    """One row a sequence, padded behind.

    Args:
        sequences: token ids, any lengths.
        rows: int64, shape (decisions,): the sequence each decision is in.
        columns: int64, shape (decisions,): the position whose next token is wanted.
    """
    lengths = np.array([len(tokens) for tokens in sequences])
    real = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(real.shape, np.int64)
    ids[real] = np.concatenate([np.asarray(tokens, np.int64) for tokens in sequences])
    return TokenRows(torch.from_numpy(ids), torch.from_numpy(real).long(), None, rows * real.shape[1] + columns)


def trees(
    sequences: _Sequences, rows: Tensor, columns: Tensor, *, pairs_per_token: int, dtype: torch.dtype
) -> TokenRows | None:
    """Rows in which what sequences share in front stands once; None where that saves too little.

    A row that holds more sequences holds fewer tokens, but each of them attends to a wider row. The width is the
    cheapest of some multiples of the longest sequence, counted in pairs of tokens.

    Args:
        sequences: as in `rectangle`.
        rows: as in `rectangle`.
        columns: as in `rectangle`.
        pairs_per_token: how many pairs in attention cost what one token costs in all linear layers.
        dtype: of the model, in which the mask is made.
    """
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    shared = [0, *(_shared(sequences[a], sequences[b]) for a, b in pairwise(order))]
    longest = max(len(tokens) for tokens in sequences)
    plans = {longest: (len(sequences), longest)}
    limit = 2 * longest
    while limit < 2 * len(sequences) * longest and plans[limit // 2][0] > 1:
        plans[limit] = _extent(sequences, order, shared, limit)
        limit *= 2

    def cost(limit: int) -> float:
        count, width = plans[limit]
        return count * width * (pairs_per_token + width)

    best = min(plans, key=cost)
    if cost(best) > _WORTH_IT * cost(longest):
        return None
    return _write(sequences, rows, columns, order, shared, best, plans[best], dtype)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens stand in front of both."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def _extent(sequences: _Sequences, order: list[int], shared: list[int], limit: int) -> tuple[int, int]:
    """Number and width of rows of at most `limit` tokens."""
    count, widest, width = 0, 0, limit + 1
    for index, common in zip(order, shared, strict=True):
        width += len(sequences[index]) - common
        if width > limit:
            count, width = count + 1, len(sequences[index])
        widest = max(widest, width)
    return count, widest


def _write(
    sequences: _Sequences,
    rows: Tensor,
    columns: Tensor,
    order: list[int],
    shared: list[int],
    limit: int,
    extent: tuple[int, int],
    dtype: torch.dtype,
) -> TokenRows:
    count, width = extent
    ids = np.zeros((count, width), np.int64)
    positions = np.zeros((count, width), np.int64)
    sees = np.broadcast_to(np.eye(width, dtype=bool), (count, width, width)).copy()  # padding sees itself
    places: list[tuple[int, NDArray[np.int64]]] = [(0, np.empty(0, np.int64))] * len(sequences)
    row, used, way = -1, limit + 1, np.empty(0, np.int64)
    for index, common in zip(order, shared, strict=True):
        tokens = sequences[index]
        if used + len(tokens) - common > limit:
            row, used, common = row + 1, 0, 0
        new = np.arange(used, used + len(tokens) - common)
        way = np.concatenate([way[:common], new])
        ids[row, new], positions[row, new] = tokens[common:], np.arange(common, len(tokens))
        sees[row, new[:, None], way[None]] = np.tri(len(new), len(tokens), common, dtype=bool)
        used += len(new)
        places[index] = row, way
    ends = [places[r][0] * width + int(places[r][1][c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)]
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill_(torch.from_numpy(~sees), torch.finfo(dtype).min)
    return TokenRows(
        torch.from_numpy(ids), mask[:, None], torch.from_numpy(positions), torch.tensor(ends, dtype=torch.long)
    )
