"""ClippedLearner: what PPO and its critic-free kin share, everything but the credit of a decision.

Schulman et al. 2017, "Proximal policy optimization algorithms", eq. 7:
L = E[min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t)] with r_t = pi(a_t) / pi_prox(a_t).
Both probabilities are over the legal tokens alone, so r_t is exactly one before the first step. What an older policy
did is decoupled and weighted, as `olal.learners.stale` says.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from olal.learners.batch import DecisionBatch
from olal.learners.gradient import GradientLearner, GradientSettings
from olal.learners.plan import Minibatch, Plan, Survey
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.stale import Stale, decouple
from olal.models.policy_network import PolicyNetwork


@dataclass(frozen=True, slots=True)
class ClippedSettings(GradientSettings):
    """Hyper-parameters of the surrogate; see `olal.config` for what each means."""

    clip: float = 0.2
    advantage_std_floor: float = 0.05
    rho_bar: float = 1.0


@dataclass(frozen=True, slots=True)
class Credit:
    """What each of N decisions is worth.

    Attributes:
        advantages: float64 (N,): how much better than expected it turned out, on a scale of about one.
        returns: float64 (N,): what a critic should have foretold; zeros where there is none.
        metrics: numbers about the estimate.
    """

    advantages: NDArray[np.float64]
    returns: NDArray[np.float64]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ClippedPlan(Plan):
    """What the surrogate needs of N decisions: advantages are the signal; see `Credit` and `Stale`.

    Attributes:
        drawn: float64 (N,): importance weights of the draw from the replay buffer; `weights` has them too.
    """

    returns: NDArray[np.float64]
    proximal: NDArray[np.float64]
    weights: NDArray[np.float64]
    drawn: NDArray[np.float64]


class ClippedLearner(GradientLearner[ClippedPlan]):
    """Several epochs of minibatches on the clipped surrogate; a subclass says what decisions are worth.

    See `olal.learners.base.Learner` for the contract.
    """

    settings_class = ClippedSettings

    def __init__(
        self, network: PolicyNetwork, settings: ClippedSettings, learning_rate: LinearDecay, *, seed: int
    ) -> None:
        """Start from the bank's initial adapter; see `olal.learners.gradient.GradientLearner` for the arguments."""
        super().__init__(network, settings, learning_rate, seed=seed)
        self._settings = settings

    @abstractmethod
    def credit(self, batch: DecisionBatch, survey: Survey, stale: Stale) -> Credit:
        """Judge the decisions of `batch`."""

    def pace(self, batch: DecisionBatch) -> float:
        """The shorter, the older the policy that acted: 1 / (1 + versions that it lay behind, on the mean).

        Steps of the whole length, taken on what the last few of them have not shown yet, run over the aim and back
        again. Zhang et al. 2016, "Staleness-aware async-SGD for distributed deep learning" (arXiv 1511.05950).
        """
        ages = [self.version - episode.adapter_version for episode in batch.episodes]
        return 1 / (1 + sum(ages) / len(ages)) if ages else 1.0

    def prepare(self, batch: DecisionBatch, survey: Survey) -> ClippedPlan:
        """Decouple acting and proximal policy, and ask for the credit of every decision."""
        stale = self.decouple(batch, survey)
        credit = self.credit(batch, survey, stale)
        metrics = {**credit.metrics, **stale.metrics(batch, self._settings.rho_bar)}
        weights = stale.weights * batch.weights
        return ClippedPlan(credit.advantages, metrics, credit.returns, stale.proximal, weights, batch.weights)

    def decouple(self, batch: DecisionBatch, survey: Survey) -> Stale:
        """Proximal log-probabilities and truncated importance weights, shape (N,) each."""
        return decouple(batch, survey.logprobs, version=self.version, rho_bar=self._settings.rho_bar)

    def terms(
        self, batch: DecisionBatch, scorer: ContextScorer, plan: ClippedPlan, mini: Minibatch
    ) -> dict[str, Tensor]:
        """The surrogate with entropy bonus and KL penalty, and what it says of itself."""
        clip = self._settings.clip
        advantage = self.column(plan.signal, mini.rows)
        weight = self.column(plan.weights, mini.rows)
        log_ratio = mini.chosen - self.column(plan.proximal, mini.rows)
        ratio = log_ratio.exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
        regulariser = self.regulariser(mini)
        return {
            "loss": self.regularised(-(weight * surrogate).mean(), regulariser),
            **self.critic_terms(scorer, plan, mini),
            **{name: term.detach() for name, term in regulariser.items()},
            "kl": (ratio.detach() - 1 - log_ratio.detach()).mean(),
            "clip_fraction": ((ratio.detach() - 1).abs() > clip).float().mean(),
        }

    def critic_terms(self, scorer: ContextScorer, plan: ClippedPlan, mini: Minibatch) -> dict[str, Tensor]:
        """Losses of a critic, where there is one."""
        return {}
