"""Collector: plays many episodes in lockstep with one engine and returns finished trajectories in order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from olal.adapters import AdapterFollower, FollowerCounts, Stored
from olal.agents import PromptAgent
from olal.envs.base import Environment
from olal.errors import ConfigError
from olal.inference import Engine
from olal.rollout.deadlines import Deadlines
from olal.rollout.engine_guard import engine_guard
from olal.rollout.episode import Episode
from olal.rollout.player import Player
from olal.rollout.reward import RewardFunction, pay_all
from olal.types import AdapterUpdate, EpisodeTask, Perturbation, SamplingParams, Trajectory

Reference = TypeVar("Reference")


class Collector:
    """Plays episodes in lockstep: one engine batch per turn over all that still run."""

    def __init__(
        self,
        make_env: Callable[[], Environment],
        make_agent: Callable[[Environment], PromptAgent],
        engine: Engine,
        *,
        worker: int = 0,
        max_parallel: int = 256,
        follower: AdapterFollower | None = None,
        reward: RewardFunction | None = None,
        limits: Deadlines | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the first environment, from which the agent is made.

        Args:
            make_env: builds one environment; environments are reused from episode to episode.
            make_agent: builds the agent for an environment.
            engine: samples the actions.
            worker: index written into trajectories.
            max_parallel: most episodes played at once.
            follower: rebuilds adapters that are published as seeds; None where whole ones alone are loaded.
            reward: pays in the environment's place; None leaves its rewards.
            limits: of environments and episodes; None for the defaults.
            clock: monotonic seconds.
        """
        self._engine = engine
        self._worker = worker
        self._max_parallel = max_parallel
        self._follower = follower
        self._reward = reward
        self._limits, self._clock = limits or Deadlines(), clock
        self._player = Player(make_env, make_agent, engine, self._limits, clock)
        self._members: dict[Perturbation, str] = {}

    @property
    def num_abandoned(self) -> int:
        """Environments that hung and were left behind so far."""
        return self._player.num_abandoned

    def collect(self, tasks: Sequence[EpisodeTask], sampling: SamplingParams) -> list[Trajectory]:
        """Play every task to its end under the engine's present adapter.

        An environment that raises, hangs or breaks its contract ends its own episode, whose trajectory then carries the
        error; the others go on.

        Raises:
            EngineFailed: the engine raised.
            ThreadsExhausted: too many environments hang.
        """
        done: list[Trajectory] = []
        for start in range(0, len(tasks), self._max_parallel):
            share = tasks[start : start + self._max_parallel]
            with self._members_of(share):
                done.extend(self._play(share, sampling))
        return done

    def pay(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """What a learner is to see: trajectories paid by the reward function, where there is one.

        Raises:
            ConfigError: the reward function does not give one finite number per turn.
        """
        return pay_all(trajectories, self._reward)

    def load_adapter(self, update: AdapterUpdate) -> None:
        """Act under another adapter from the next episode on.

        Raises:
            AdapterMismatch: it does not belong to the engine's model.
        """
        if update.digest != self._engine.adapter_digest or update.version != self._engine.adapter_version:
            self._engine.load_adapter(update)

    def follow(self, published: Sequence[Reference | bytes], fetch: Callable[[Reference], Stored]) -> FollowerCounts:
        """Act from the next episode on under the adapter that was published last.

        Args:
            published: as `AdapterPublisher` returns it.
            fetch: gets what a reference stands for.

        Returns:
            How this worker came by its adapters so far.

        Raises:
            AdapterMismatch: it does not belong to the engine's model, or cannot be rebuilt here.
        """
        follower = self._need_follower()
        self.load_adapter(follower.load(published, fetch))
        return replace(follower.counts)

    def close(self) -> None:
        """Close every environment."""
        self._player.close()

    @contextlib.contextmanager
    def _members_of(self, tasks: Sequence[EpisodeTask]) -> Iterator[None]:
        """Load the perturbed adapters that episodes are to be played under, for as long as they are."""
        wanted = dict.fromkeys(task.perturbation for task in tasks if task.perturbation is not None)
        try:
            for perturbation in wanted:
                member = self._need_follower().member(perturbation)
                self._engine.load_adapter(member, is_current=False)
                self._members[perturbation] = member.digest
            yield
        finally:
            for digest in self._members.values():
                if digest != self._engine.adapter_digest:
                    self._engine.unload_adapter(digest)
            self._members.clear()

    def _need_follower(self) -> AdapterFollower:
        if self._follower is None:
            raise ConfigError("this collector plays under whole adapters alone; give it a follower to rebuild others")
        return self._follower

    def _play(self, tasks: Sequence[EpisodeTask], sampling: SamplingParams) -> list[Trajectory]:
        episodes = [self._episode(task) for task in tasks]
        for episode in episodes:
            self._player.start(episode)
            if not self._player.is_measured:
                self._settle(episodes)  # the first one alone, which says how to run the others
        self._settle(episodes)
        while running := [episode for episode in episodes if not episode.is_over]:
            requests = [episode.request(sampling) for episode in running]
            now = self._clock()
            for episode in running:
                episode.excused_s += now - episode.since  # the others' environments took that long
                episode.where, episode.since = "engine", now
            with engine_guard:
                completions = self._engine.generate(requests)
            for episode, completion in zip(running, completions, strict=True):
                self._player.play(episode, completion)
            self._settle(episodes)
        return [episode.trajectory(self._worker) for episode in episodes]

    def _settle(self, episodes: Sequence[Episode]) -> None:
        """Wait until every environment has answered, or has had its time."""
        while self._player.num_at_work:
            self._player.wait(self._limits.step_s)
            self._player.expire(episodes)

    def _episode(self, task: EpisodeTask) -> Episode:
        member = None if task.perturbation is None else self._members[task.perturbation]
        digest = member or self._engine.adapter_digest
        return Episode(task, self._engine.adapter_version, digest, self._clock(), adapter=member)
