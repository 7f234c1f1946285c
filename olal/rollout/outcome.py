"""EpisodeOutcome: the few numbers of an episode that an evaluation or a progress line needs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from olal.envs.base import Environment
from olal.rollout.episode import failure_of
from olal.types import DraftStatistics, EpisodeTask, FailureKind, FailureReason, Trajectory

_LOOK_S = 0.05


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
        duration_s: wall time from reset to end; plays no part in comparisons.
        episode_id: of its task.
        failure: whose fault it was that it failed; empty where it did not.
        reason: what happened then, in one word to count by.
        worker: index of the rollout worker.
        adapter_version: version under which it was played.
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
    episode_id: int = -1
    failure: FailureKind = ""
    reason: FailureReason = ""
    worker: int = 0
    adapter_version: int = 0


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
        trajectory.task.episode_id,
        trajectory.failure,
        trajectory.reason,
        trajectory.worker,
        trajectory.adapter_version,
    )


def play_randomly(
    env: Environment, tasks: Sequence[EpisodeTask], *, limit_s: float = 20.0, step_s: float = math.inf
) -> list[EpisodeOutcome]:
    """Play with uniformly random legal actions, one episode after the other.

    Args:
        env: plays on a thread of its own, which is left behind where the environment hangs.
        tasks: the episodes.
        limit_s: seconds after which no other episode is begun.
        step_s: seconds that one call of the environment may take; beyond that nothing more is played.

    Returns:
        Of the episodes that ended.
    """
    outcomes: list[EpisodeOutcome] = []
    deadline = time.monotonic() + limit_s
    last_call = [time.monotonic()]

    def play() -> None:
        for task in tasks:
            outcomes.append(_play_randomly(env, task, last_call))
            if time.monotonic() > deadline:
                return

    thread = threading.Thread(target=play, name="olal-random-play", daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() - last_call[0] < step_s:
        thread.join(_LOOK_S)
    return list(outcomes)


def _play_randomly(env: Environment, task: EpisodeTask, last_call: list[float]) -> EpisodeOutcome:
    turns, total = 0, 0.0
    try:
        step = env.reset(task.seed)
        while not step.is_last:
            last_call[0] = time.monotonic()
            step = env.step(env.sample_action((task.seed << 16) + turns))
            turns, total = turns + 1, total + step.reward
    except Exception as error:  # whatever an environment raises fails its own episode
        failure = failure_of(error)
        return EpisodeOutcome(
            total,
            None,
            turns,
            0,
            0,
            failure.message,
            episode_id=task.episode_id,
            failure=failure.kind,
            reason=failure.reason,
        )
    return EpisodeOutcome(total, step.success, turns, 0, 0, "", episode_id=task.episode_id)
