"""Collector: plays many episodes at once with one engine and returns finished trajectories."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from olal.adapters import AdapterFollower, FollowerCounts
from olal.agents import PromptAgent
from olal.envs.base import Environment
from olal.errors import ConfigError
from olal.grammar import ActionGrammar
from olal.inference import Engine
from olal.rollout.reward import RewardFunction, pay
from olal.types import (
    AdapterUpdate,
    Bootstrap,
    Completion,
    EpisodeTask,
    GenerateRequest,
    Perturbation,
    SamplingParams,
    TimeStep,
    Trajectory,
    Turn,
)

Reference = TypeVar("Reference")


@dataclass(slots=True)
class _Episode:
    """One episode being played."""

    task: EpisodeTask
    env: Environment
    started: float
    step: TimeStep = field(default_factory=lambda: TimeStep(""))
    prompt: tuple[int, ...] = ()
    grammar: ActionGrammar | None = None
    turns: list[Turn] = field(default_factory=list)
    error: str = ""
    duration_s: float = 0.0

    @property
    def is_over(self) -> bool:
        return bool(self.error) or self.step.is_last


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
    ) -> None:
        """Prepare an empty pool of environments.

        Args:
            make_env: builds one environment; environments are reused from episode to episode.
            make_agent: builds the agent for an environment.
            engine: samples the actions.
            worker: index written into trajectories.
            max_parallel: most episodes played at once.
            follower: rebuilds adapters that are published as seeds; None where whole ones alone are loaded.
            reward: pays in the environment's place; None leaves its rewards.
        """
        self._make_env = make_env
        self._engine = engine
        self._worker = worker
        self._max_parallel = max_parallel
        self._follower = follower
        self._reward = reward
        self._pool: list[Environment] = []
        self._agent = make_agent(self._environment(0))
        self._prompts: dict[str, tuple[int, ...]] = {}
        self._members: dict[Perturbation, str] = {}

    def collect(self, tasks: Sequence[EpisodeTask], sampling: SamplingParams) -> list[Trajectory]:
        """Play every task to its end under the engine's present adapter.

        An environment that raises ends its own episode, whose trajectory then carries the error; the others go on.
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
        if self._reward is None:
            return list(trajectories)
        return [one if one.error else pay(one, self._reward) for one in trajectories]

    def load_adapter(self, update: AdapterUpdate) -> None:
        """Act under another adapter from the next episode on.

        Raises:
            AdapterMismatch: it does not belong to the engine's model.
        """
        if update.digest != self._engine.adapter_digest or update.version != self._engine.adapter_version:
            self._engine.load_adapter(update)

    def follow(
        self, published: Sequence[Reference], fetch: Callable[[Reference], AdapterUpdate | bytes]
    ) -> FollowerCounts:
        """Act from the next episode on under the adapter that was published last.

        Args:
            published: references to a whole adapter and to the deltas after it.
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
        """Close every environment of the pool."""
        for env in self._pool:
            env.close()
        self._pool.clear()

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
        episodes = [_Episode(task, self._environment(i), time.monotonic()) for i, task in enumerate(tasks)]
        for episode in episodes:
            self._guard(episode, lambda e=episode: self._observe(e, e.env.reset(e.task.seed)))
        while running := [episode for episode in episodes if not episode.is_over]:
            requests = [self._request(episode, sampling) for episode in running]
            for episode, request, completion in zip(running, requests, self._engine.generate(requests), strict=True):
                self._guard(episode, lambda e=episode, r=request, c=completion: self._act(e, r, c))
        return [self._trajectory(episode) for episode in episodes]

    def _guard(self, episode: _Episode, act: Callable[[], None]) -> None:
        """Run code of the environment; whatever it raises fails this episode alone, and its object is not reused."""
        try:
            act()
        except Exception as error:
            episode.error = f"{type(error).__name__}: {error}".splitlines()[0]
            self._replace(episode.env)
        if episode.is_over:
            episode.duration_s = time.monotonic() - episode.started

    def _replace(self, broken: Environment) -> None:
        with contextlib.suppress(Exception):
            broken.close()
        self._pool = [self._make_env() if env is broken else env for env in self._pool]

    def _observe(self, episode: _Episode, step: TimeStep) -> None:
        episode.step = step
        if not step.terminated:
            episode.grammar = episode.env.action_grammar()
            episode.prompt = self._prompt(step.observation)

    def _act(self, episode: _Episode, request: GenerateRequest, completion: Completion) -> None:
        assert episode.grammar is not None
        observation, prompt = episode.step.observation, request.prompt_token_ids
        if completion.stop_reason != "grammar":
            episode.turns.append(Turn(observation, prompt, request.grammar, completion, 0.0))
            episode.error = _why_unusable(completion)
            return
        step = episode.env.step(episode.grammar.parse(completion.text))
        if not math.isfinite(step.reward):
            raise ValueError(f"a reward must be a finite number: {step.reward}")
        episode.turns.append(Turn(observation, prompt, request.grammar, completion, step.reward))
        self._observe(episode, step)

    def _request(self, episode: _Episode, sampling: SamplingParams) -> GenerateRequest:
        assert episode.grammar is not None
        task = episode.task
        member = self._digest(task)
        stream = task.episode_id if member is None else task.group
        seed = (task.seed << 80) + (stream << 32) + len(episode.turns)
        return GenerateRequest(episode.prompt, episode.grammar.spec, sampling, seed, adapter=member)

    def _digest(self, task: EpisodeTask) -> str | None:
        """Digest of the perturbed adapter a task is played under; None for the engine's current one."""
        return None if task.perturbation is None else self._members[task.perturbation]

    def _prompt(self, observation: str) -> tuple[int, ...]:
        prompt = self._prompts.get(observation)
        if prompt is None:
            if len(self._prompts) > 10_000:
                self._prompts.clear()
            prompt = self._prompts[observation] = self._engine.encode(self._agent.messages(observation))
        return prompt

    def _environment(self, index: int) -> Environment:
        while len(self._pool) <= index:
            self._pool.append(self._make_env())
        return self._pool[index]

    def _trajectory(self, episode: _Episode) -> Trajectory:
        is_cut = episode.step.truncated and not episode.step.terminated and not episode.error
        return Trajectory(
            task=episode.task,
            turns=tuple(episode.turns),
            terminated=episode.step.terminated,
            truncated=episode.step.truncated,
            success=episode.step.success,
            adapter_version=self._engine.adapter_version,
            adapter_digest=self._digest(episode.task) or self._engine.adapter_digest,
            worker=self._worker,
            duration_s=episode.duration_s,
            bootstrap=Bootstrap(episode.prompt, episode.grammar.spec) if is_cut and episode.grammar else None,
            error=episode.error,
        )


def _why_unusable(completion: Completion) -> str:
    """One line on a completion that is no action."""
    if completion.stop_reason == "error":
        return completion.error
    if completion.stop_reason == "length":
        return f"the action was cut after {len(completion.token_ids)} tokens; raise rollout.max_tokens"
    return f"the action was not finished: {completion.stop_reason}"
