"""RewardScale: brings large rewards down to unit size, so that one critic and one learning rate fit every task."""

from __future__ import annotations

import numpy as np

from olal.learners.batch import DecisionBatch
from olal.returns import discounted_returns


class RewardScale:
    """A running standard deviation of discounted returns; rewards are divided by it, but never enlarged."""

    def __init__(self, decay: float = 0.9) -> None:
        """Start at one.

        Args:
            decay: share of the old variance kept at each update.
        """
        self._decay = decay
        self.variance = 0.0

    @property
    def value(self) -> float:
        """What rewards are to be divided by; at least 1."""
        return max(1.0, float(np.sqrt(self.variance)))

    def update(self, batch: DecisionBatch, gamma: float) -> float:
        """Take in the returns of a batch and return the scale to use for it."""
        discounts = gamma ** batch.elapsed_turns.astype(np.float64)
        returns = [
            discounted_returns(batch.rewards[e.start : e.stop], discounts[e.start : e.stop], 0.0)
            for e in batch.episodes
        ]
        fresh = float(np.concatenate(returns).var())
        self.variance = fresh if self.variance == 0.0 else self._decay * self.variance + (1 - self._decay) * fresh
        return self.value
