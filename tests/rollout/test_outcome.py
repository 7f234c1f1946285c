"""Pinned: an outcome counts what its trajectory holds; random play needs no engine and survives what breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from olal.rollout import EpisodeOutcome, outcome_of, play_randomly
from olal.types import Completion, DraftStatistics, EpisodeTask, GrammarSpec, Trajectory, Turn

Tasks = Callable[..., list[EpisodeTask]]


def turn(num_tokens: int, stop_reason: Any, reward: float) -> Turn:
    zeros = (0.0,) * num_tokens
    completion = Completion((1,) * num_tokens, "", zeros, (False,) * num_tokens, zeros, 0, stop_reason, 1)
    return Turn("", (1,), GrammarSpec("{}"), completion, reward)


def test_an_outcome_counts_turns_tokens_and_cut_answers() -> None:
    turns = (turn(3, "grammar", 1.0), turn(4, "length", -0.25), turn(2, "grammar", 0.5))
    trajectory = Trajectory(EpisodeTask(1, 2), turns, True, False, True, 0, "", error="late")

    assert outcome_of(trajectory) == EpisodeOutcome(1.25, True, 3, 9, 1, "late", num_passes=3, episode_id=1)


def test_an_outcome_says_which_episode_it_was_and_how_it_failed() -> None:
    trajectory = Trajectory(
        EpisodeTask(31, 2), (), False, False, None, 5, "", 3, 0.5, error="late", failure="data", reason="env_timeout"
    )

    outcome = outcome_of(trajectory)

    assert (outcome.episode_id, outcome.worker, outcome.adapter_version, outcome.duration_s) == (31, 3, 5, 0.5)
    assert (outcome.failure, outcome.reason) == ("data", "env_timeout")


def test_an_outcome_tells_forced_tokens_and_its_duration_apart_from_the_rest() -> None:
    free, other = turn(2, "grammar", 0.0), turn(3, "grammar", 0.0)
    forced = replace(other, completion=replace(other.completion, forced=(True, False, True)))

    outcome = outcome_of(Trajectory(EpisodeTask(1, 2), (free, forced), True, False, True, 0, "", duration_s=2.5))

    assert (outcome.num_tokens, outcome.num_forced, outcome.duration_s) == (5, 2, 2.5)
    assert outcome == replace(outcome, duration_s=9.0)


def test_an_outcome_adds_up_passes_and_drafts() -> None:
    one, other = turn(3, "grammar", 0.0), turn(2, "grammar", 0.0)
    drafted = replace(one, completion=replace(one.completion, num_passes=4, drafts=DraftStatistics((4, 2), (3, 0))))
    again = replace(other, completion=replace(other.completion, drafts=DraftStatistics((1,), (1,))))

    outcome = outcome_of(Trajectory(EpisodeTask(1, 2), (drafted, again), True, False, True, 0, ""))

    assert (outcome.num_passes, outcome.drafts) == (5, DraftStatistics((5, 2), (4, 0)))


def test_random_play_returns_one_outcome_a_task(scripted_env: Callable[..., Any], tasks: Tasks) -> None:
    env = scripted_env({1: 2, 2: 3}, reward=0.5)

    outcomes = play_randomly(env, tasks(1, 2))

    assert [(one.episode_return, one.num_turns, one.success, one.error) for one in outcomes] == [
        (1.0, 2, True, ""),
        (1.5, 3, True, ""),
    ]
    assert len(set(env.actions)) == 5


def test_random_play_goes_on_after_a_failure(scripted_env: Callable[..., Any], tasks: Tasks) -> None:
    env = scripted_env({1: 2, 2: 2}, fails={1: ("step", 2)})

    failed, fine = play_randomly(env, tasks(1, 2))

    assert failed.error.startswith("RuntimeError: broke in step")
    assert (failed.failure, failed.reason, failed.episode_id) == ("data", "env_raised", 100)
    assert len(failed.error.splitlines()) == 1
    assert (fine.error, fine.num_turns) == ("", 2)


def test_random_play_stops_at_its_time_limit_but_plays_at_least_once(
    scripted_env: Callable[..., Any], tasks: Tasks
) -> None:
    assert len(play_randomly(scripted_env({1: 1}), tasks(1, 1, 1), limit_s=-1.0)) == 1


def test_random_play_ends_where_the_environment_hangs(scripted_env: Callable[..., Any], tasks: Tasks) -> None:
    env, released = scripted_env({1: 1, 2: 1}), threading.Event()
    begin = env.reset
    env.reset = lambda seed: begin(seed) if seed == 1 else released.wait(60)

    outcomes = play_randomly(env, tasks(1, 2), step_s=0.3)
    released.set()

    assert [outcome.episode_id for outcome in outcomes] == [100]
