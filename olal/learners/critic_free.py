"""GRPO, RLOO and REINFORCE: the clipped surrogate with other episodes in the place of a critic.

GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024) compare the episodes of one group, which share their start;
every decision of an episode gets the episode's advantage. Where episodes are long and their contexts come again, the
decisions that a group made in the same context can be compared instead, by the discounted return that followed each:
the step-level advantage of Feng et al. 2025, "Group-in-group policy optimization" (arXiv 2505.10978). REINFORCE
(Williams 1992) gives a decision the discounted return that followed it, less the mean of the batch. Episodes without a
group are compared with each other; one whose group has no other is dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch
from olal.learners.clipped import ClippedLearner, ClippedSettings, Credit
from olal.learners.plan import Survey
from olal.learners.stale import Stale
from olal.returns import group_advantages, normalise
from olal.types import Trajectory


@dataclass(frozen=True, slots=True)
class CriticFreeSettings(ClippedSettings):
    """Hyper-parameters; see `olal.config` for what each means."""

    kind: Literal["grpo", "rloo", "reinforce"] = "grpo"
    compare: Literal["episode", "context"] = "episode"


class CriticFreeLearner(ClippedLearner):
    """See `olal.learners.base.Learner` for the contract."""

    _settings: CriticFreeSettings
    settings_class = CriticFreeSettings

    def select(self, trajectories: Sequence[Trajectory]) -> tuple[Sequence[Trajectory], Mapping[str, int]]:
        """Leave out episodes that have no other to be compared with."""
        if self._settings.kind == "reinforce":
            return trajectories, {}
        sizes = Counter(trajectory.task.group for trajectory in trajectories)
        kept = [trajectory for trajectory in trajectories if sizes[trajectory.task.group] > 1]
        lone = len(trajectories) - len(kept)
        return kept, {"group_of_one": lone} if lone else {}

    def credit(self, batch: DecisionBatch, survey: Survey, stale: Stale) -> Credit:
        """Compare episodes of a group, or decisions of the batch."""
        settings = self._settings
        scale = self.reward_scale.update(batch, settings.gamma)
        metrics = {"reward_scale": scale}
        if settings.kind == "reinforce":
            returns = _returns_to_go(batch, settings.gamma, scale)
            advantages = normalise(returns, std_floor=settings.advantage_std_floor)
            metrics["advantage_std"] = float(returns.std())
        else:
            advantages = self._compared(batch, settings.kind, scale)
            metrics["advantage_std"] = float(advantages.std())
        return Credit(advantages, np.zeros(len(batch)), metrics)

    def _compared(self, batch: DecisionBatch, baseline: Literal["grpo", "rloo"], scale: float) -> NDArray[np.float64]:
        """Advantages, shape (N,), within groups of episodes, or of their decisions in the same context."""
        settings = self._settings
        lengths = [episode.stop - episode.start for episode in batch.episodes]
        groups = np.array([episode.group for episode in batch.episodes], np.int64)
        if settings.compare == "context":
            places = np.repeat(groups, lengths) * len(batch.contexts) + batch.context_of
            returns = _returns_to_go(batch, settings.gamma, scale)
        else:
            places = groups
            returns = np.array([episode.episode_return for episode in batch.episodes]) / scale
        advantages = group_advantages(returns, places, baseline=baseline, std_floor=settings.advantage_std_floor)
        return advantages if settings.compare == "context" else np.repeat(advantages, lengths)


def _returns_to_go(batch: DecisionBatch, gamma: float, scale: float) -> NDArray[np.float64]:
    """Discounted return that followed each decision, shape (N,), with nothing after the cut of a truncated episode."""
    no_values = np.zeros(len(batch.contexts))
    return batch_advantages(batch, no_values, gamma=gamma, gae_lambda=1.0, scale=scale)[1]
