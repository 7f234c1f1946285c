"""GRPO, RLOO and REINFORCE: the clipped surrogate with other episodes in the place of a critic.

GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024) compare the episodes of one group, which share their start;
every decision of an episode gets the episode's advantage. REINFORCE (Williams 1992) gives a decision the discounted
return that followed it, less the mean of the batch. Episodes without a group are compared with each other; one whose
group has no other is dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

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
        nothing = np.zeros(len(batch))
        if settings.kind == "reinforce":
            no_values = np.zeros(len(batch.contexts))
            _, returns = batch_advantages(batch, no_values, gamma=settings.gamma, gae_lambda=1.0, scale=scale)
            advantages = normalise(returns, std_floor=settings.advantage_std_floor)
            return Credit(advantages, nothing, {"advantage_std": float(returns.std()), "reward_scale": scale})
        per_episode = group_advantages(
            np.array([episode.episode_return for episode in batch.episodes]) / scale,
            np.array([episode.group for episode in batch.episodes], np.int64),
            baseline=settings.kind,
            std_floor=settings.advantage_std_floor,
        )
        advantages = np.repeat(per_episode, [episode.stop - episode.start for episode in batch.episodes])
        return Credit(advantages, nothing, {"advantage_std": float(advantages.std()), "reward_scale": scale})
