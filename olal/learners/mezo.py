"""MeZO on a LoRA adapter: learning from forward passes alone.

Malladi et al. 2023, "Fine-tuning language models with just forward passes": the projected gradient along a random
direction z is g = (L(theta + sigma z) - L(theta - sigma z)) / (2 sigma), and the step moves theta along g z. Here n
directions are scored as 2n adapters in one batched forward, L is the clipped token surrogate of PPO over the legal set
(entropy bonus included), and the step is divided by the spread of the 2n losses instead of by sigma (FZOO,
arXiv 2506.09034), so it needs no scale of its own. z is Rademacher noise rebuilt from its seed; theta is float32 and
never perturbed in place, so there is nothing to restore and nothing drifts. No backward pass runs anywhere: the critic
is a ridge regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from olal.adapters import Checkpoint, rademacher
from olal.learners.advantages import batch_advantages
from olal.learners.base import LearnerStep
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.reward_scale import RewardScale
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.torch_state import random_state, restore_random
from olal.learners.value_head import RidgeValue
from olal.models.legal import legal_entropy
from olal.models.policy_network import PolicyNetwork
from olal.returns import normalise
from olal.types import AdapterUpdate, Trajectory


@dataclass(frozen=True, slots=True)
class MeZOSettings:
    """Hyper-parameters; see `olal.config` for what each means."""

    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    sigma: float = 0.02
    directions: int = 8
    steps: int = 8
    contexts_per_step: int = 96
    value_features: int = 128
    value_ridge: float = 1.0
    advantage_std_floor: float = 0.05
    temperature: float = 1.0
    rows_per_pass: int = 512


class MeZOLearner:
    """See `olal.learners.base.Learner` for the contract."""

    def __init__(
        self, network: PolicyNetwork, settings: MeZOSettings, learning_rate: LinearDecay, *, seed: int
    ) -> None:
        """Start from the bank's initial adapter.

        Args:
            network: base model and bank.
            settings: hyper-parameters.
            learning_rate: length of a step along a direction one spread of losses better, by version.
            seed: of the directions, the subsampling and the critic's features.
        """
        self._network = network
        self._settings = settings
        self._learning_rate = learning_rate
        self._random = np.random.Generator(np.random.Philox(key=seed))
        self._flat = network.bank.initial.copy()
        self._value = RidgeValue(network.hidden_size, settings.value_features, ridge=settings.value_ridge, seed=seed)
        self._reward_scale = RewardScale()
        self.version = 0

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        return AdapterUpdate(self.version, self._network.bank.layout.digest(self._flat), self._flat.copy())

    @torch.inference_mode()
    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """Several zeroth-order steps on the surrogate of `trajectories`.

        Raises:
            GrammarError: a completion is not of the grammar it came with.
        """
        batch = make_batch(trajectories, self._network.base.vocabulary, gamma=self._settings.gamma)
        metrics = self._learn(batch) if len(batch) else {"num_decisions": 0.0}
        self.version += 1
        return LearnerStep(self.current(), metrics)

    def _learn(self, batch: DecisionBatch) -> dict[str, float]:
        settings = self._settings
        scorer = ContextScorer(self._network, batch, temperature=settings.temperature)
        self._network.bank.use(torch.from_numpy(self._flat))
        logprobs, states = scorer.survey(batch)
        hidden = states.double().cpu().numpy()
        scale = self._reward_scale.update(batch, settings.gamma)
        advantages, returns = batch_advantages(
            batch, self._value.values(hidden), gamma=settings.gamma, gae_lambda=settings.gae_lambda, scale=scale
        )
        self._value.fit(hidden[batch.context_of], returns)
        spread = float(advantages.std())
        advantages = normalise(advantages, std_floor=settings.advantage_std_floor)
        spreads = [self._step(batch, scorer, advantages) for _ in range(settings.steps)]
        return {
            "num_decisions": float(len(batch)),
            "num_contexts": float(len(batch.contexts)),
            "optimizer_steps": float(settings.steps),
            "loss_spread": float(np.mean(spreads)),
            "advantage_std": spread,
            "reward_scale": scale,
            "max_logprob_gap": float(np.abs(logprobs - batch.behaviour_logprobs).max()),
            "log_legal_mass": float(batch.log_legal_mass.mean()),
        }

    def _step(self, batch: DecisionBatch, scorer: ContextScorer, advantages: NDArray[np.float64]) -> float:
        """Score 2n perturbed adapters on a subsample of contexts and move along the directions that helped."""
        settings = self._settings
        count = min(settings.contexts_per_step, len(batch.contexts))
        used = np.unique(batch.context_of)
        contexts = np.sort(self._random.choice(used, min(count, len(used)), replace=False))
        rows = np.flatnonzero(np.isin(batch.context_of, contexts))
        seeds = self._random.integers(0, 2**63, settings.directions)
        directions = np.stack([rademacher(int(seed), 0, len(self._flat)) for seed in seeds])
        members = np.concatenate([directions, -directions]) * np.float32(settings.sigma) + self._flat
        losses = self._losses(batch, scorer, advantages, contexts, rows, torch.from_numpy(members))
        spread = float(losses.std())
        if spread > 0:
            half = settings.directions
            coefficients = (losses[:half] - losses[half:]) / (2 * spread * half)
            step = np.float32(self._learning_rate.at(self.version)) * coefficients.astype(np.float32)
            for coefficient, direction in zip(step, directions, strict=True):
                self._flat -= coefficient * direction
        return spread

    def _losses(
        self,
        batch: DecisionBatch,
        scorer: ContextScorer,
        advantages: NDArray[np.float64],
        contexts: NDArray[np.int64],
        rows: NDArray[np.int64],
        members: Tensor,
    ) -> NDArray[np.float64]:
        """Surrogate loss of every member, shape (members,), a bounded number of rows per model pass."""
        device, settings = self._network.device, self._settings
        pick = torch.from_numpy(np.searchsorted(contexts, batch.context_of[rows])).to(device)
        chosen = torch.from_numpy(batch.chosen[rows]).to(device)
        behaviour = torch.tensor(batch.behaviour_logprobs[rows], dtype=torch.float32, device=device)
        advantage = torch.tensor(advantages[rows], dtype=torch.float32, device=device)
        losses: list[Tensor] = []
        per_pass = max(1, settings.rows_per_pass // len(contexts))
        for start in range(0, len(members), per_pass):
            legal = scorer.score_members(contexts, members[start : start + per_pass])
            ratio = (legal[:, pick, chosen] - behaviour).exp()
            clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
            surrogate = torch.minimum(ratio * advantage, clipped * advantage).mean(dim=1)
            entropy = legal_entropy(legal.flatten(0, 1)).view(legal.shape[0], -1)[:, pick].mean(dim=1)
            losses.append(-surrogate - settings.entropy * entropy)
        return torch.cat(losses).double().cpu().numpy()

    def checkpoint(self) -> Checkpoint:
        """Adapter, critic statistics and the random state."""
        arrays = {f"value.{name}": array for name, array in self._value.state().items()}
        return Checkpoint(self.version, self._flat.copy(), arrays, self._state())

    def _state(self) -> dict[str, Any]:
        return {"random": random_state(self._random), "return_variance": self._reward_scale.variance}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`."""
        self._flat = checkpoint.flat.copy()
        self._value.restore({name: checkpoint.arrays[f"value.{name}"] for name in self._value.state()})
        restore_random(self._random, checkpoint.state["random"])
        self._reward_scale.variance = checkpoint.state["return_variance"]
        self.version = checkpoint.version
