"""MeZO on a LoRA adapter: learning from forward passes alone.

Malladi et al. 2023, "Fine-tuning language models with just forward passes": the projected gradient along a random
direction z is g = (L(theta + sigma z) - L(theta - sigma z)) / (2 sigma), and the step moves theta along g z. Here n
directions are scored as 2n adapters in one batched forward, L is the clipped token surrogate of PPO or the weighted
negative log-likelihood of RWR over the legal set (entropy bonus included), and the step is the natural one in the span
of the n directions (`olal.learners.natural_step`), which the same forward passes tell, so it needs no scale of its own;
some points on its way are scored before it is taken. z is Rademacher noise rebuilt from its seed; theta is float32 and
never perturbed in place, so there is nothing to restore and nothing drifts. No backward pass runs anywhere: the critic
is a ridge regression. All that an update does to theta is a list of records.
What an older policy did is decoupled and weighted, as `olal.learners.stale` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from olal.adapters import Checkpoint, Line, Members, SeedSpace, make_records
from olal.errors import CheckpointCorrupt
from olal.learners import alarms
from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.forward import ForwardLearner
from olal.learners.natural_step import best_share, natural_step
from olal.learners.ranks import Alone, Ranks, of_first, share
from olal.learners.reward_scale import RewardScale
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.stale import Stale, decouple
from olal.learners.torch_state import random_state, restore_random
from olal.learners.value_head import RidgeValue
from olal.models.legal import legal_entropy
from olal.models.policy_network import PolicyNetwork
from olal.returns import normalise
from olal.types import Trajectory

_LARGEST_WEIGHT = 20.0
_USUAL_KL = 0.1
_SHARES = np.array([*(0.5**halvings for halvings in range(7)), 0.0])
"""Of a whole step, at which to look before it is taken; the last is where it starts."""


@dataclass(frozen=True, slots=True)
class MeZOSettings:
    """Hyper-parameters; see `olal.config` for what each means."""

    gamma: float = 0.99
    gae_lambda: float = 0.95
    objective: Literal["surrogate", "nll"] = "surrogate"
    clip: float = 0.2
    rho_bar: float = 1.0
    weight_temperature: float = 0.5
    entropy: float = 0.01
    anchor_decay: float = 0.0
    sigma: float = 0.02
    directions: int = 16
    steps: int = 4
    step_kl: float = 0.03
    damping: float = 0.1
    contexts_per_step: int = 96
    value_features: int = 128
    value_ridge: float = 1.0
    advantage_std_floor: float = 0.05
    max_staleness: int = 4
    temperature: float = 1.0
    rows_per_pass: int = 512


@dataclass(frozen=True, slots=True)
class Aim:
    """What an update improves, of N decisions.

    Attributes:
        worth: float64 (N,): what a decision counts.
        proximal: float64 (N,): log-probabilities that ratios are taken to.
    """

    worth: NDArray[np.float64]
    proximal: NDArray[np.float64]


class MeZOLearner(ForwardLearner):
    """See `olal.learners.base.SeedLearner` for the contract."""

    def __init__(
        self,
        network: PolicyNetwork,
        settings: MeZOSettings,
        learning_rate: LinearDecay,
        *,
        seed: int,
        space: SeedSpace | None = None,
    ) -> None:
        """Start from the bank's initial adapter; see `ForwardLearner` for the other arguments.

        Args:
            network: base model and bank.
            settings: hyper-parameters.
            learning_rate: share of the natural step that is taken, by version; the bound of its KL shrinks with it.
            seed: of the directions, the subsampling and the critic's features.
            space: the rules of records; None lets everything move.
        """
        super().__init__(
            network,
            learning_rate,
            max_staleness=settings.max_staleness,
            anchor_decay=settings.anchor_decay,
            space=space,
        )
        self._settings = settings
        self._random = np.random.Generator(np.random.Philox(key=seed))
        self._value = RidgeValue(network.hidden_size, settings.value_features, ridge=settings.value_ridge, seed=seed)
        self._reward_scale = RewardScale()
        self._ranks: Ranks = Alone()

    def join(self, ranks: Ranks) -> None:
        """Share the members of every step with the same learner in other processes; see `SharedLearner`."""
        self._ranks = ranks

    def learn(self, trajectories: Sequence[Trajectory]) -> tuple[dict[str, float], alarms.Alarms]:
        """Several zeroth-order steps on the surrogate of `trajectories`."""
        settings = self._settings
        batch = make_batch(trajectories, self._network.base.vocabulary, gamma=settings.gamma)
        if not len(batch):
            return {"num_decisions": 0.0}, {}
        scorer = ContextScorer(self._network, batch, temperature=settings.temperature, ranks=self._ranks)
        self._network.bank.use(torch.from_numpy(self._master.flat))
        logprobs, states = scorer.survey(batch)
        stale = decouple(batch, logprobs, version=self.version, rho_bar=settings.rho_bar)
        advantages, metrics = self._credit(batch, states.double().cpu().numpy(), stale)
        raised = alarms.no_signal(advantages)
        self.begin()
        steps = 0 if raised and settings.objective == "nll" else settings.steps  # no signal would be imitation of all
        aim = Aim(batch.weights * self._worth(advantages, stale), stale.proximal)
        measured = [self._step(batch, scorer, aim) for _ in range(steps)]
        fresh = np.abs(logprobs - batch.behaviour_logprobs)[~stale.is_stale]
        largest_gap = float(fresh.max()) if len(fresh) else 0.0
        metrics |= {
            "num_decisions": float(len(batch)),
            "num_contexts": float(len(batch.contexts)),
            "optimizer_steps": float(steps),
            "max_logprob_gap": largest_gap,
            "log_legal_mass": float(batch.log_legal_mass.mean()),
            **stale.metrics(batch, settings.rho_bar),
        }
        raised |= alarms.ratio_not_one(largest_gap, tolerance=alarms.ratio_tolerance(self._network.dtype))
        if measured:
            losses = np.concatenate([losses for losses, _ in measured])
            metrics["loss_spread"] = float(np.mean([losses.std() for losses, _ in measured]))
            raised |= alarms.losses_agree(losses[0::2] - losses[1::2])
            raised |= self._look(batch, scorer, stale, measured[-1][1], trajectories, metrics)
        return metrics, raised

    def _credit(
        self, batch: DecisionBatch, hidden: NDArray[np.float64], stale: Stale
    ) -> tuple[NDArray[np.float64], dict[str, float]]:
        """Advantages, shape (N,), centred and scaled, given the hidden states of the contexts; the critic learns."""
        settings = self._settings
        scale = self._reward_scale.update(batch, settings.gamma)
        advantages, returns = batch_advantages(
            batch,
            of_first(self._ranks, self._value.values(hidden)),
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            scale=scale,
            ratios=stale.ratios(batch),
            rho_bar=settings.rho_bar,
        )
        self._value.fit(hidden[batch.context_of], returns)
        metrics = {"advantage_std": float(advantages.std()), "reward_scale": scale}
        return normalise(advantages, std_floor=settings.advantage_std_floor), metrics

    def _look(
        self,
        batch: DecisionBatch,
        scorer: ContextScorer,
        stale: Stale,
        contexts: NDArray[np.int64],
        trajectories: Sequence[Trajectory],
        metrics: dict[str, float],
    ) -> alarms.Alarms:
        """Look at the policy after the last step, in the contexts of that step; adds to the metrics."""
        rows = np.flatnonzero(np.isin(batch.context_of, contexts))
        place = np.searchsorted(contexts, batch.context_of[rows])
        self._network.bank.use(torch.from_numpy(self._master.flat))
        legal, _ = scorer.score(contexts)
        moved = legal.double().cpu().numpy()[place, batch.chosen[rows]] - stale.proximal[rows]
        metrics["kl"] = float((np.exp(moved) - 1 - moved).mean())
        metrics["entropy"] = float(legal_entropy(legal).double().cpu().numpy()[place].mean())
        largest = float(np.log([len(batch.legal[context]) for context in contexts])[place].mean())
        return {
            **alarms.kl_blow_up(metrics["kl"], _USUAL_KL),
            **alarms.entropy_collapse(metrics["entropy"], largest, success_rate=alarms.success_rate(trajectories)),
        }

    def _worth(self, advantages: NDArray[np.float64], stale: Stale) -> NDArray[np.float64]:
        """What a decision counts: its advantage, less where it is stale, or its weight under RWR, one on average."""
        if self._settings.objective == "surrogate":
            return advantages * stale.weights
        weights = np.minimum(np.exp(advantages / self._settings.weight_temperature), _LARGEST_WEIGHT)
        return weights / weights.mean()

    def _step(
        self, batch: DecisionBatch, scorer: ContextScorer, aim: Aim
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Score 2n perturbed adapters on some contexts and take the natural step in their span, as far as it holds.

        Returns:
            The losses of the members, float64 (2n,), and the contexts, int64.
        """
        settings = self._settings
        count = min(settings.contexts_per_step, len(batch.contexts))
        used = np.unique(batch.context_of)
        contexts = np.sort(self._random.choice(used, min(count, len(used)), replace=False))
        rows = np.flatnonzero(np.isin(batch.context_of, contexts))
        seeds = self._random.integers(0, 2**63, settings.directions).astype(np.uint64)
        signs = np.tile([settings.sigma, -settings.sigma], len(seeds))
        members = Members(self.space, self._master.flat, make_records(np.repeat(seeds, 2), signs))
        losses, logprobs = self._losses(batch, scorer, aim, contexts, rows, members)
        spread = float(losses.std())
        if not (spread > 0 and np.isfinite(spread)):
            return losses, contexts
        rate = self._learning_rate.at(self.version)
        max_kl = settings.step_kl * rate / self._learning_rate.start
        coefficients, _ = natural_step(
            (losses[0::2] - losses[1::2]) / (2 * settings.sigma),
            (logprobs[0::2] - logprobs[1::2]) / (2 * settings.sigma),
            rate=rate,
            max_kl=max_kl,
            damping=settings.damping,
        )
        end = self.space.moved(self._master.flat, make_records(seeds, coefficients))
        way = Line(self._master.flat, end, _SHARES)
        share_taken = _SHARES[best_share(*self._losses(batch, scorer, aim, contexts, rows, way), max_kl=max_kl)[0]]
        coefficients = of_first(self._ranks, coefficients * share_taken)
        if coefficients.any():
            self._master.move(seeds, coefficients)
        return losses, contexts

    def _losses(
        self,
        batch: DecisionBatch,
        scorer: ContextScorer,
        aim: Aim,
        contexts: NDArray[np.int64],
        rows: NDArray[np.int64],
        members: Members | Line,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of every member, shape (members,), and its log-probabilities of the decisions, shape (members, rows).

        No more rows go into one model pass than the settings allow.
        """
        device, settings = self._network.device, self._settings
        pick = torch.from_numpy(np.searchsorted(contexts, batch.context_of[rows])).to(device)
        chosen = torch.from_numpy(batch.chosen[rows]).to(device)
        proximal = torch.tensor(aim.proximal[rows], dtype=torch.float32, device=device)
        value = torch.tensor(aim.worth[rows], dtype=torch.float32, device=device)
        losses = torch.zeros(len(members), dtype=torch.float64)
        decided = torch.zeros(len(members), len(rows), dtype=torch.float64)
        own = 2 * share(self._ranks, -(-len(members) // 2))  # both signs of a direction are the same rank's
        first, last = (own[0], min(own[-1] + 2, len(members))) if len(own) else (0, 0)
        per_pass = max(1, settings.rows_per_pass // scorer.num_sequences(contexts))
        for start in range(first, last, per_pass):
            stop = min(start + per_pass, last)
            legal = scorer.score_members(contexts, members.part(start, stop))
            logprobs = legal[:, pick, chosen]
            if settings.objective == "surrogate":
                ratio = (logprobs - proximal).exp()
                clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                gain = torch.minimum(ratio * value, clipped * value).mean(dim=1)
            else:
                gain = (logprobs * value).mean(dim=1)
            entropy = legal_entropy(legal.flatten(0, 1)).view(legal.shape[0], -1)[:, pick].mean(dim=1)
            losses[start:stop] = (-gain - settings.entropy * entropy).double().cpu()
            decided[start:stop] = logprobs.double().cpu()
        self._ranks.sum([losses, decided])
        return losses.numpy(), decided.numpy()

    def checkpoint(self) -> Checkpoint:
        """Adapter, critic statistics and the random state."""
        common = super().checkpoint()
        arrays = {f"value.{name}": array for name, array in self._value.state().items()}
        state = {"random": random_state(self._random), "return_variance": self._reward_scale.variance}
        return Checkpoint(common.version, common.flat, arrays, {**common.state, **state})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`.

        Raises:
            AdapterMismatch: its adapter has another layout.
            CheckpointCorrupt: it was written by another kind of learner.
        """
        value = {name: checkpoint.arrays.get(f"value.{name}") for name in self._value.state()}
        missing = [f"value.{name}" for name, array in value.items() if array is None]
        missing += [name for name in ("random", "return_variance") if name not in checkpoint.state]
        if missing:
            raise CheckpointCorrupt(f"the checkpoint was written by another kind of learner; missing: {missing[0]}")
        super().restore(checkpoint)
        self._value.restore({name: array for name, array in value.items() if array is not None})
        restore_random(self._random, checkpoint.state["random"])
        self._reward_scale.variance = checkpoint.state["return_variance"]
