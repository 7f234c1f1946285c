"""LearnerActor: a learner in a Ray process of its own; it owns every adapter version it publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from olal.adapters import AdapterPublisher, Checkpoint, SeedLog, read_checkpoint, write_checkpoint
from olal.learners.base import SeedLearner
from olal.types import AdapterDelta, AdapterUpdate, Perturbation, Trajectory

if TYPE_CHECKING:
    from olal.learners.base import Learner
    from olal.models.lora_bank import LoraBank


@dataclass(frozen=True, slots=True)
class LearnerReport:
    """One update, as the driver sees it.

    Attributes:
        version: of the new adapter.
        digest: of the new adapter.
        adapter: object references, as `AdapterFollower` reads them, in a tuple so that they travel unopened.
        metrics: the learner's own numbers.
        num_episodes: trajectories learned from.
        staleness: mean number of versions between acting and learning.
        duration_s: wall time of the update.
        published_bytes: what a worker fetches that has the version before.
        members: perturbed adapters that the next episodes are to be played under; none for this adapter itself.
        alarms: what looks wrong with the update, one line each, by name.
    """

    version: int
    digest: str
    adapter: tuple[Any, ...]
    metrics: Mapping[str, float]
    num_episodes: int
    staleness: float
    duration_s: float
    published_bytes: int = 0
    members: tuple[Perturbation, ...] = ()
    alarms: Mapping[str, str] = field(default_factory=dict)


class LearnerActor:
    """Thin shell over a Learner."""

    def __init__(
        self,
        make_learner: Callable[[], tuple[Learner, LoraBank]],
        seed_log: Path | None = None,
        snapshot_every: int = 16,
    ) -> None:
        """Keep the factory; the first call builds here, where model and learner will live.

        Of an error raised in a constructor Ray would hand on only the text.

        Args:
            make_learner: builds the learner and its bank.
            seed_log: file for the updates of a learner that moves along seeded directions; None keeps no log.
            snapshot_every: versions between two whole adapters, where updates are published as seeds.
        """
        self._make_learner = make_learner
        self._seed_log_path = seed_log
        self._publisher: AdapterPublisher[Any] = AdapterPublisher(ray.put, snapshot_every=snapshot_every)
        self._published: tuple[Any, ...] = ()
        self._first: tuple[Any, ...] = ()  # the starting policy is evaluated at the very end, so it must not be freed

    @cached_property
    def _built(self) -> tuple[Learner, LoraBank]:
        return self._make_learner()

    @property
    def _learner(self) -> Learner:
        return self._built[0]

    @property
    def _bank(self) -> LoraBank:
        return self._built[1]

    @cached_property
    def _seed_log(self) -> SeedLog | None:
        learner, path = self._learner, self._seed_log_path
        return SeedLog(path, learner.space) if path is not None and isinstance(learner, SeedLearner) else None

    def current(self) -> LearnerReport:
        """The present adapter, without learning."""
        if not self._published:
            self._publish(self._learner.current(), None)
            self._first = self._published
        return self._report({}, 0, 0.0, 0.0)

    def update(self, replay: Any, num_episodes: int) -> LearnerReport:
        """Take a batch from the replay actor, learn from it and publish the new adapter.

        Episodes are learned from in the order of their numbers, not of their arrival: the same seed gives the same run.

        Args:
            replay: the replay actor.
            num_episodes: most trajectories to take.
        """
        taken = ray.get(replay.take.remote(num_episodes, self._learner.version))
        return self.learn([lent.unpack() for lent in sorted(taken, key=lambda lent: lent.record.episode_id)])

    def learn(self, trajectories: Sequence[Trajectory]) -> LearnerReport:
        """Learn from trajectories and publish the new adapter."""
        version = self._learner.version
        started = time.monotonic()
        step = self._learner.update(trajectories)
        delta = step.delta if isinstance(self._learner, SeedLearner) else None
        if self._seed_log is not None:
            self._seed_log.append(delta, step.update)
        self._publish(step.update, delta)
        ages = [version - trajectory.adapter_version for trajectory in trajectories]
        staleness = sum(ages) / max(len(ages), 1)
        duration_s = time.monotonic() - started
        return self._report(step.metrics, len(trajectories), staleness, duration_s, step.alarms)

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
        if self._seed_log is not None:
            self._seed_log.rewind(self._learner.current())
        self._publish(self._learner.current(), None)
        return checkpoint.state["counters"]

    def _report(
        self,
        metrics: Mapping[str, float],
        num_episodes: int,
        staleness: float,
        duration_s: float,
        alarms: Mapping[str, str] | None = None,
    ) -> LearnerReport:
        learner = self._learner
        return LearnerReport(
            learner.version,
            self._digest,
            self._published,
            metrics,
            num_episodes,
            staleness,
            duration_s,
            self._publisher.num_bytes,
            learner.members() if isinstance(learner, SeedLearner) else (),
            alarms or {},
        )

    def _publish(self, update: AdapterUpdate, delta: AdapterDelta | None) -> None:
        self._digest = update.digest
        self._published = self._publisher.publish(update, delta)
