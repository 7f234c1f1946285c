"""LearnerActor: a learner in a Ray process of its own; it owns every adapter version it publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from olal.adapters import Checkpoint, read_checkpoint, write_checkpoint

if TYPE_CHECKING:
    from olal.learners.base import Learner
    from olal.models.lora_bank import LoraBank


@dataclass(frozen=True, slots=True)
class LearnerReport:
    """One update, as the driver sees it.

    Attributes:
        version: of the new adapter.
        digest: of the new adapter.
        adapter: its object reference, in a list so that it travels unopened.
        metrics: the learner's own numbers.
        num_episodes: trajectories learned from.
        staleness: mean number of versions between acting and learning.
        duration_s: wall time of the update.
    """

    version: int
    digest: str
    adapter: tuple[Any, ...]
    metrics: Mapping[str, float]
    num_episodes: int
    staleness: float
    duration_s: float


class LearnerActor:
    """Thin shell over a Learner."""

    def __init__(self, make_learner: Callable[[], tuple[Learner, LoraBank]]) -> None:
        """Keep the factory; the first call builds here, where model and learner will live.

        Of an error raised in a constructor Ray would hand on only the text.
        """
        self._make_learner = make_learner

    @cached_property
    def _built(self) -> tuple[Learner, LoraBank]:
        return self._make_learner()

    @property
    def _learner(self) -> Learner:
        return self._built[0]

    @property
    def _bank(self) -> LoraBank:
        return self._built[1]

    def current(self) -> LearnerReport:
        """The present adapter, without learning."""
        return self._report({}, 0, 0.0, 0.0)

    def update(self, replay: Any, num_episodes: int) -> LearnerReport:
        """Take a batch from the replay actor, learn from it and publish the new adapter.

        Episodes are learned from in the order of their numbers, not of their arrival: the same seed gives the same run.

        Args:
            replay: the replay actor.
            num_episodes: most trajectories to take.
        """
        version = self._learner.version
        taken = ray.get(replay.take.remote(num_episodes, version))
        trajectories = sorted(taken, key=lambda trajectory: trajectory.task.episode_id)
        started = time.monotonic()
        step = self._learner.update(trajectories)
        ages = [version - trajectory.adapter_version for trajectory in trajectories]
        staleness = sum(ages) / max(len(ages), 1)
        return self._report(step.metrics, len(trajectories), staleness, time.monotonic() - started)

    def save(self, root: Path, counters: Mapping[str, Any], keep: int) -> str:
        """Write a checkpoint under `root` and return its directory."""
        checkpoint = self._learner.checkpoint()
        full = Checkpoint(
            checkpoint.version, checkpoint.flat, checkpoint.arrays, {**checkpoint.state, "counters": dict(counters)}
        )
        return str(write_checkpoint(root, full, self._bank.layout, self._bank.peft_config, keep=keep))

    def restore(self, path: Path) -> Mapping[str, Any]:
        """Continue from a checkpoint; returns the counters saved with it."""
        checkpoint = read_checkpoint(path, self._bank.layout)
        self._learner.restore(checkpoint)
        return checkpoint.state["counters"]

    def _report(
        self, metrics: Mapping[str, float], num_episodes: int, staleness: float, duration_s: float
    ) -> LearnerReport:
        update = self._learner.current()
        adapter = (ray.put(update),)
        return LearnerReport(update.version, update.digest, adapter, metrics, num_episodes, staleness, duration_s)
