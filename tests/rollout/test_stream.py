"""Pinned: an episode that ends is replaced at once; each is played wholly under the adapter it began with, and is the
one a Collector would have played; every task offered comes back once, as a trajectory or as one that was dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from olal.agents import PromptAgent
from olal.envs import make_env
from olal.errors import ConfigError, EngineFailed
from olal.inference.transformers_engine import TransformersEngine
from olal.rollout import AdaptiveConcurrency, Collector, Deadlines, EpisodeStream
from olal.types import AdapterUpdate, EpisodeTask, Perturbation, SamplingParams

Streamed = Callable[..., Any]
Tasks = Callable[..., list[EpisodeTask]]

SAMPLING = SamplingParams(0.8, 16)
FLAT = np.zeros(1, np.float32)


def test_every_task_comes_back_once_and_the_run_ends_early(stream: Streamed, tasks: Tasks) -> None:
    on = stream({seed: 1 + seed % 5 for seed in range(30)})

    on.stream.offer(tasks(*range(30)))
    played = on.stream.run(SAMPLING, for_s=60.0)

    assert sorted(one.task.episode_id for one in played) == list(range(100, 130))
    assert all(len(one.turns) == 1 + one.task.seed % 5 and not one.error for one in played)
    assert on.stream.run(SAMPLING, for_s=60.0) == []
    assert list(on.stream.in_flight) == []


def test_an_episode_that_ends_is_replaced_at_once(stream: Streamed, tasks: Tasks) -> None:
    on = stream({0: 6, 1: 1, 2: 1, 3: 1, 4: 1}, most=2, start=2)

    on.stream.offer(tasks(*range(5)))
    on.stream.run(SAMPLING, for_s=60.0)

    seeds = [sorted(chr(request.prompt_token_ids[1]) for request in batch) for batch in on.engine.batches]
    assert seeds == [["0", "1"], ["0", "2"], ["0", "3"], ["0", "4"], ["0"], ["0"]]
    assert len(on.envs) == 2


def test_a_run_returns_when_its_time_is_up_and_the_next_goes_on(stream: Streamed, tasks: Tasks) -> None:
    on = stream({1: 4})

    on.stream.offer(tasks(1))
    parts = [on.stream.run(SAMPLING, for_s=0.0) for _ in range(30)]

    assert [len(part) for part in parts].count(1) == 1
    [played] = [one for part in parts for one in part]
    assert len(played.turns) == 4


def test_tasks_that_have_not_begun_can_be_revoked(stream: Streamed, tasks: Tasks) -> None:
    on = stream({1: 3, 2: 3, 3: 3}, most=1, start=1)
    on.stream.offer(tasks(1, 2, 3))
    on.stream.run(SAMPLING, for_s=0.0)

    dropped = on.stream.revoke([100, 101, 999])

    assert [task.episode_id for task in dropped] == [101]
    assert [one.task.episode_id for one in on.stream.run(SAMPLING, for_s=60.0)] == [100, 102]


def test_a_drained_stream_ends_what_it_began_and_takes_no_more(stream: Streamed, tasks: Tasks) -> None:
    on = stream({1: 3, 2: 3}, most=1, start=1)
    on.stream.offer(tasks(1, 2))
    on.stream.run(SAMPLING, for_s=0.0)

    assert [task.episode_id for task in on.stream.drain()] == [101]

    assert on.stream.wanted(0.5) == 0
    assert [one.task.episode_id for one in on.stream.run(SAMPLING, for_s=60.0)] == [100]
    with pytest.raises(ConfigError, match="drained"):
        on.stream.offer(tasks(1))


def test_what_is_in_flight_says_where_it_is(stream: Streamed, scripted_engine: Any, tasks: Tasks) -> None:
    on = stream({1: 9, 2: 9}, engine=scripted_engine(width=0), most=1, start=1)
    on.stream.offer(tasks(1, 2))

    for _ in range(3):
        on.stream.run(SAMPLING, for_s=0.0)

    assert [(one.episode_id, one.where) for one in on.stream.in_flight] == [(100, "engine"), (101, "queue")]
    assert all(one.age_s >= one.where_s >= 0 for one in on.stream.in_flight)


def test_wanted_shrinks_by_what_is_offered(stream: Streamed, tasks: Tasks) -> None:
    on = stream(dict.fromkeys(range(4), 1), most=8, start=8)
    before = on.stream.wanted(0.5)

    on.stream.offer(tasks(*range(4)))

    assert before >= 8
    assert on.stream.wanted(0.5) == before - 4


def test_more_is_wanted_where_runs_are_longer(stream: Streamed, tasks: Tasks) -> None:
    wanted: dict[float, int] = {}
    for for_s in (0.5, 4.0):
        on = stream(dict.fromkeys(range(4), 1), most=1, start=1, clock=lambda: 0.0)  # at no time: 4 in a millisecond
        on.stream.offer(tasks(*range(4)))
        on.stream.run(SAMPLING, for_s=for_s)
        wanted[for_s] = on.stream.wanted(for_s)

    assert wanted == {0.5: 1 + 4000, 4.0: 1 + 6 * 4000}


def test_a_short_run_that_ends_a_long_episode_does_not_count_as_a_fast_one(
    stream: Streamed, scripted_engine: Any, tasks: Tasks
) -> None:
    now = [0.0]

    def say(request: Any) -> str:
        now[0] += 0.1
        return "go"

    on = stream({1: 11}, engine=scripted_engine(say), most=1, start=1, clock=lambda: now[0])
    on.stream.offer(tasks(1))
    assert on.stream.run(SAMPLING, for_s=1.0) == []
    assert len(on.stream.run(SAMPLING, for_s=1.0)) == 1

    assert on.stream.wanted(1.0) == 1 + 2  # not one in 0.1 s


def test_an_episode_ends_under_the_adapter_it_began_with(stream: Streamed, scripted_engine: Any, tasks: Tasks) -> None:
    on = stream({1: 3, 2: 2}, engine=scripted_engine(width=1))
    on.stream.offer(tasks(1))
    on.stream.load_adapter(AdapterUpdate(4, "d4", FLAT))
    while len(on.engine.submitted) < 2:
        on.stream.run(SAMPLING, for_s=0.0)
    on.stream.load_adapter(AdapterUpdate(5, "d5", FLAT))
    assert on.engine.unloaded == []

    on.stream.offer(tasks(2))
    old, new = sorted(on.stream.run(SAMPLING, for_s=60.0), key=lambda one: one.adapter_version)

    assert (old.adapter_version, old.adapter_digest, len(old.turns)) == (4, "d4", 3)
    assert (new.adapter_version, new.adapter_digest, len(new.turns)) == (5, "d5", 2)
    assert {request.adapter for request in on.engine.submitted} == {"d4", "d5"}
    assert on.engine.unloaded == ["d4"]


def test_a_new_version_of_the_same_weights_is_told_apart(stream: Streamed, tasks: Tasks) -> None:
    on = stream({1: 1})

    for version in (4, 5):
        on.stream.load_adapter(AdapterUpdate(version, "same", FLAT))
    on.stream.offer(tasks(1))
    [played] = on.stream.run(SAMPLING, for_s=60.0)

    assert (played.adapter_version, played.adapter_digest) == (5, "same")
    assert on.engine.unloaded == []


@dataclass
class Mover:
    """A follower that names the adapter of a perturbation by its seed, and counts how often it was asked."""

    asked: list[int] = field(default_factory=list)

    def member(self, perturbation: Perturbation) -> AdapterUpdate:
        self.asked.append(perturbation.seed)
        return AdapterUpdate(3, f"m{perturbation.seed}", FLAT)


def test_episodes_of_a_population_share_its_members(stream: Streamed) -> None:
    mover, plus, minus = Mover(), Perturbation(1, 0.5), Perturbation(2, 0.5)
    on = stream({5: 2}, follower=mover)

    on.stream.offer([EpisodeTask(i, 5, 9, one) for i, one in enumerate((plus, minus, plus, minus))])
    played = sorted(on.stream.run(SAMPLING, for_s=60.0), key=lambda one: one.task.episode_id)

    assert [one.adapter_digest for one in played] == ["m1", "m2", "m1", "m2"]
    assert mover.asked == [1, 2]
    assert sorted(on.engine.unloaded) == ["m1", "m2"]
    assert len({request.seed for request in on.engine.submitted}) == 2  # one a turn, whatever the member


def test_an_episode_that_the_engine_keeps_too_long_is_cancelled(
    stream: Streamed, scripted_engine: Any, tasks: Tasks
) -> None:
    engine = scripted_engine(width=0)
    on = stream({1: 9}, engine=engine, limits=Deadlines(episode_s=0.05), clock=time.monotonic)
    on.stream.offer(tasks(1))

    [late] = on.stream.run(SAMPLING, for_s=60.0)

    assert (late.failure, late.reason) == ("data", "episode_timeout")
    assert engine.cancelled == [1]
    assert on.stream.num_abandoned == 0


def test_an_engine_that_dies_ends_the_stream(stream: Streamed, scripted_engine: Any, tasks: Tasks) -> None:
    on = stream({1: 1, 2: 50}, engine=scripted_engine(dies_at=20), most=4)
    on.stream.offer(tasks(1, 2))

    finished = on.stream.run(SAMPLING, for_s=60.0)

    assert [one.task.seed for one in finished] == [1]
    with pytest.raises(EngineFailed, match=r"OSError.*device is gone"):
        on.stream.run(SAMPLING, for_s=60.0)


def test_times_add_up(stream: Streamed, tasks: Tasks) -> None:
    on = stream({1: 5})
    on.stream.offer(tasks(1))

    on.stream.run(SAMPLING, for_s=60.0)

    assert 0 < on.stream.engine_s + on.stream.env_wait_s <= on.stream.busy_s
    assert on.stream.idle_s >= 0


def test_episodes_are_those_that_a_collector_plays(tiny_engine: Any, random_flat: Any) -> None:
    tasks = [EpisodeTask(i, 50 + i) for i in range(24)]
    update = AdapterUpdate(6, tiny_engine.bank.layout.digest(flat := random_flat(tiny_engine, seed=4)), flat)
    make = lambda: make_env("gridworld", {"max_moves": 2, "max_turns": 6})  # noqa: E731
    agent = lambda env: PromptAgent(env.instructions)  # noqa: E731
    collector = Collector(make, agent, TransformersEngine(tiny_engine))
    collector.load_adapter(update)
    expected = collector.collect(tasks, SAMPLING)

    limit = AdaptiveConcurrency(7, start=3)
    streamed = EpisodeStream(make, agent, TransformersEngine(tiny_engine, max_batch=5), concurrency=limit)
    streamed.load_adapter(update)
    streamed.offer(tasks)
    played = sorted(streamed.run(SAMPLING, for_s=60.0), key=lambda one: one.task.episode_id)

    assert [one.adapter_digest for one in played] == [update.digest] * 24
    for one, other in zip(played, expected, strict=True):
        assert [turn.completion.token_ids for turn in one.turns] == [turn.completion.token_ids for turn in other.turns]
        for turn, same in zip(one.turns, other.turns, strict=True):
            assert turn.completion.logprobs == pytest.approx(same.completion.logprobs, abs=1e-4)
            assert (turn.prompt_token_ids, turn.reward) == (same.prompt_token_ids, same.reward)
