"""SlowGridWorld: the grid world, where every episode has a pace of its own, as websites, simulators and tools have."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from olal.config import EvaluationConfig
from olal.envs.grid_world import GridWorld
from olal.experiments.seeds import evaluation_tasks
from olal.types import TimeStep

EVALUATION = frozenset(task.seed for task in evaluation_tasks(EvaluationConfig().seed, 1000))


class SlowGridWorld(GridWorld):
    """Every step waits; how long is drawn once an episode, log-normal, from its seed and from nothing else.

    Which episodes are slow has nothing to do with what the policy does, and is the same in every mode. Those of the
    evaluation take no time.
    """

    def __init__(self, step_s: float = 0.04, spread: float = 1.25, **options: Any) -> None:
        """Lay out the grid.

        Args:
            step_s: mean seconds of a step.
            spread: standard deviation of the logarithm of an episode's pace; at 1.25 the slowest of 64 episodes is
                about nine times as slow as the mean.
            options: of GridWorld.
        """
        super().__init__(**options)
        self._mean_s, self._spread, self._pace_s = step_s, spread, step_s

    def reset(self, seed: int) -> TimeStep:
        """Start an episode and draw its pace."""
        random = np.random.default_rng([seed, 1])
        pace_s = self._mean_s * float(random.lognormal(-(self._spread**2) / 2, self._spread))
        self._pace_s = 0.0 if seed in EVALUATION else pace_s
        return super().reset(seed)

    def step(self, action: Sequence[str]) -> TimeStep:
        """Take the time, then act."""
        time.sleep(self._pace_s)
        return super().step(action)
