"""Reward-weighted regression: imitate what was done, the better the more.

Peters and Schaal 2007, "Reinforcement learning by reward-weighted regression", eq. 12: maximise
E[u(R) log pi(a | s)] with u(R) = exp(A / tau). A is the episode's return, centred and scaled over the batch, so rewards
of any size and sign make weights that are positive and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch
from olal.learners.gradient import GradientSettings
from olal.learners.likelihood import LikelihoodLearner, LikelihoodPlan
from olal.learners.plan import Survey


@dataclass(frozen=True, slots=True)
class RWRSettings(GradientSettings):
    """Hyper-parameters; see `olal.config` for what each means."""

    tau: float = 0.5
    max_weight: float = 20.0
    weigh: Literal["episode", "decision"] = "episode"


class RWRLearner(LikelihoodLearner):
    """See `olal.learners.base.Learner` for the contract."""

    _settings: RWRSettings
    settings_class = RWRSettings

    def prepare(self, batch: DecisionBatch, survey: Survey) -> LikelihoodPlan:
        """Weights by return; where all returns are equal there is nothing to prefer, and nothing is learned."""
        returns = self._returns(batch)
        centred = returns - returns.mean()
        spread = float(centred.std())
        if spread <= 1e-9:
            return LikelihoodPlan(np.zeros(0), {"advantage_std": 0.0}, np.ones(len(batch)), survey.logprobs)
        advantages = centred / spread
        weights = regression_weights(advantages, tau=self._settings.tau, max_weight=self._settings.max_weight)
        metrics = {
            "advantage_std": spread,
            "largest_weight": float(weights.max()),
            "effective_share": float(weights.sum() ** 2 / (len(weights) * np.square(weights).sum())),
        }
        return LikelihoodPlan(advantages, metrics, weights, survey.logprobs)

    def _returns(self, batch: DecisionBatch) -> NDArray[np.float64]:
        """Per decision, shape (N,), the return of its episode or the one that followed it."""
        if self._settings.weigh == "episode":
            lengths = [episode.stop - episode.start for episode in batch.episodes]
            return np.repeat([episode.episode_return for episode in batch.episodes], lengths).astype(np.float64)
        no_values = np.zeros(len(batch.contexts))
        return batch_advantages(batch, no_values, gamma=self._settings.gamma, gae_lambda=1.0)[1]


def regression_weights(advantages: NDArray[np.float64], *, tau: float, max_weight: float) -> NDArray[np.float64]:
    """exp(A / tau), at most `max_weight`, then scaled to a mean of one; shape (N,).

    >>> regression_weights(np.array([0.0, np.log(3.0)]), tau=1.0, max_weight=9.0).round(6).tolist()
    [0.5, 1.5]
    """
    weights = np.exp(np.minimum(advantages / tau, np.log(max_weight)))
    return weights / weights.mean()
