"""SimPO: two actions in the same state, and the better one is to be likelier by a margin.

Meng, Xia and Chen 2024, "SimPO: simple preference optimization with a reference-free reward", eq. 6:
L = -log sigmoid(beta / |y_w| log pi(y_w) - beta / |y_l| log pi(y_l) - gamma), |y| being the decisions of the turn.
The pairs are found in the batch: turns that began in exactly the same context with different actions. Which one wins
is told by the mean return that followed, or by a critic from an earlier stage; ties are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch
from olal.learners.critic import MakeCritic
from olal.learners.critic_slot import CriticSlot
from olal.learners.gradient import GradientLearner, GradientSettings
from olal.learners.plan import Minibatch, Plan, Survey
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.value_head import ValueHead
from olal.models.policy_network import PolicyNetwork

Turn = tuple[int, int]
"""First decision of a turn and one past its last."""


@dataclass(frozen=True, slots=True)
class SimPOSettings(GradientSettings):
    """Hyper-parameters; see `olal.config` for what each means."""

    beta: float = 2.0
    margin: float = 1.0
    advantage: Literal["return_to_go", "critic"] = "return_to_go"
    gae_lambda: float = 0.95
    tie: float = 1e-6
    value_hidden: int = 64
    separate_critic: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """M preferences.

    Attributes:
        chosen: the M turns that are preferred.
        rejected: the M turns that they are preferred to, each from the same context.
        gaps: float64 (M,): by how much.
        num_states: contexts in which different actions were tried.
        num_ties: pairs that were skipped.
    """

    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]
    gaps: NDArray[np.float64]
    num_states: int
    num_ties: int


@dataclass(frozen=True, slots=True)
class SimPOPlan(Plan):
    """What the loss needs: the pairs, and log-probabilities at the start of the update, float64 (N,)."""

    pairs: Pairs
    proximal: NDArray[np.float64]


class SimPOLearner(GradientLearner[SimPOPlan]):
    """See `olal.learners.base.Learner` for the contract."""

    _settings: SimPOSettings
    settings_class = SimPOSettings

    def __init__(
        self,
        network: PolicyNetwork,
        settings: SimPOSettings,
        learning_rate: LinearDecay,
        *,
        seed: int,
        make_critic: MakeCritic | None = None,
    ) -> None:
        """Start from the bank's initial adapter; see `olal.learners.ppo.PPOLearner` for the arguments.

        A critic, where one judges, is never trained here: it comes from an earlier stage.
        """
        super().__init__(network, settings, learning_rate, seed=seed)
        if settings.advantage == "critic":
            make = make_critic or partial(ValueHead, width=settings.value_hidden)
            self.critic = CriticSlot(network, make, is_separate=settings.separate_critic, seed=seed)
            self.critic.requires_grad_(False)
            self.modules["value"] = self.critic

    def prepare(self, batch: DecisionBatch, survey: Survey) -> SimPOPlan:
        """Judge every turn and pair those that share a state."""
        settings = self._settings
        values, gae_lambda, scale = np.zeros(len(batch.contexts)), 1.0, 1.0
        if settings.advantage == "critic":
            values, gae_lambda = self.critic.survey(self._scorer(batch), survey.hidden), settings.gae_lambda
            scale = self.reward_scale.value
        advantages, _ = batch_advantages(batch, values, gamma=settings.gamma, gae_lambda=gae_lambda, scale=scale)
        pairs = make_pairs(batch, advantages, tie=settings.tie)
        metrics = {
            "num_pairs": float(len(pairs.gaps)),
            "num_states": float(pairs.num_states),
            "ties_skipped": float(pairs.num_ties),
        }
        return SimPOPlan(pairs.gaps, metrics, pairs, survey.logprobs)

    def rows_of(self, plan: SimPOPlan, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Decisions of some pairs: the preferred turn, then the other, pair after pair."""
        return np.concatenate([np.arange(*turn) for turn in _turns(plan.pairs, items)])

    def terms(self, batch: DecisionBatch, scorer: ContextScorer, plan: SimPOPlan, mini: Minibatch) -> dict[str, Tensor]:
        """The paper's loss over pairs, with entropy bonus and KL penalty over their decisions."""
        spans = _turns(plan.pairs, mini.items)
        lengths = torch.tensor([stop - start for start, stop in spans], device=mini.chosen.device)
        turn = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        means = torch.zeros(len(lengths), device=lengths.device).index_add(0, turn, mini.chosen) / lengths
        gap = means[0::2] - means[1::2]
        loss = -nn.functional.logsigmoid(self._settings.beta * gap - self._settings.margin).mean()
        log_ratio = mini.chosen.detach() - self.column(plan.proximal, mini.rows)
        regulariser = self.regulariser(mini)
        return {
            "loss": self.regularised(loss, regulariser),
            "preference_loss": loss.detach(),
            "pair_accuracy": (gap.detach() > 0).float().mean(),
            **{name: term.detach() for name, term in regulariser.items()},
            "kl": mini.row_mean(log_ratio.exp() - 1 - log_ratio),
        }


def make_pairs(batch: DecisionBatch, advantages: NDArray[np.float64], *, tie: float) -> Pairs:
    """Prefer, in every context where several actions were tried, the best one to each of the others.

    Args:
        batch: N decisions.
        advantages: float64 (N,): that of a turn is the one of its first decision; of the same action tried several
            times the mean counts.
        tie: gap up to which two actions count as equally good.
    """
    tried: dict[int, dict[tuple[tuple[int, int], ...], list[Turn]]] = {}
    for start, stop in turns_of(batch):
        action = tuple(zip(batch.context_of[start:stop].tolist(), batch.chosen[start:stop].tolist(), strict=True))
        tried.setdefault(int(batch.context_of[start]), {}).setdefault(action, []).append((start, stop))
    chosen: list[Turn] = []
    rejected: list[Turn] = []
    gaps: list[float] = []
    num_states = num_ties = 0
    for actions in tried.values():
        if len(actions) < 2:
            continue
        num_states += 1
        worth = [(float(np.mean([advantages[start] for start, _ in turns])), turns[0]) for turns in actions.values()]
        best = max(worth)
        for other in worth:
            if other is best:
                continue
            if best[0] - other[0] <= tie:
                num_ties += 1
                continue
            chosen.append(best[1])
            rejected.append(other[1])
            gaps.append(best[0] - other[0])
    return Pairs(tuple(chosen), tuple(rejected), np.array(gaps, np.float64), num_states, num_ties)


def turns_of(batch: DecisionBatch) -> list[Turn]:
    """The turns of a batch in which something was decided, episode after episode."""
    turns: list[Turn] = []
    for episode in batch.episodes:
        start = episode.start
        for row in range(episode.start, episode.stop):
            if batch.elapsed_turns[row]:
                turns.append((start, row + 1))
                start = row + 1
    return turns


def _turns(pairs: Pairs, items: NDArray[np.int64]) -> Sequence[Turn]:
    return [turn for item in items for turn in (pairs.chosen[item], pairs.rejected[item])]
