"""Scores: 0 is the random policy, 1 the exact optimum, and what is known exactly is not sampled."""

from __future__ import annotations

import math

import pytest

from olal.config import load_config
from olal.experiments.build import build_env
from olal.experiments.comparison import compare
from olal.experiments.seeds import evaluation_tasks
from olal.rollout import EpisodeOutcome


def outcomes(*returns: float, invalid: int = 0, error: str = "") -> list[EpisodeOutcome]:
    return [EpisodeOutcome(value, value > 0, 4, 28, invalid, error) for value in returns]


def summarise(tmp_path, played, env_id="gridworld"):
    config = load_config([], {"env.id": env_id})
    return compare(tmp_path, config, build_env(config), played, evaluation_tasks(0, 20))


def test_the_optimum_scores_one_and_the_random_policy_zero(tmp_path):
    summary = summarise(tmp_path, {"final": outcomes(0.91, 0.91), "starting": outcomes(-0.4)})

    rows = {row.policy: row for row in summary.rows}
    assert summary.optimum == pytest.approx(0.91)
    assert summary.score == pytest.approx(1.0)
    assert rows["random"].score == 0.0
    assert rows["random"].exact
    assert rows["starting"].score == pytest.approx((-0.4 + 0.17881) / (0.91 + 0.17881), abs=1e-4)


def test_the_score_is_linear_between_random_and_optimum(tmp_path):
    halfway = (0.91 - 0.1788131) / 2

    summary = summarise(tmp_path, {"final": outcomes(halfway)})

    assert summary.score == pytest.approx(0.5, abs=1e-6)


def test_failed_episodes_count_for_nothing_and_cut_actions_are_counted(tmp_path):
    played = {"final": [*outcomes(1.0, 0.0, invalid=1), *outcomes(99.0, invalid=1, error="cut")]}

    row = next(row for row in summarise(tmp_path, played).rows if row.policy == "final")

    assert row.mean_return == 0.5
    assert row.success_rate == 0.5
    assert row.invalid_rate == pytest.approx(3 / 12)


def test_a_task_too_large_to_solve_has_no_optimum_and_no_score(tmp_path):
    summary = summarise(tmp_path, {"final": outcomes(20.0)}, env_id="gymnasium:CartPole-v1")

    random_row = next(row for row in summary.rows if row.policy == "random")
    assert summary.optimum is None
    assert summary.score is None
    assert not random_row.exact
    assert 5 < random_row.mean_return < 60
    assert math.isfinite(random_row.ci_low)


def test_a_policy_whose_every_episode_failed_is_reported_without_a_crash(tmp_path):
    summary = summarise(tmp_path, {"final": outcomes(1.0, error="RuntimeError: gone")})

    row = next(row for row in summary.rows if row.policy == "final")
    assert math.isnan(row.mean_return)
    assert row.invalid_rate is None
