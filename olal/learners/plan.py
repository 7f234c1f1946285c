"""What a gradient learner knows before it learns, what it plans to do, and what it looks at in one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Survey:
    """The batch under the adapter that the update starts from.

    Attributes:
        logprobs: float64 (N,): of the decisions.
        hidden: hidden states of the contexts, shape (U, hidden), without gradient.
    """

    logprobs: NDArray[np.float64]
    hidden: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """What an update is going to do; a subclass adds what its loss needs.

    Attributes:
        signal: float64, shape (items,): how much each item asks for; all zeros raise an alarm.
        metrics: numbers about it.
    """

    signal: NDArray[np.float64]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Some decisions under the adapter as it is now. n decisions over u contexts.

    Attributes:
        items: int64 (m,): which items of the plan; the decisions themselves, unless the learner says otherwise.
        rows: int64 (n,): which decisions of the batch.
        contexts: int64 (u,): which contexts of the batch.
        pick: int64 (n,): place of each decision's context in `contexts`.
        legal: legal log-probabilities, shape (u, widest legal set), minus infinity in the padding.
        hidden: hidden states, shape (u, hidden).
        chosen: log-probabilities of the decisions, shape (n,).
        row_weight: what a mean over the n decisions counts beside one over the m items, where this is a part of a
            larger minibatch in which items have more or fewer decisions; `row_mean` sees to it.
    """

    items: NDArray[np.int64]
    rows: NDArray[np.int64]
    contexts: NDArray[np.int64]
    pick: Tensor
    legal: Tensor
    hidden: Tensor
    chosen: Tensor
    row_weight: float = 1.0

    def row_mean(self, values: Tensor) -> Tensor:
        """Mean over the decisions of values, shape (n,); over all parts, weighted by their items, it is that of all."""
        return values.mean() * self.row_weight
