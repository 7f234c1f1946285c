"""Supervised fine-tuning: imitate the episodes that went well, sampled or given, as a warm start.

Rejection sampling in the manner of STaR (Zelikman et al. 2022): only chosen episodes are kept, and all their decisions
count alike. Given episodes need no log-probabilities and may be of any age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from olal.learners.batch import DecisionBatch
from olal.learners.gradient import GradientSettings
from olal.learners.likelihood import LikelihoodLearner, LikelihoodPlan
from olal.learners.plan import Survey
from olal.types import Trajectory


@dataclass(frozen=True, slots=True)
class SFTSettings(GradientSettings):
    """Hyper-parameters; see `olal.config` for what each means."""

    entropy: float = 0.0
    target_kl: float = 1000.0
    keep: Literal["success", "above_mean", "all"] = "success"


class SFTLearner(LikelihoodLearner):
    """See `olal.learners.base.Learner` for the contract."""

    _settings: SFTSettings
    settings_class, needs_logprobs = SFTSettings, False

    def select(self, trajectories: Sequence[Trajectory]) -> tuple[Sequence[Trajectory], Mapping[str, int]]:
        """Keep episodes that solved the task, or did better than the mean of the batch, or all of them."""
        keep = self._settings.keep
        mean = sum(trajectory.episode_return for trajectory in trajectories) / max(len(trajectories), 1)
        good = [
            trajectory
            for trajectory in trajectories
            if keep == "all"
            or (keep == "success" and trajectory.success)
            or (keep == "above_mean" and trajectory.episode_return > mean)
        ]
        left_out = len(trajectories) - len(good)
        return good, {"unsuccessful": left_out} if left_out else {}

    def prepare(self, batch: DecisionBatch, survey: Survey) -> LikelihoodPlan:
        """Every decision counts once."""
        ones = np.ones(len(batch))
        return LikelihoodPlan(ones, {"num_episodes": float(len(batch.episodes))}, ones, survey.logprobs)
