"""ClippedLearner: what PPO and its critic-free kin share, everything but the credit of a decision.

Schulman et al. 2017, "Proximal policy optimization algorithms", eq. 7:
L = E[min(r_t A_t, clip(r_t, 1 - eps, 1 + eps) A_t)] with r_t = pi(a_t) / pi_behaviour(a_t).
Both probabilities are over the legal tokens alone, so r_t is exactly one before the first step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from olal.adapters import Checkpoint
from olal.learners.base import LearnerStep
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.reward_scale import RewardScale
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.torch_state import optimizer_arrays, random_state, restore_optimizer, restore_random
from olal.models.legal import legal_entropy
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Trajectory


@dataclass(frozen=True, slots=True)
class ClippedSettings:
    """Hyper-parameters of the surrogate; see `olal.config` for what each means."""

    gamma: float = 0.99
    clip: float = 0.2
    entropy: float = 0.01
    epochs: int = 4
    minibatch_decisions: int = 256
    target_kl: float = 0.1
    max_grad_norm: float = 1.0
    advantage_std_floor: float = 0.05
    temperature: float = 1.0


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


class ClippedLearner(ABC):
    """Several epochs of minibatches on the clipped surrogate; a subclass says what decisions are worth.

    See `olal.learners.base.Learner` for the contract.
    """

    def __init__(
        self, network: PolicyNetwork, settings: ClippedSettings, learning_rate: LinearDecay, *, seed: int
    ) -> None:
        """Start from the bank's initial adapter.

        Args:
            network: base model and bank; the learner owns the bank's present adapter.
            settings: hyper-parameters.
            learning_rate: of the adapter, by version.
            seed: of the order of minibatches.
        """
        self._network = network
        self._settings = settings
        self._learning_rate = learning_rate
        self._random = np.random.Generator(np.random.Philox(key=seed))
        self._flat = torch.tensor(network.bank.initial, device=network.device, requires_grad=True)
        self._adapter_optimizer = torch.optim.Adam([self._flat], betas=(0.9, 0.99), eps=1e-6)
        self._reward_scale = RewardScale()
        self.version = 0

    @abstractmethod
    def _credit(self, batch: DecisionBatch, hidden: Tensor) -> Credit:
        """Judge the decisions of `batch`, given the hidden states of its contexts, shape (U, hidden)."""

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        flat = self._flat.detach().cpu().numpy().copy()
        return AdapterUpdate(self.version, self._network.bank.layout.digest(flat), flat)

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """One iteration over `trajectories`.

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
        self._network.bank.use(self._flat)
        logprobs, hidden = scorer.survey(batch)
        credit = self._credit(batch, hidden)
        for group in self._adapter_optimizer.param_groups:
            group["lr"] = self._learning_rate.at(self.version)
        sums: dict[str, float] = {}
        steps, kl = 0, 0.0
        num_minibatches = max(1, round(len(batch) / settings.minibatch_decisions))
        for _ in range(settings.epochs):
            for rows in np.array_split(self._random.permutation(len(batch)), num_minibatches):
                terms = self._terms(batch, scorer, rows, credit.advantages, credit.returns)
                kl = terms["kl"].item()
                if kl > settings.target_kl:
                    break
                self._step(terms)
                steps += 1
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0.0) + term.item()
            if kl > settings.target_kl:
                break
        return {
            **{name: total / max(steps, 1) for name, total in sums.items()},
            **credit.metrics,
            "num_decisions": float(len(batch)),
            "num_contexts": float(len(batch.contexts)),
            "optimizer_steps": float(steps),
            "kl": kl,
            "max_logprob_gap": float(np.abs(logprobs - batch.behaviour_logprobs).max()),
            "log_legal_mass": float(batch.log_legal_mass.mean()),
        }

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
        return {
            "loss": -surrogate - self._settings.entropy * entropy,
            **self._critic_terms(hidden, pick, target),
            "entropy": entropy.detach(),
            "kl": (ratio.detach() - 1 - log_ratio.detach()).mean(),
            "clip_fraction": ((ratio.detach() - 1).abs() > clip).float().mean(),
        }

    def _critic_terms(self, _hidden: Tensor, _pick: Tensor, _target: Tensor) -> dict[str, Tensor]:
        """Losses of a critic, where there is one: hidden states (u, hidden), their rows per decision, and targets."""
        return {}

    def _step(self, terms: Mapping[str, Tensor]) -> None:
        """One gradient step."""
        self._adapter_optimizer.zero_grad()
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_([self._flat], self._settings.max_grad_norm)
        self._adapter_optimizer.step()

    def checkpoint(self) -> Checkpoint:
        """Adapter, optimizer and the random state."""
        arrays = optimizer_arrays("adapter_optimizer", self._adapter_optimizer)
        state: dict[str, Any] = {"random": random_state(self._random), "return_variance": self._reward_scale.variance}
        return Checkpoint(self.version, self.current().flat, arrays, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`."""
        with torch.no_grad():
            self._flat.copy_(torch.from_numpy(checkpoint.flat))
        restore_optimizer("adapter_optimizer", self._adapter_optimizer, checkpoint.arrays)
        restore_random(self._random, checkpoint.state["random"])
        self._reward_scale.variance = checkpoint.state["return_variance"]
        self.version = checkpoint.version
