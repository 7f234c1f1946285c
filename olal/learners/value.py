"""Critic training alone: the actor is frozen, and its own episodes teach what its states are worth.

Targets are Monte Carlo returns, G_t = r_t + gamma G_{t+1}, or the lambda-returns of TD(lambda) (Sutton and Barto 2018,
eq. 12.2), which are the present values plus generalised advantages. A later stage takes the critic over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch
from olal.learners.critic import MakeCritic
from olal.learners.critic_slot import CriticSlot, explained_variance
from olal.learners.gradient import GradientLearner, GradientSettings
from olal.learners.plan import Minibatch, Plan, Survey
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.value_head import ValueHead
from olal.models.policy_network import PolicyNetwork


@dataclass(frozen=True, slots=True)
class ValueSettings(GradientSettings):
    """Hyper-parameters; see `olal.config` for what each means."""

    target: Literal["monte_carlo", "td_lambda"] = "monte_carlo"
    td_lambda: float = 0.9
    value_hidden: int = 64
    separate_critic: bool = False


@dataclass(frozen=True, slots=True)
class ValuePlan(Plan):
    """What the loss needs.

    Attributes:
        targets: float64 (N,): what the critic should say at each decision.
        hidden: the frozen policy's hidden states, shape (U, hidden).
    """

    targets: NDArray[np.float64]
    hidden: Tensor


class ValueLearner(GradientLearner[ValuePlan]):
    """Its versions all hold the same adapter. See `olal.learners.base.Learner` for the contract."""

    _settings: ValueSettings
    settings_class = ValueSettings

    def __init__(
        self,
        network: PolicyNetwork,
        settings: ValueSettings,
        learning_rate: LinearDecay,
        *,
        seed: int,
        make_critic: MakeCritic | None = None,
    ) -> None:
        """Start from a critic that knows nothing; see `olal.learners.ppo.PPOLearner` for the arguments.

        The learning rate is the critic's.
        """
        super().__init__(network, settings, learning_rate, seed=seed)
        make = make_critic or partial(ValueHead, width=settings.value_hidden)
        self._flat.requires_grad_(False)
        self.critic = CriticSlot(network, make, is_separate=settings.separate_critic, seed=seed)
        self.modules["value"] = self.critic
        self.optimizers["value_optimizer"] = torch.optim.Adam(self.critic.parameters(), lr=learning_rate.at(0))

    def prepare(self, batch: DecisionBatch, survey: Survey) -> ValuePlan:
        """Targets of the critic; the signal is what it is wrong by."""
        settings = self._settings
        for group in self.optimizers["value_optimizer"].param_groups:
            group["lr"] = self._learning_rate.at(self.version)
        values = self.critic.survey(self._scorer(batch), survey.hidden)
        scale = self.reward_scale.update(batch, settings.gamma)
        is_td = settings.target == "td_lambda"
        advantages, targets = batch_advantages(
            batch, values, gamma=settings.gamma, gae_lambda=settings.td_lambda if is_td else 1.0, scale=scale
        )
        own = values[batch.context_of]
        targets = own + advantages if is_td else targets
        metrics = {"reward_scale": scale, "value_explained_variance": explained_variance(own, targets)}
        return ValuePlan(targets - own, metrics, targets, survey.hidden)

    def score(
        self, batch: DecisionBatch, scorer: ContextScorer, plan: ValuePlan, items: NDArray[np.int64]
    ) -> Minibatch:
        """Look up hidden states: a frozen policy need not be run again."""
        contexts, inverse = np.unique(batch.context_of[items], return_inverse=True)
        hidden = plan.hidden[torch.from_numpy(contexts).to(plan.hidden.device)]
        pick = torch.from_numpy(inverse).to(self.network.device)
        nothing = hidden.new_zeros(0)
        return Minibatch(items, items, contexts, pick, nothing, hidden, nothing)

    def terms(self, batch: DecisionBatch, scorer: ContextScorer, plan: ValuePlan, mini: Minibatch) -> dict[str, Tensor]:
        """Mean squared error at each decision, weighed by its draw."""
        values = self.critic.values(scorer, mini.contexts, mini.hidden)[mini.pick]
        errors = (values - self.column(plan.targets, mini.rows)).square()
        return {"value_loss": (self.column(batch.weights, mini.rows) * errors).mean()}

    def objective(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The critic's error."""
        return terms["value_loss"]

    def step(self) -> None:
        """One step of the critic alone."""
        self.critic.clip_gradient(self._settings.max_grad_norm)
        self.optimizers["value_optimizer"].step()
