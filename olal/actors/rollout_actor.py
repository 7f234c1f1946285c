"""RolloutActor: a collector in a Ray process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import ray

from olal.adapters import FollowerCounts
from olal.replay import pack
from olal.rollout import Collector, EpisodeOutcome, outcome_of
from olal.types import EpisodeTask, SamplingParams


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """What a worker did with its share of the episodes.

    Attributes:
        outcomes: one per episode, failed ones included.
        duration_s: wall time of playing, without loading the adapter.
        pid: of the worker's process.
        adapters: how the worker came by its adapters since it started.
        sync_s: wall time of fetching, checking and loading the adapter.
    """

    outcomes: tuple[EpisodeOutcome, ...]
    duration_s: float
    pid: int
    adapters: FollowerCounts = field(default_factory=FollowerCounts)
    sync_s: float = 0.0


class RolloutActor:
    """Plays episodes under the adapter it is handed and delivers them to the replay actor."""

    def __init__(self, make_collector: Callable[[], Collector]) -> None:
        """Keep the factory; `ready` builds here, where engine and environments will live.

        Of an error raised in a constructor Ray would hand on only the text.
        """
        self._make_collector = make_collector

    @cached_property
    def _collector(self) -> Collector:
        return self._make_collector()

    def ready(self) -> int:
        """Build what is not built yet, and return the process id."""
        _ = self._collector
        return os.getpid()

    def rollout(
        self, tasks: Sequence[EpisodeTask], sampling: SamplingParams, adapter: Sequence[Any], replay: Any
    ) -> RolloutReport:
        """Play `tasks` and put the trajectories into the replay buffer.

        Args:
            tasks: this worker's share.
            sampling: how to draw tokens.
            adapter: object references in a list, so that only what is needed is fetched, here and now.
            replay: the replay actor.
        """
        asked = time.monotonic()
        adapters = self._collector.follow(adapter, ray.get)
        started = time.monotonic()
        trajectories = self._collector.collect(tasks, sampling)
        duration_s = time.monotonic() - started
        ray.get(replay.put.remote([pack(trajectory) for trajectory in self._collector.pay(trajectories)]))
        return RolloutReport(tuple(map(outcome_of, trajectories)), duration_s, os.getpid(), adapters, started - asked)

    def evaluate(
        self, tasks: Sequence[EpisodeTask], sampling: SamplingParams, adapter: Sequence[Any]
    ) -> list[EpisodeOutcome]:
        """Play `tasks` without delivering them."""
        self._collector.follow(adapter, ray.get)
        return [outcome_of(trajectory) for trajectory in self._collector.collect(tasks, sampling)]
