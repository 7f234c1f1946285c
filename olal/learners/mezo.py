"""MeZO on a LoRA adapter: learning from forward passes alone.

Malladi et al. 2023, "Fine-tuning language models with just forward passes": the projected gradient along a random
direction z is g = (L(theta + sigma z) - L(theta - sigma z)) / (2 sigma), and the step moves theta along g z. Here n
directions are scored as 2n adapters in one batched forward, L is the clipped token surrogate of PPO or the weighted
negative log-likelihood of RWR over the legal set (entropy bonus included), and the step is divided by the spread of the
2n losses instead of by sigma (FZOO, arXiv 2506.09034), so it needs no scale of its own. z is Rademacher noise rebuilt
from its seed; theta is float32 and never perturbed in place, so there is nothing to restore and nothing drifts. No
backward pass runs anywhere: the critic is a ridge regression. All that an update does to theta is a list of records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from olal.adapters import Checkpoint, Members, SeedMaster, SeedSpace, make_records
from olal.learners.admission import Gate
from olal.learners.advantages import batch_advantages
from olal.learners.alarms import losses_agree, non_finite, nothing_admitted
from olal.learners.base import LearnerStep
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.ranks import Alone, Ranks, share
from olal.learners.reward_scale import RewardScale
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.torch_state import random_state, restore_random
from olal.learners.value_head import RidgeValue
from olal.models.legal import legal_entropy
from olal.models.policy_network import PolicyNetwork
from olal.returns import normalise
from olal.types import AdapterUpdate, Perturbation, Trajectory

_LARGEST_WEIGHT = 20.0


@dataclass(frozen=True, slots=True)
class MeZOSettings:
    """Hyper-parameters; see `olal.config` for what each means."""

    gamma: float = 0.99
    gae_lambda: float = 0.95
    objective: Literal["surrogate", "nll"] = "surrogate"
    clip: float = 0.2
    weight_temperature: float = 0.5
    entropy: float = 0.01
    anchor_decay: float = 0.0
    sigma: float = 0.02
    directions: int = 8
    steps: int = 8
    contexts_per_step: int = 96
    value_features: int = 128
    value_ridge: float = 1.0
    advantage_std_floor: float = 0.05
    max_staleness: int = 8
    temperature: float = 1.0
    rows_per_pass: int = 512


class MeZOLearner:
    """See `olal.learners.base.Learner` for the contract."""

    def __init__(
        self,
        network: PolicyNetwork,
        settings: MeZOSettings,
        learning_rate: LinearDecay,
        *,
        seed: int,
        space: SeedSpace | None = None,
    ) -> None:
        """Start from the bank's initial adapter.

        Args:
            network: base model and bank.
            settings: hyper-parameters.
            learning_rate: length of a step along a direction one spread of losses better, by version.
            seed: of the directions, the subsampling and the critic's features.
            space: the rules of records, with the bank's initial adapter as anchor; None lets everything move.
        """
        self._network = network
        self._settings = settings
        self._learning_rate = learning_rate
        self._random = np.random.Generator(np.random.Philox(key=seed))
        self.space = space or SeedSpace(network.bank.layout, network.bank.initial)
        self._master = SeedMaster(self.space)
        self._value = RidgeValue(network.hidden_size, settings.value_features, ridge=settings.value_ridge, seed=seed)
        self._reward_scale = RewardScale()
        self._digests: dict[int, str] = {}
        self._ranks: Ranks = Alone()

    def join(self, ranks: Ranks) -> None:
        """Share the members of every step with the same learner in other processes; see `SharedLearner`."""
        self._ranks = ranks

    @property
    def version(self) -> int:
        """Version of the present adapter."""
        return self._master.version

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        return self._master.current()

    def members(self) -> tuple[Perturbation, ...]:
        """None: episodes are played under the present adapter, members are scored here."""
        return ()

    @torch.inference_mode()
    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """Several zeroth-order steps on the surrogate of `trajectories`.

        Raises:
            GrammarError: a completion is not of the grammar it came with.
        """
        settings, vocabulary = self._settings, self._network.base.vocabulary
        self._digests[self.version] = self._master.digest
        self._digests = {v: text for v, text in self._digests.items() if v >= self.version - settings.max_staleness}
        admission = Gate(self.version, settings.max_staleness, vocabulary.size, self._digests).admit(trajectories)
        batch = make_batch(admission.kept, vocabulary, gamma=settings.gamma)
        metrics = self._learn(batch) if len(batch) else {"num_decisions": 0.0}
        metrics |= {f"dropped_{reason}": float(count) for reason, count in admission.dropped.items()}
        delta = self._master.commit()
        alarms = {
            **nothing_admitted(len(trajectories), admission.dropped),
            **losses_agree(metrics.get("loss_spread", 1.0)),
            **non_finite(metrics, self._master.flat),
        }
        return LearnerStep(self.current(), metrics, delta, alarms)

    def _learn(self, batch: DecisionBatch) -> dict[str, float]:
        settings = self._settings
        scorer = ContextScorer(self._network, batch, temperature=settings.temperature, ranks=self._ranks)
        self._network.bank.use(torch.from_numpy(self._master.flat))
        logprobs, states = scorer.survey(batch)
        hidden = states.double().cpu().numpy()
        scale = self._reward_scale.update(batch, settings.gamma)
        advantages, returns = batch_advantages(
            batch, self._value.values(hidden), gamma=settings.gamma, gae_lambda=settings.gae_lambda, scale=scale
        )
        self._value.fit(hidden[batch.context_of], returns)
        spread = float(advantages.std())
        advantages = normalise(advantages, std_floor=settings.advantage_std_floor)
        self._master.begin(keep=1 - settings.anchor_decay)
        worth = batch.weights * self._worth(advantages)
        spreads = [self._step(batch, scorer, worth) for _ in range(settings.steps)]
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

    def _worth(self, advantages: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a decision counts in the objective: its advantage, or its weight under RWR, which are one on average."""
        if self._settings.objective == "surrogate":
            return advantages
        weights = np.minimum(np.exp(advantages / self._settings.weight_temperature), _LARGEST_WEIGHT)
        return weights / weights.mean()

    def _step(self, batch: DecisionBatch, scorer: ContextScorer, worth: NDArray[np.float64]) -> float:
        """Score 2n perturbed adapters on a subsample of contexts and move along the directions that helped."""
        settings = self._settings
        count = min(settings.contexts_per_step, len(batch.contexts))
        used = np.unique(batch.context_of)
        contexts = np.sort(self._random.choice(used, min(count, len(used)), replace=False))
        rows = np.flatnonzero(np.isin(batch.context_of, contexts))
        seeds = self._random.integers(0, 2**63, settings.directions).astype(np.uint64)
        signs = np.tile([settings.sigma, -settings.sigma], len(seeds))
        members = Members(self.space, self._master.flat, make_records(np.repeat(seeds, 2), signs))
        losses = self._losses(batch, scorer, worth, contexts, rows, members)
        spread = float(losses.std())
        if spread > 0 and np.isfinite(spread):
            slopes = (losses[0::2] - losses[1::2]) / (2 * spread * len(seeds))
            self._master.move(seeds, -self._learning_rate.at(self.version) * slopes)
        return spread

    def _losses(
        self,
        batch: DecisionBatch,
        scorer: ContextScorer,
        worth: NDArray[np.float64],
        contexts: NDArray[np.int64],
        rows: NDArray[np.int64],
        members: Members,
    ) -> NDArray[np.float64]:
        """Loss of every member, shape (members,), a bounded number of rows per model pass."""
        device, settings = self._network.device, self._settings
        pick = torch.from_numpy(np.searchsorted(contexts, batch.context_of[rows])).to(device)
        chosen = torch.from_numpy(batch.chosen[rows]).to(device)
        behaviour = torch.tensor(batch.behaviour_logprobs[rows], dtype=torch.float32, device=device)
        value = torch.tensor(worth[rows], dtype=torch.float32, device=device)
        losses = torch.zeros(len(members), dtype=torch.float64)
        per_pass = max(1, settings.rows_per_pass // len(contexts))
        own = 2 * share(self._ranks, len(members) // 2)  # both signs of a direction are the same rank's
        first, last = (own[0], own[-1] + 2) if len(own) else (0, 0)
        for start in range(first, last, per_pass):
            stop = min(start + per_pass, last)
            legal = scorer.score_members(contexts, members.part(start, stop))
            logprobs = legal[:, pick, chosen]
            if settings.objective == "surrogate":
                ratio = (logprobs - behaviour).exp()
                clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                gain = torch.minimum(ratio * value, clipped * value).mean(dim=1)
            else:
                gain = (logprobs * value).mean(dim=1)
            entropy = legal_entropy(legal.flatten(0, 1)).view(legal.shape[0], -1)[:, pick].mean(dim=1)
            losses[start:stop] = (-gain - settings.entropy * entropy).double().cpu()
        self._ranks.sum([losses])
        return losses.numpy()

    def checkpoint(self) -> Checkpoint:
        """Adapter, critic statistics and the random state."""
        arrays = {f"value.{name}": array for name, array in self._value.state().items()}
        return Checkpoint(self.version, self._master.flat.copy(), arrays, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "random": random_state(self._random),
            "return_variance": self._reward_scale.variance,
            "digests": {str(version): digest for version, digest in self._digests.items()},
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`."""
        self._master.restore(checkpoint.version, checkpoint.flat)
        self._value.restore({name: checkpoint.arrays[f"value.{name}"] for name in self._value.state()})
        restore_random(self._random, checkpoint.state["random"])
        self._reward_scale.variance = checkpoint.state["return_variance"]
        self._digests = {int(version): digest for version, digest in checkpoint.state.get("digests", {}).items()}
