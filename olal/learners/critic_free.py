"""GRPO, RLOO and REINFORCE: the clipped surrogate with other episodes in the place of a critic.

GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024) compare the episodes of one group, which share their start;
every decision of an episode gets the episode's advantage. REINFORCE (Williams 1992) gives a decision the discounted
return that followed it, less the mean of the batch. Episodes without a group are compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch
from olal.learners.clipped import ClippedLearner, ClippedSettings, Credit
from olal.returns import group_advantages, normalise


@dataclass(frozen=True, slots=True)
class CriticFreeSettings(ClippedSettings):
    """Hyper-parameters; see `olal.config` for what each means."""

    kind: Literal["grpo", "rloo", "reinforce"] = "grpo"


class CriticFreeLearner(ClippedLearner):
    """See `olal.learners.base.Learner` for the contract."""

    _settings: CriticFreeSettings

    def _credit(self, batch: DecisionBatch, hidden: Tensor) -> Credit:
        settings = self._settings
        scale = self._reward_scale.update(batch, settings.gamma)
        nothing = np.zeros(len(batch))
        if settings.kind == "reinforce":
            no_values = np.zeros(len(batch.contexts))
            _, returns = batch_advantages(batch, no_values, gamma=settings.gamma, gae_lambda=1.0, scale=scale)
            advantages = normalise(returns, std_floor=settings.advantage_std_floor)
            return Credit(advantages, nothing, {"advantage_std": float(returns.std()), "reward_scale": scale})
        groups = np.array([episode.group for episode in batch.episodes], np.int64)
        per_episode = group_advantages(
            np.array([episode.episode_return for episode in batch.episodes]) / scale,
            groups,
            baseline=settings.kind,
            std_floor=settings.advantage_std_floor,
        )
        lengths = [episode.stop - episode.start for episode in batch.episodes]
        advantages = np.repeat(per_episode, lengths)
        _, sizes = np.unique(groups, return_counts=True)
        metrics = {
            "advantage_std": float(advantages.std()),
            "reward_scale": scale,
            "lone_episodes": float((sizes == 1).sum()),
        }
        return Credit(advantages, nothing, metrics)
