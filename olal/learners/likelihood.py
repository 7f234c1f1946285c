"""LikelihoodLearner: what weighted regression and plain fine-tuning share, -E[w log pi(a)] over decisions alone.

Prompt, padding and forced tokens have no loss; a decision's log-probability is over its legal tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from olal.learners.batch import DecisionBatch
from olal.learners.gradient import GradientLearner
from olal.learners.plan import Minibatch, Plan
from olal.learners.scorer import ContextScorer


@dataclass(frozen=True, slots=True)
class LikelihoodPlan(Plan):
    """What the loss needs of N decisions.

    Attributes:
        weights: float64 (N,): not negative, one on average.
        proximal: float64 (N,): log-probabilities at the start of the update.
    """

    weights: NDArray[np.float64]
    proximal: NDArray[np.float64]


class LikelihoodLearner(GradientLearner[LikelihoodPlan]):
    """A subclass weighs the decisions. See `olal.learners.base.Learner` for the contract."""

    def terms(
        self, batch: DecisionBatch, scorer: ContextScorer, plan: LikelihoodPlan, mini: Minibatch
    ) -> dict[str, Tensor]:
        """Weighted and plain negative log-likelihood, with entropy bonus and KL penalty."""
        log_ratio = mini.chosen.detach() - self.column(plan.proximal, mini.rows)
        regulariser = self.regulariser(mini)
        weighted = -(self.column(plan.weights * batch.weights, mini.rows) * mini.chosen).mean()
        return {
            "loss": self.regularised(weighted, regulariser),
            "weighted_nll": weighted.detach(),
            "nll": -mini.chosen.detach().mean(),
            **{name: term.detach() for name, term in regulariser.items()},
            "kl": (log_ratio.exp() - 1 - log_ratio).mean(),
        }
