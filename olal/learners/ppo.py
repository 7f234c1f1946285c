"""PPO on a LoRA adapter, over the legal set.

Schulman et al. 2017, "Proximal policy optimization algorithms", eq. 7:
L = E[min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t)] with r_t = pi(a_t) / pi_behaviour(a_t).
Both probabilities are over the legal tokens alone, so r_t is exactly one before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from olal.adapters import Checkpoint
from olal.learners.advantages import batch_advantages
from olal.learners.base import LearnerStep
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.reward_scale import RewardScale
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.torch_state import optimizer_arrays, random_state, restore_optimizer, restore_random
from olal.learners.value_head import ValueHead
from olal.models.legal import legal_entropy
from olal.models.policy_network import PolicyNetwork
from olal.returns import normalise
from olal.types import AdapterUpdate, Trajectory


@dataclass(frozen=True, slots=True)
class PPOSettings:
    """Hyper-parameters; see `olal.config` for what each means."""

    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    epochs: int = 4
    minibatch_decisions: int = 256
    value_hidden: int = 64
    value_learning_rate: float = 3e-3
    target_kl: float = 0.1
    value_coefficient: float = 0.5
    max_grad_norm: float = 1.0
    advantage_std_floor: float = 0.05
    temperature: float = 1.0


class PPOLearner:
    """See `olal.learners.base.Learner` for the contract."""

    def __init__(self, network: PolicyNetwork, settings: PPOSettings, learning_rate: LinearDecay, *, seed: int) -> None:
        """Start from the bank's initial adapter.

        Args:
            network: base model and bank; the learner owns the bank's present adapter.
            settings: hyper-parameters.
            learning_rate: of the adapter, by version.
            seed: of the value head and the order of minibatches.
        """
        self._network = network
        self._settings = settings
        self._learning_rate = learning_rate
        self._random = np.random.Generator(np.random.Philox(key=seed))
        self._flat = torch.tensor(network.bank.initial, device=network.device, requires_grad=True)
        self._value = ValueHead(network.hidden_size, settings.value_hidden, seed=seed).to(network.device)
        self._adapter_optimizer = torch.optim.Adam([self._flat], betas=(0.9, 0.99), eps=1e-6)
        self._value_optimizer = torch.optim.Adam(self._value.parameters(), lr=settings.value_learning_rate)
        self._reward_scale = RewardScale()
        self.version = 0

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        flat = self._flat.detach().cpu().numpy().copy()
        return AdapterUpdate(self.version, self._network.bank.layout.digest(flat), flat)

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """One PPO iteration over `trajectories`.

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
        values, gap = self._before(batch, scorer)
        scale = self._reward_scale.update(batch, settings.gamma)
        advantages, returns = batch_advantages(
            batch, values, gamma=settings.gamma, gae_lambda=settings.gae_lambda, scale=scale
        )
        spread = float(advantages.std())
        advantages = normalise(advantages, std_floor=settings.advantage_std_floor)
        for group in self._adapter_optimizer.param_groups:
            group["lr"] = self._learning_rate.at(self.version)
        sums: dict[str, float] = {}
        steps, kl = 0, 0.0
        num_minibatches = max(1, round(len(batch) / settings.minibatch_decisions))
        for _ in range(settings.epochs):
            for rows in np.array_split(self._random.permutation(len(batch)), num_minibatches):
                terms = self._terms(batch, scorer, rows, advantages, returns)
                kl = terms["kl"].item()
                if kl > settings.target_kl:
                    break
                self._step(terms["loss"] + settings.value_coefficient * terms["value_loss"])
                steps += 1
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + term.item()
            if kl > settings.target_kl:
                break
        means = {name: total / max(steps, 1) for name, total in sums.items()}
        explained = 1 - float(np.var(returns - values[batch.context_of]) / max(np.var(returns), 1e-12))
        return means | {
            "num_decisions": float(len(batch)),
            "num_contexts": float(len(batch.contexts)),
            "optimizer_steps": float(steps),
            "kl": kl,
            "advantage_std": spread,
            "reward_scale": scale,
            "value_explained_variance": explained,
            "max_logprob_gap": gap,
            "log_legal_mass": float(batch.log_legal_mass.mean()),
        }

    @torch.no_grad()
    def _before(self, batch: DecisionBatch, scorer: ContextScorer) -> tuple[NDArray[np.float64], float]:
        """Values of all contexts, and the largest gap between learner's and engine's log-probabilities."""
        self._network.bank.use(self._flat)
        values, gap = np.zeros(len(batch.contexts)), 0.0
        logprobs = np.zeros(len(batch))
        for contexts in np.array_split(np.arange(len(batch.contexts)), -(-len(batch.contexts) // 512)):
            scored, hidden = scorer.score(contexts)
            values[contexts] = self._value(hidden).cpu().numpy()
            rows = np.flatnonzero((batch.context_of >= contexts[0]) & (batch.context_of <= contexts[-1]))
            logprobs[rows] = scored.cpu().numpy()[batch.context_of[rows] - contexts[0], batch.chosen[rows]]
        gap = float(np.abs(logprobs - batch.behaviour_logprobs).max())
        return values, gap

    def _terms(
        self,
        batch: DecisionBatch,
        scorer: ContextScorer,
        rows: NDArray[np.int64],
        advantages: NDArray[np.float64],
        returns: NDArray[np.float64],
    ) -> dict[str, Tensor]:
        """Losses of one minibatch of decisions."""
        device, clip = self._network.device, self._settings.clip
        contexts, inverse = np.unique(batch.context_of[rows], return_inverse=True)
        self._network.bank.use(self._flat)
        legal, hidden = scorer.score(contexts)
        pick = torch.from_numpy(inverse).to(device)
        chosen = legal[pick, torch.from_numpy(batch.chosen[rows]).to(device)]
        behaviour = torch.tensor(batch.behaviour_logprobs[rows], dtype=torch.float32, device=device)
        advantage = torch.tensor(advantages[rows], dtype=torch.float32, device=device)
        target = torch.tensor(returns[rows], dtype=torch.float32, device=device)
        log_ratio = chosen - behaviour
        ratio = log_ratio.exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
        entropy = legal_entropy(legal)[pick].mean()
        value_loss = (self._value(hidden.detach())[pick] - target).square().mean()
        return {
            "loss": -surrogate - self._settings.entropy * entropy,
            "value_loss": value_loss,
            "entropy": entropy.detach(),
            "kl": (ratio.detach() - 1 - log_ratio.detach()).mean(),
            "clip_fraction": ((ratio.detach() - 1).abs() > clip).float().mean(),
        }

    def _step(self, loss: Tensor) -> None:
        self._adapter_optimizer.zero_grad()
        self._value_optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([self._flat], self._settings.max_grad_norm)
        self._adapter_optimizer.step()
        self._value_optimizer.step()

    def checkpoint(self) -> Checkpoint:
        """Adapter, value head, both optimizers and the random state."""
        arrays = {f"value.{name}": tensor.cpu().numpy().copy() for name, tensor in self._value.state_dict().items()}
        arrays |= optimizer_arrays("adapter_optimizer", self._adapter_optimizer)
        arrays |= optimizer_arrays("value_optimizer", self._value_optimizer)
        return Checkpoint(self.version, self.current().flat, arrays, self._state())

    def _state(self) -> dict[str, Any]:
        return {"random": random_state(self._random), "return_variance": self._reward_scale.variance}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`."""
        with torch.no_grad():
            self._flat.copy_(torch.from_numpy(checkpoint.flat))
        state = {name: torch.from_numpy(checkpoint.arrays[f"value.{name}"]) for name in self._value.state_dict()}
        self._value.load_state_dict(state)
        restore_optimizer("adapter_optimizer", self._adapter_optimizer, checkpoint.arrays)
        restore_optimizer("value_optimizer", self._value_optimizer, checkpoint.arrays)
        restore_random(self._random, checkpoint.state["random"])
        self._reward_scale.variance = checkpoint.state["return_variance"]
        self.version = checkpoint.version
