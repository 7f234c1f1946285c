"""LearnerActor: a learner in a Ray process of its own; it owns every adapter version it publishes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import nan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import ray

from olal.actors.reports import LearnerReport
from olal.adapters import (
    AdapterProof,
    AdapterPublisher,
    Checkpoint,
    Publication,
    SeedLog,
    read_checkpoint,
    write_checkpoint,
)
from olal.errors import ProcessLost
from olal.learners.base import SeedLearner
from olal.types import AdapterDelta, AdapterUpdate, Trajectory

if TYPE_CHECKING:
    from olal.learners.base import Learner
    from olal.models.policy_network import PolicyNetwork

_KEPT_PUBLICATIONS = 3
_LEAST_SHARE = 0.5
"""Of the episodes that an update was to have; with fewer there is none."""


class LearnerActor:
    """Thin shell over a Learner."""

    def __init__(
        self,
        make_learner: Callable[[], tuple[Learner, PolicyNetwork]],
        seed_log: Path | None = None,
        snapshot_every: int = 16,
    ) -> None:
        """Keep the factory; the first call builds here, where model and learner will live.

        Of an error raised in a constructor Ray would hand on only the text.

        Args:
            make_learner: builds the learner and the network it learns on.
            seed_log: file for the updates of a learner that moves along seeded directions; None keeps no log.
            snapshot_every: versions between two whole adapters, where updates are published as seeds.
        """
        self._make_learner = make_learner
        self._seed_log_path = seed_log
        self._publisher: AdapterPublisher[Any] = AdapterPublisher(ray.put, snapshot_every=snapshot_every)
        self._published: list[Publication] = []  # the last ones are kept alive: workers may still be fetching them

    @cached_property
    def _built(self) -> tuple[Learner, PolicyNetwork]:
        return self._make_learner()

    @property
    def _learner(self) -> Learner:
        return self._built[0]

    @property
    def _network(self) -> PolicyNetwork:
        return self._built[1]

    @cached_property
    def _seed_log(self) -> SeedLog | None:
        learner, path = self._learner, self._seed_log_path
        return SeedLog(path, learner.space) if path is not None and isinstance(learner, SeedLearner) else None

    @ray.method(max_task_retries=3)
    def current(self) -> LearnerReport:
        """The present adapter, without learning."""
        if not self._published:
            self._publish(self._learner.current(), None)
        return self._report()

    def publish_again(self, version: int) -> LearnerReport:
        """Publish the present adapter anew, whole: what was published is gone.

        Raises:
            ProcessLost: this process is a new one that knows nothing of `version`.
        """
        self._check(version)
        self._publish(self._learner.current(), None)
        return self._report()

    @ray.method(max_task_retries=3)
    def starting(self) -> AdapterUpdate:
        """The untrained adapter, for comparison."""
        bank = self._network.bank
        return AdapterUpdate(0, bank.layout.digest(bank.initial), bank.initial)

    def adapter(self, version: int) -> AdapterUpdate:
        """The present adapter itself, for whoever needs it to outlive this process.

        Raises:
            ProcessLost: this process is a new one that knows nothing of `version`.
        """
        self._check(version)
        return self._learner.current()

    def update(
        self, replay: Any, version: int, count: int, max_staleness: int, ids: Sequence[int] | None = None
    ) -> LearnerReport:
        """Lease a batch from the replay actor, learn from it, publish the new adapter, then settle the batch.

        Episodes are learned from in the order of their numbers, not of their arrival: the same seed gives the same run.

        Args:
            replay: the replay actor.
            version: that the caller believes this learner to be at.
            count: most episodes to take.
            max_staleness: most versions that acting may lie behind.
            ids: take exactly these, as far as they are there; None leaves the choice to the buffer.

        Raises:
            ProcessLost: this process is a new one that knows nothing of `version`.
        """
        self._check(version)
        leased = ray.get(replay.lease.remote(count, version, max_staleness, ids))
        if ids is None and len(leased) < _LEAST_SHARE * count:  # the others were too old, and are dropped now
            ray.get(replay.give_back.remote())
            return self._report()
        trajectories = [one.unpack() for one in leased]
        report = self.learn(sorted(trajectories, key=lambda trajectory: trajectory.task.episode_id))
        dropped = {
            name.removeprefix("dropped_"): round(count)
            for name, count in report.metrics.items()
            if name.startswith("dropped_")
        }
        ray.get(replay.commit.remote([one.record.episode_id for one in leased], report.version, dropped))
        return report

    def learn(self, trajectories: Sequence[Trajectory]) -> LearnerReport:
        """Learn from trajectories and publish the new adapter."""
        version = self._learner.version
        started = time.monotonic()
        step = self._learner.update(trajectories)
        delta = step.delta if isinstance(self._learner, SeedLearner) else None
        if self._seed_log is not None:
            self._seed_log.append(delta, step.update)
        self._publish(step.update, delta)
        return self._report(step.metrics, trajectories, version, time.monotonic() - started, step.alarms)

    def save(self, root: Path, version: int, counters: Mapping[str, Any], keep: int) -> str:
        """Write a checkpoint under `root` and return its directory.

        Raises:
            ProcessLost: this process is a new one that knows nothing of `version`.
            CheckpointNotWritten: the disk is full or gone; what was written of it is removed, and older ones stay.
        """
        self._check(version)
        checkpoint = self._learner.checkpoint()
        full = Checkpoint(
            checkpoint.version, checkpoint.flat, checkpoint.arrays, {**checkpoint.state, "counters": dict(counters)}
        )
        bank = self._network.bank
        return str(write_checkpoint(root, full, bank.layout, bank.peft_config, keep=keep))

    @ray.method(max_task_retries=3)
    def restore(self, path: Path | None) -> Mapping[str, Any]:
        """Continue from a checkpoint; returns the counters saved with it.

        Args:
            path: of the checkpoint; None starts a process that has learned nothing at version 0.
        """
        counters: Mapping[str, Any] = {}
        if path is not None:
            checkpoint = read_checkpoint(path, self._network.bank.layout)
            self._learner.restore(checkpoint)
            counters = checkpoint.state["counters"]
        if self._seed_log is not None:
            self._seed_log.rewind(self._learner.current())
        self._publish(self._learner.current(), None)
        return counters

    def _check(self, version: int) -> None:
        if self._learner.version != version:
            raise ProcessLost(f"the learner was restarted; it is at version {self._learner.version}, not {version}")

    def _report(
        self,
        metrics: Mapping[str, float] | None = None,
        trajectories: Sequence[Trajectory] = (),
        version: int = 0,
        duration_s: float = 0.0,
        alarms: Mapping[str, str] | None = None,
    ) -> LearnerReport:
        learner = self._learner
        ages = [version - trajectory.adapter_version for trajectory in trajectories]
        solved = [trajectory.success for trajectory in trajectories if trajectory.success is not None]
        return LearnerReport(
            publication=self._published[-1],
            metrics=metrics or {},
            num_episodes=len(trajectories),
            staleness=sum(ages) / max(len(ages), 1),
            mean_return=fmean(map(_env_return, trajectories)) if trajectories else nan,
            success_rate=sum(solved) / len(solved) if solved else None,
            duration_s=duration_s,
            published_bytes=self._publisher.num_bytes,
            members=learner.members() if isinstance(learner, SeedLearner) else (),
            alarms=alarms or {},
            pid=os.getpid(),
        )

    def _publish(self, update: AdapterUpdate, delta: AdapterDelta | None) -> None:
        from olal.models.probe import probe_logprob

        proof = AdapterProof(update.version, update.digest, probe_logprob(self._network, update))
        self._published.append(Publication(proof, self._publisher.publish(update, delta)))
        del self._published[:-_KEPT_PUBLICATIONS]


def _env_return(trajectory: Trajectory) -> float:
    """Undiscounted sum of what the environment paid, also where a reward function of the user's pays the learner."""
    return sum(turn.reward if turn.env_reward is None else turn.env_reward for turn in trajectory.turns)
