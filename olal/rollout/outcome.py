"""EpisodeOutcome: the few numbers of an episode that an evaluation or a progress line needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from olal.envs.base import Environment
from olal.types import DraftStatistics, EpisodeTask, Trajectory


@dataclass(frozen=True, slots=True)
class EpisodeOutcome:
    """How one episode went.

    Attributes:
        episode_return: undiscounted sum of rewards.
        success: whether the task was solved; None where that has no meaning.
        num_turns: decisions made.
        num_tokens: tokens produced.
        num_invalid: actions cut before they were complete sentences of their grammar.
        error: one line when the episode failed.
        num_passes: model passes its actions waited for.
        drafts: what speculation proposed and how much of it was kept.
        num_forced: of its tokens, those that were the only legal one.
        duration_s: wall time; plays no part in comparisons.
    """

    episode_return: float
    success: bool | None
    num_turns: int
    num_tokens: int
    num_invalid: int
    error: str
    num_passes: int = 0
    drafts: DraftStatistics = field(default_factory=DraftStatistics)
    num_forced: int = 0
    duration_s: float = field(default=0.0, compare=False)


def outcome_of(trajectory: Trajectory) -> EpisodeOutcome:
    """Condense a trajectory."""
    return EpisodeOutcome(
        trajectory.episode_return,
        trajectory.success,
        len(trajectory.turns),
        trajectory.num_tokens,
        sum(turn.completion.stop_reason != "grammar" for turn in trajectory.turns),
        trajectory.error,
        sum(turn.completion.num_passes for turn in trajectory.turns),
        DraftStatistics.total(turn.completion.drafts for turn in trajectory.turns),
        sum(sum(turn.completion.forced) for turn in trajectory.turns),
        trajectory.duration_s,
    )


def play_randomly(env: Environment, tasks: Sequence[EpisodeTask], *, limit_s: float = 20.0) -> list[EpisodeOutcome]:
    """Play with uniformly random legal actions, stopping early after `limit_s` seconds (at least one episode)."""
    outcomes: list[EpisodeOutcome] = []
    deadline = time.monotonic() + limit_s
    for task in tasks:
        outcomes.append(_play_randomly(env, task))
        if time.monotonic() > deadline:
            break
    return outcomes


def _play_randomly(env: Environment, task: EpisodeTask) -> EpisodeOutcome:
    turns, total = 0, 0.0
    try:
        step = env.reset(task.seed)
        while not step.is_last:
            step = env.step(env.sample_action((task.seed << 16) + turns))
            turns, total = turns + 1, total + step.reward
    except Exception as error:  # whatever an environment raises fails its own episode
        return EpisodeOutcome(total, None, turns, 0, 0, f"{type(error).__name__}: {error}".splitlines()[0])
    return EpisodeOutcome(total, step.success, turns, 0, 0, "")
