"""PPO on a LoRA adapter, over the legal set, with a critic and generalised advantage estimation.

The surrogate is that of `olal.learners.clipped`; the critic adds c (V(s_t) - R_t)^2 to its loss. Where the critic sits
on the policy's hidden states, its error also teaches the adapter to look at the state; a separate one has an adapter of
its own and leaves the policy alone. Credit for what an older policy did is by V-trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch
from olal.learners.clipped import ClippedLearner, ClippedPlan, ClippedSettings, Credit
from olal.learners.critic import MakeCritic
from olal.learners.critic_slot import CriticSlot, explained_variance
from olal.learners.plan import Minibatch, Survey
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.stale import Stale
from olal.learners.value_head import ValueHead
from olal.models.policy_network import PolicyNetwork
from olal.returns import normalise


@dataclass(frozen=True, slots=True)
class PPOSettings(ClippedSettings):
    """Hyper-parameters; see `olal.config` for what each means."""

    gae_lambda: float = 0.95
    value_hidden: int = 64
    value_learning_rate: float = 3e-3
    value_coefficient: float = 0.5
    separate_critic: bool = False


class PPOLearner(ClippedLearner):
    """See `olal.learners.base.Learner` for the contract."""

    _settings: PPOSettings
    settings_class = PPOSettings

    def __init__(
        self,
        network: PolicyNetwork,
        settings: PPOSettings,
        learning_rate: LinearDecay,
        *,
        seed: int,
        make_critic: MakeCritic | None = None,
    ) -> None:
        """Start from the bank's initial adapter and a critic that knows nothing.

        Args:
            network: base model and bank; the learner owns the bank's present adapter.
            settings: hyper-parameters.
            learning_rate: of the adapter, by version.
            seed: of the critic and the order of minibatches.
            make_critic: class of the critic; None takes a perceptron of `learner.value_hidden` units.
        """
        super().__init__(network, settings, learning_rate, seed=seed)
        make = make_critic or partial(ValueHead, width=settings.value_hidden)
        self.critic = CriticSlot(network, make, is_separate=settings.separate_critic, seed=seed)
        self.modules["value"] = self.critic
        self.optimizers["value_optimizer"] = torch.optim.Adam(self.critic.parameters(), lr=settings.value_learning_rate)

    def credit(self, batch: DecisionBatch, survey: Survey, stale: Stale) -> Credit:
        """Generalised advantages, centred and scaled; the returns are the critic's targets."""
        settings = self._settings
        values = self.critic.survey(self._scorer(batch), survey.hidden)
        scale = self.reward_scale.update(batch, settings.gamma)
        advantages, returns = batch_advantages(
            batch,
            values,
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            scale=scale,
            ratios=stale.ratios(batch),
            rho_bar=settings.rho_bar,
        )
        metrics = {
            "advantage_std": float(advantages.std()),
            "reward_scale": scale,
            "value_explained_variance": explained_variance(values[batch.context_of], returns),
        }
        return Credit(normalise(advantages, std_floor=settings.advantage_std_floor), returns, metrics)

    def critic_terms(self, scorer: ContextScorer, plan: ClippedPlan, mini: Minibatch) -> dict[str, Tensor]:
        """Mean squared error at each decision, weighed by its draw."""
        values = self.critic.values(scorer, mini.contexts, mini.hidden)[mini.pick]
        errors = (values - self.column(plan.returns, mini.rows)).square()
        return {"value_loss": (self.column(plan.drawn, mini.rows) * errors).mean()}

    def objective(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The surrogate's loss and the weighted error of the critic."""
        return terms["loss"] + self._settings.value_coefficient * terms["value_loss"]

    def step(self) -> None:
        """One step of adapter and critic."""
        self.critic.clip_gradient(self._settings.max_grad_norm)
        super().step()
