"""PPO on a LoRA adapter, over the legal set, with a value head and generalised advantage estimation.

The surrogate is that of `olal.learners.clipped`; the critic adds c (V(s_t) - R_t)^2 to its loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from olal.adapters import Checkpoint
from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch
from olal.learners.clipped import ClippedLearner, ClippedSettings, Credit
from olal.learners.schedule import LinearDecay
from olal.learners.torch_state import optimizer_arrays, restore_optimizer
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


class PPOLearner(ClippedLearner):
    """See `olal.learners.base.Learner` for the contract."""

    _settings: PPOSettings

    def __init__(self, network: PolicyNetwork, settings: PPOSettings, learning_rate: LinearDecay, *, seed: int) -> None:
        """Start from the bank's initial adapter and a critic that knows nothing.

        Args:
            network: base model and bank; the learner owns the bank's present adapter.
            settings: hyper-parameters.
            learning_rate: of the adapter, by version.
            seed: of the value head and the order of minibatches.
        """
        super().__init__(network, settings, learning_rate, seed=seed)
        self._value = ValueHead(network.hidden_size, settings.value_hidden, seed=seed).to(network.device)
        self._value_optimizer = torch.optim.Adam(self._value.parameters(), lr=settings.value_learning_rate)

    def _credit(self, batch: DecisionBatch, hidden: Tensor) -> Credit:
        settings = self._settings
        with torch.no_grad():
            values = self._value(hidden).double().cpu().numpy()
        scale = self._reward_scale.update(batch, settings.gamma)
        advantages, returns = batch_advantages(
            batch, values, gamma=settings.gamma, gae_lambda=settings.gae_lambda, scale=scale
        )
        explained = 1 - float(np.var(returns - values[batch.context_of]) / max(np.var(returns), 1e-12))
        metrics = {
            "advantage_std": float(advantages.std()),
            "reward_scale": scale,
            "value_explained_variance": explained,
        }
        return Credit(normalise(advantages, std_floor=settings.advantage_std_floor), returns, metrics)

    def _critic_terms(self, hidden: Tensor, pick: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"value_loss": (self._value(hidden)[pick] - target).square().mean()}

    def _step(self, terms: Mapping[str, Tensor]) -> None:
        """One gradient step of adapter and critic; the critic's error also teaches the adapter to look at the state."""
        self._value_optimizer.zero_grad()
        total = terms["loss"] + self._settings.value_coefficient * terms["value_loss"]
        super()._step({"loss": total})
        self._value_optimizer.step()

    def checkpoint(self) -> Checkpoint:
        """Adapter, value head, both optimizers and the random state."""
        base = super().checkpoint()
        arrays = {f"value.{name}": tensor.cpu().numpy().copy() for name, tensor in self._value.state_dict().items()}
        arrays |= optimizer_arrays("value_optimizer", self._value_optimizer)
        return replace(base, arrays={**base.arrays, **arrays})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`."""
        super().restore(checkpoint)
        state = {name: torch.from_numpy(checkpoint.arrays[f"value.{name}"]) for name in self._value.state_dict()}
        self._value.load_state_dict(state)
        restore_optimizer("value_optimizer", self._value_optimizer, checkpoint.arrays)
