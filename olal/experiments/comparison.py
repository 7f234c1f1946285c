"""Putting policies side by side: final, starting, random and, where the task is small enough, the exact optimum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from olal.config import RunConfig
from olal.envs import Environment
from olal.envs.tabular import solve_optimum, uniform_value
from olal.envs.tabular_models import tabular_model
from olal.experiments.progress import EvaluationRow, RunSummary
from olal.metrics import mean_interval
from olal.rollout import EpisodeOutcome, play_randomly
from olal.types import EpisodeTask


def compare(
    run_dir: Path,
    config: RunConfig,
    env: Environment,
    played: Mapping[str, Sequence[EpisodeOutcome]],
    tasks: Sequence[EpisodeTask],
) -> RunSummary:
    """Score what was played against the random policy and the optimum.

    Args:
        run_dir: of the run.
        config: its settings.
        env: an environment of the run, to play randomly and to solve.
        played: outcomes by policy name; "final" is the one that counts.
        tasks: the episodes that were played.

    Returns:
        A summary without timings.
    """
    model = tabular_model(env)
    random_outcomes = play_randomly(env, tasks, step_s=config.rollout.step_timeout_s)
    random_return = uniform_value(model) if model else _mean(random_outcomes)
    optimum = solve_optimum(model) if model else None

    def score(value: float) -> float | None:
        if optimum is None or not math.isfinite(value) or optimum - random_return < 1e-12:
            return None
        return (value - random_return) / (optimum - random_return)

    rows = [_row(name, outcomes, config, score(_mean(outcomes))) for name, outcomes in played.items()]
    rows.append(
        _row(
            "random", random_outcomes, config, None if optimum is None else 0.0, exact=random_return if model else None
        )
    )
    if optimum is not None:
        rows.append(EvaluationRow("optimum", optimum, None, None, None, None, None, 1.0, exact=True))
    final = next((row.score for row in rows if row.policy == "final"), None)
    return RunSummary(run_dir, tuple(rows), optimum, final)


def _row(
    policy: str,
    outcomes: Sequence[EpisodeOutcome],
    config: RunConfig,
    score: float | None,
    *,
    exact: float | None = None,
) -> EvaluationRow:
    """One line of the table from episodes; `exact` replaces their mean where it is known."""
    good = [outcome for outcome in outcomes if not outcome.error]
    if not good:
        return EvaluationRow(policy, math.nan, None, None, None, None, None, None)
    interval = mean_interval([outcome.episode_return for outcome in good], confidence=config.evaluation.confidence)
    solved = [outcome.success for outcome in good if outcome.success is not None]
    turns = sum(outcome.num_turns for outcome in good)
    all_turns = sum(outcome.num_turns for outcome in outcomes)
    return EvaluationRow(
        policy=policy,
        mean_return=interval.mean if exact is None else exact,
        ci_low=interval.low if exact is None else None,
        ci_high=interval.high if exact is None else None,
        success_rate=sum(solved) / len(solved) if solved else None,
        mean_length=turns / len(good) if good else None,
        invalid_rate=sum(outcome.num_invalid for outcome in outcomes) / all_turns if all_turns else None,
        score=score,
        exact=exact is not None,
    )


def _mean(outcomes: Sequence[EpisodeOutcome]) -> float:
    good = [outcome.episode_return for outcome in outcomes if not outcome.error]
    return sum(good) / len(good) if good else math.nan
