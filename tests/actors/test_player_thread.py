"""Pinned: the engine is built and used on one thread; episodes go on while nobody calls, stop where they are told to
within a moment, and are the same ones however often that happens.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from olal.actors.player_thread import PlayerThread
from olal.adapters import AdapterFollower, SeedSpace
from olal.agents import PromptAgent
from olal.envs import make_env
from olal.errors import ConfigError, EngineFailed
from olal.inference.transformers_engine import TransformersEngine
from olal.rollout import AdaptiveConcurrency, Collector, EpisodeStream, RolloutWorker
from olal.types import Completion, EpisodeTask, SamplingParams, TimeStep

SAMPLING = SamplingParams(1.0, 16)
TASKS = [EpisodeTask(number, seed=number) for number in range(12)]


class WatchedEngine(TransformersEngine):
    """Takes note of the threads it is used on, and dies at a step if it is to."""

    dies_at = -1

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.threads, self.num_steps = {threading.current_thread()}, 0

    def step(self) -> list[tuple[int, Completion]]:
        self.threads.add(threading.current_thread())
        self.num_steps += 1
        if self.num_steps == self.dies_at:
            raise OSError("the device is gone")
        return super().step()


class SlowEnv:
    """GridWorld at its own pace."""

    def __init__(self, step_s: float) -> None:
        self._env, self._step_s = make_env("gridworld", {}), step_s

    def step(self, action: Any) -> TimeStep:
        time.sleep(self._step_s)
        return self._env.step(action)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)


@pytest.fixture
def player(make_network) -> Callable[..., PlayerThread]:
    def make(step_s: float = 0.0, most: int = 4, dies_at: int = -1) -> PlayerThread:
        network = make_network()

        def make_worker() -> RolloutWorker:
            engine = WatchedEngine(network)
            engine.dies_at = dies_at
            follower = AdapterFollower(SeedSpace(network.bank.layout, network.bank.initial))
            parts = (lambda: SlowEnv(step_s)), (lambda env: PromptAgent(env.instructions)), engine
            stream = EpisodeStream(*parts, follower=follower, concurrency=AdaptiveConcurrency(most, start=most))
            collector = Collector(*parts, follower=follower)
            worker = RolloutWorker(engine, collector, stream, follower, network.base.vocabulary.size)
            worker.engine = engine
            return worker

        return PlayerThread(make_worker)

    return make


def until(is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_engine_and_model_are_used_on_one_thread_alone(player) -> None:
    on = player()
    on.worker.offer(TASKS)
    played = on.play(SAMPLING, 0.0)
    on.go_on(SAMPLING)
    until(lambda: not on.worker.stream.in_flight)
    played += on.halt()
    on.do(lambda: on.worker.play(TASKS[:2], SAMPLING))

    assert len(played) == len(TASKS)
    [thread] = on.worker.engine.threads
    assert thread is not threading.current_thread()


def test_episodes_end_while_nobody_calls(player) -> None:
    on = player(step_s=0.005)
    on.worker.offer(TASKS[:4])
    assert on.play(SAMPLING, 0.0) == []
    on.go_on(SAMPLING)
    until(lambda: not on.worker.stream.in_flight)

    assert sorted(one.task.episode_id for one in on.halt()) == [0, 1, 2, 3]
    assert on.halt() == []


def test_what_is_halted_again_and_again_is_what_is_played_in_one_go(player) -> None:
    on, played = player(step_s=0.002), []
    on.worker.offer(TASKS)
    until(lambda: not on.worker.stream.in_flight or bool(played.extend(on.play(SAMPLING, 0.003))))

    whole = player()
    expected = whole.do(lambda: whole.worker.play(TASKS, SAMPLING))
    key = lambda one: one.task.episode_id  # noqa: E731
    told = lambda one: [(turn.observation, turn.completion.token_ids, turn.reward) for turn in one.turns]  # noqa: E731
    assert [told(one) for one in sorted(played, key=key)] == [told(one) for one in sorted(expected, key=key)]


def test_a_halt_does_not_wait_for_a_slow_environment(player) -> None:
    on = player(step_s=0.5, most=1)
    on.worker.offer(TASKS[:1])
    on.go_on(SAMPLING)
    until(lambda: on.worker.engine.num_steps > 1)  # it is known as slow from here on
    halted_s = 0.0
    for _ in range(12):
        on.go_on(SAMPLING)
        time.sleep(0.05)
        began = time.monotonic()
        assert on.halt() == []
        halted_s += time.monotonic() - began
    assert halted_s < 1.0
    assert [one.episode_id for one in on.worker.in_flight] == [0]


def test_a_call_that_has_nothing_to_play_takes_a_moment(player) -> None:
    on = player()
    _ = on.worker
    began = time.monotonic()
    assert on.play(SAMPLING, 5.0) == []
    assert 0.05 < time.monotonic() - began < 2.0


def test_an_engine_that_fails_while_nobody_calls_is_told_of_with_the_next_call(player) -> None:
    on = player(step_s=0.005, dies_at=4)
    on.worker.offer(TASKS[:4])
    on.go_on(SAMPLING)
    until(lambda: on.worker.engine.num_steps >= 4)
    with pytest.raises(EngineFailed, match="the device is gone"):
        on.halt()
    with pytest.raises(EngineFailed):
        on.play(SAMPLING, 1.0)


def test_what_building_raises_is_raised_each_time(player) -> None:
    def fail() -> RolloutWorker:
        raise ConfigError("no such model")

    on = PlayerThread(fail)
    for _ in range(2):
        with pytest.raises(ConfigError, match="no such model"):
            _ = on.worker


def test_the_thread_ends_with_its_owner() -> None:
    on = PlayerThread(lambda: None)  # type: ignore[arg-type]
    thread = on.do(threading.current_thread)
    del on
    gc.collect()
    thread.join(10.0)
    assert not thread.is_alive()
