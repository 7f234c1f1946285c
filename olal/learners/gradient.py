"""GradientLearner: what every learner that runs a backward pass shares. Subclass it for a loss of your own.

    update(trajectories)
        admission      what would poison the adapter is dropped and counted
        make_batch     decisions with their legal sets
        survey         every context once under the present adapter
        prepare        the subclass: what each decision is worth          -> a Plan
        terms          the subclass: losses of a minibatch of decisions   -> "loss" is descended
        alarms         a number that is not finite takes the whole update back

Only decisions are ever scored: prompts, padding and forced tokens have no logits, no loss and no gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from olal.adapters import Checkpoint
from olal.errors import CheckpointCorrupt
from olal.learners import alarms
from olal.learners.admission import Gate
from olal.learners.base import LearnerStep
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.plan import Minibatch, Plan, Survey
from olal.learners.ranks import Alone, Ranks, add_up, share
from olal.learners.reward_scale import RewardScale
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.step_totals import StepTotals
from olal.learners.torch_state import optimizer_arrays, random_state, restore_optimizer, restore_random
from olal.models.legal import legal_entropy
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Trajectory


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """Hyper-parameters of every gradient learner; see `olal.config` for what each means."""

    gamma: float = 0.99
    entropy: float = 0.01
    kl_penalty: float = 0.0
    epochs: int = 4
    minibatch_decisions: int = 256
    tokens_per_pass: int = 65536
    target_kl: float = 0.1
    max_grad_norm: float = 1.0
    max_staleness: int = 4
    temperature: float = 1.0


PlanT = TypeVar("PlanT", bound=Plan)


class GradientLearner(ABC, Generic[PlanT]):
    """Epochs of minibatches with Adam on the adapter. See `olal.learners.base.Learner` for the contract.

    A subclass says what decisions are worth (`prepare`) and what the loss of some of them is (`terms`); modules and
    optimizers that it puts into `self.modules` and `self.optimizers` are stepped, saved and restored with the rest.
    """

    settings_class: type[GradientSettings] = GradientSettings
    """What a config fills for the class."""
    needs_logprobs = True
    """Whether trajectories must carry the log-probabilities of the policy that acted."""

    def __init__(
        self, network: PolicyNetwork, settings: GradientSettings, learning_rate: LinearDecay, *, seed: int
    ) -> None:
        """Start from the bank's initial adapter.

        Args:
            network: base model and bank; the learner owns the bank's present adapter.
            settings: hyper-parameters.
            learning_rate: of the adapter, by version.
            seed: of the order of minibatches.
        """
        self.network = network
        self._settings = settings
        self._learning_rate = learning_rate
        self._random = np.random.Generator(np.random.Philox(key=seed))
        self._flat = torch.tensor(network.bank.initial, device=network.device, requires_grad=True)
        self.optimizers = {"adapter_optimizer": torch.optim.Adam([self._flat], betas=(0.9, 0.99), eps=1e-6)}
        self.modules: dict[str, nn.Module] = {}
        self.reward_scale = RewardScale()
        self.version = 0
        self._digests: dict[int, str] = {}
        self._reference: list[Tensor] = []
        self._ranks: Ranks = Alone()

    def join(self, ranks: Ranks) -> None:
        """Share every minibatch with the same learner in other processes; see `SharedLearner`."""
        self._ranks = ranks

    # ------------------------------------------------------------------ for subclasses

    @abstractmethod
    def prepare(self, batch: DecisionBatch, survey: Survey) -> PlanT:
        """Judge the decisions of `batch` before anything is learned."""

    @abstractmethod
    def terms(self, batch: DecisionBatch, scorer: ContextScorer, plan: PlanT, mini: Minibatch) -> dict[str, Tensor]:
        """Losses of one minibatch, each a mean over its items; `loss` carries the gradient.

        `kl`, where there is one, ends the update once it is above `learner.target_kl`. All terms become metrics.
        """

    def select(self, trajectories: Sequence[Trajectory]) -> tuple[Sequence[Trajectory], Mapping[str, int]]:
        """Choose among admitted trajectories; returns those to learn from and the count of the others by reason."""
        return trajectories, {}

    def pace(self, batch: DecisionBatch) -> float:
        """Share of the learning rate that an update from `batch` takes."""
        return 1.0

    def rows_of(self, plan: PlanT, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Decisions that the loss of some items needs."""
        return items

    def objective(self, terms: Mapping[str, Tensor]) -> Tensor:
        """What a step descends."""
        return terms["loss"]

    def regulariser(self, mini: Minibatch) -> dict[str, Tensor]:
        """Mean entropy, and mean KL from the reference policy where `learner.kl_penalty` asks for it, over all rows.

        The reference is the base model: the adapter switched off. Both sums run over the whole legal set:
        H = -sum pi log pi and KL = sum pi (log pi - log pi_ref).
        """
        terms = {"entropy": mini.row_mean(legal_entropy(mini.legal)[mini.pick])}
        if self._reference:
            reference = nn.utils.rnn.pad_sequence([self._reference[c] for c in mini.contexts], batch_first=True)
            legal = mini.legal.clamp(min=-1e4)
            divergence = (legal.exp() * (legal - reference)).sum(dim=1)
            terms["reference_kl"] = mini.row_mean(divergence[mini.pick])
        return terms

    def regularised(self, loss: Tensor, regulariser: Mapping[str, Tensor]) -> Tensor:
        """A loss less the entropy bonus, plus the KL penalty."""
        loss = loss - self._settings.entropy * regulariser["entropy"]
        penalty = regulariser.get("reference_kl")
        return loss if penalty is None else loss + self._settings.kl_penalty * penalty

    # ------------------------------------------------------------------ the protocol

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        flat = self._flat.detach().cpu().numpy().copy()
        return AdapterUpdate(self.version, self.network.bank.layout.digest(flat), flat)

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """One iteration over `trajectories`; if any number is not finite, the adapter stays as it was.

        Raises:
            GrammarError: a completion is not of the grammar it came with.
        """
        self._digests = self._known_digests()
        before = self.checkpoint()
        vocabulary = self.network.base.vocabulary
        gate = Gate(self.version, self._settings.max_staleness, vocabulary.size, self._digests, self.needs_logprobs)
        admission = gate.admit(trajectories)
        kept, left_out = self.select(admission.kept)
        dropped = {**admission.dropped, **left_out}
        batch = make_batch(kept, vocabulary, gamma=self._settings.gamma)
        success_rate = alarms.success_rate(kept)
        metrics, raised = self._learn(batch, before.flat, success_rate) if len(batch) else ({"num_decisions": 0.0}, {})
        raised |= alarms.nothing_admitted(len(trajectories), dropped)
        after = self.checkpoint()
        broken = alarms.non_finite(metrics, {"adapter": after.flat, **after.arrays})
        if broken:
            self.restore(before)
            raised |= broken
        self.version += 1
        metrics |= {f"dropped_{reason}": float(count) for reason, count in dropped.items()}
        return LearnerStep(self.current(), metrics, alarms=raised)

    def checkpoint(self) -> Checkpoint:
        """Adapter, modules, optimizers and the random state."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, module in self.modules.items():
            arrays |= {f"{name}.{key}": tensor.cpu().numpy().copy() for key, tensor in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            arrays |= optimizer_arrays(name, optimizer)
        state: dict[str, Any] = {
            "random": random_state(self._random),
            "return_variance": self.reward_scale.variance,
            "digests": {str(version): digest for version, digest in self._digests.items()},
        }
        return Checkpoint(self.version, self.current().flat, arrays, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`.

        Raises:
            AdapterMismatch: its adapter has another layout.
            CheckpointCorrupt: it was written by a learner with other modules.
        """
        self.network.bank.layout.check(checkpoint.flat)
        for name, module in self.modules.items():
            state = {key: checkpoint.arrays.get(f"{name}.{key}") for key in module.state_dict()}
            for key, own in module.state_dict().items():
                array = state[key]
                if array is None or array.shape != tuple(own.shape):
                    raise CheckpointCorrupt(
                        f"the checkpoint was written by another kind of learner; {name}.{key} must have shape "
                        f"{tuple(own.shape)}: {'missing' if array is None else array.shape}"
                    )
            module.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()})
        with torch.no_grad():
            self._flat.copy_(torch.from_numpy(checkpoint.flat))
        for name, optimizer in self.optimizers.items():
            restore_optimizer(name, optimizer, checkpoint.arrays)
        restore_random(self._random, checkpoint.state["random"])
        self.reward_scale.variance = checkpoint.state["return_variance"]
        self._digests = {int(version): digest for version, digest in checkpoint.state.get("digests", {}).items()}
        self.version = checkpoint.version

    # ------------------------------------------------------------------ one update

    def _learn(
        self, batch: DecisionBatch, before: NDArray[np.float32], success_rate: float | None
    ) -> tuple[dict[str, float], alarms.Alarms]:
        scorer = self._scorer(batch)
        is_one_minibatch = round(len(batch) / self._settings.minibatch_decisions) <= 1
        survey = Survey(*scorer.survey(batch, keep=is_one_minibatch))
        plan = self.prepare(batch, survey)
        self._refer(scorer)
        for group in self.optimizers["adapter_optimizer"].param_groups:
            group["lr"] = self._learning_rate.at(self.version) * self.pace(batch)
        totals = self._descend(batch, scorer, plan)
        gaps = np.abs(survey.logprobs - batch.behaviour_logprobs)
        metrics = {
            **totals.means(),
            **plan.metrics,
            "num_decisions": float(len(batch)),
            "num_contexts": float(len(batch.contexts)),
            "optimizer_steps": float(totals.steps),
            "kl": totals.kl,
            "log_legal_mass": _mean(batch.log_legal_mass),
            "max_logprob_gap": _largest(gaps[~batch.is_older_than(self.version)]),
        }
        raised = self._alarms(batch, plan, totals, gaps, metrics, before)
        if "entropy" in metrics:
            largest = np.log([len(legal) for legal in batch.legal])[batch.context_of].mean()
            raised |= alarms.entropy_collapse(metrics["entropy"], float(largest), success_rate=success_rate)
        return metrics, raised

    def _alarms(
        self,
        batch: DecisionBatch,
        plan: PlanT,
        totals: StepTotals,
        gaps: NDArray[np.float64],
        metrics: Mapping[str, float],
        before: NDArray[np.float32],
    ) -> alarms.Alarms:
        silent = alarms.no_signal(plan.signal)
        raised = {
            **silent,
            **alarms.kl_blow_up(metrics["kl"], self._settings.target_kl),
            **alarms.ratio_not_one(
                _largest(gaps[~batch.is_older_than(self.version)]),
                tolerance=alarms.ratio_tolerance(self.network.dtype),
            ),
        }
        if not silent and self._flat.grad is not None:
            after = self._flat.detach().cpu().numpy()
            raised |= alarms.below_rounding(before, after, mantissa_bits=23, steps=totals.steps)
        return raised

    def _descend(self, batch: DecisionBatch, scorer: ContextScorer, plan: PlanT) -> StepTotals:
        """Epochs of steps until the KL target is passed or a loss is no number."""
        settings, totals = self._settings, StepTotals()
        num_items = len(plan.signal)
        if not num_items:
            return totals
        num_rows = len(self.rows_of(plan, np.arange(num_items)))
        num_minibatches = min(max(1, round(num_rows / settings.minibatch_decisions)), num_items)
        for _ in range(settings.epochs):
            for items in np.array_split(self._random.permutation(num_items), num_minibatches):
                terms = self._gradient(batch, scorer, plan, items)
                totals.kl = terms.get("kl", 0.0)
                if totals.kl > settings.target_kl:
                    return totals
                totals.add(terms)
                if not all(np.isfinite(list(terms.values()))):
                    return totals
                self.step()
        return totals

    def _gradient(
        self, batch: DecisionBatch, scorer: ContextScorer, plan: PlanT, items: NDArray[np.int64]
    ) -> dict[str, float]:
        """Gradients of the mean over `items`, gathered over ranks and passes that fit; returns the terms."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        sums: dict[str, float] = {}
        num_rows = len(self.rows_of(plan, items))
        for part in self._parts(batch, scorer, plan, self._own(items)):
            weight = len(part) / len(items)
            mini = self.score(batch, scorer, plan, part)
            mini = replace(mini, row_weight=len(mini.rows) * len(items) / (num_rows * len(part)))
            terms = self.terms(batch, scorer, plan, mini)
            (self.objective(terms) * weight).backward()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.item() * weight
        return add_up(self._ranks, self.optimizers.values(), sums)

    def _own(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """This rank's items of a minibatch, neighbours in the batch, as they may share contexts."""
        return items if self._ranks.size == 1 else np.sort(items)[share(self._ranks, len(items))]

    def step(self) -> None:
        """Clip the adapter's gradient and step every optimizer."""
        if self._flat.grad is not None:
            nn.utils.clip_grad_norm_([self._flat], self._settings.max_grad_norm)
        for optimizer in self.optimizers.values():
            optimizer.step()

    def score(self, batch: DecisionBatch, scorer: ContextScorer, plan: PlanT, items: NDArray[np.int64]) -> Minibatch:
        """Run the contexts of some items under the adapter as it is now."""
        rows = self.rows_of(plan, items)
        contexts, inverse = np.unique(batch.context_of[rows], return_inverse=True)
        self.network.bank.use(self._flat)
        legal, hidden = scorer.score(contexts)
        pick = torch.from_numpy(inverse).to(self.network.device)
        chosen = legal[pick, torch.from_numpy(batch.chosen[rows]).to(self.network.device)]
        return Minibatch(items, rows, contexts, pick, legal, hidden, chosen)

    def column(self, values: NDArray[np.float64], index: NDArray[np.int64]) -> Tensor:
        """Some entries of a numpy column as float32 beside the model, shape (len(index),)."""
        return torch.tensor(values[index], dtype=torch.float32, device=self.network.device)

    def _parts(
        self, batch: DecisionBatch, scorer: ContextScorer, plan: PlanT, items: NDArray[np.int64]
    ) -> list[NDArray[np.int64]]:
        """Part items so that the contexts of each part fit into one pass; whole where they do."""
        if not len(items):
            return []
        if len(items) == 1 or scorer.fits(np.unique(batch.context_of[self.rows_of(plan, items)])):
            return [items]
        items = np.sort(items)
        half = len(items) // 2
        return [*self._parts(batch, scorer, plan, items[:half]), *self._parts(batch, scorer, plan, items[half:])]

    def _scorer(self, batch: DecisionBatch) -> ContextScorer:
        self.network.bank.use(self._flat)
        settings = self._settings
        return ContextScorer(
            self.network,
            batch,
            temperature=settings.temperature,
            tokens_per_pass=settings.tokens_per_pass,
            ranks=self._ranks,
        )

    def _refer(self, scorer: ContextScorer) -> None:
        """Ask the reference policy, if it counts: the initial adapter changes nothing in the base model."""
        self._reference = []
        if self._settings.kl_penalty > 0:
            self.network.bank.use(torch.from_numpy(self.network.bank.initial))
            self._reference = scorer.distributions()
            self.network.bank.use(self._flat)

    def _known_digests(self) -> dict[int, str]:
        """Digests by version, the present one included, as far back as trajectories are taken."""
        oldest = self.version - self._settings.max_staleness
        known = {version: digest for version, digest in self._digests.items() if version >= oldest}
        return known | {self.version: self.current().digest}


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _largest(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else 0.0
