"""Progress: what a run says about itself while it runs, and the frozen rows it says it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known once the actors stand.

    Attributes:
        run_dir: where the run is written.
        dashboard_url: of Ray; empty where there is none.
        workers: rollout workers.
        updates: learner updates the run will make, those before a resume included.
    """

    run_dir: Path
    dashboard_url: str
    workers: int
    updates: int


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """One learner update.

    Attributes:
        version: policy version after it.
        episodes: episodes played since the run began.
        env_steps_per_s: decisions per second since the last update.
        tokens_per_s: sampled tokens per second since the last update.
        mean_return: of the episodes it learned from.
        success_rate: share of them that solved the task; None where that has no meaning.
        replay_episodes: episodes in the buffer before the learner took its batch.
        replay_capacity: episodes it can hold.
        staleness: mean number of versions between acting and learning.
        learner_step_s: seconds the update took.
        elapsed_s: seconds since the run began.
        failed_episodes: episodes that ended by an error since the run began.
        extra: the learner's own numbers, such as the KL divergence.
        alarms: what looks wrong with the update, one line each, by name.
    """

    version: int
    episodes: int
    env_steps_per_s: float
    tokens_per_s: float
    mean_return: float
    success_rate: float | None
    replay_episodes: int
    replay_capacity: int
    staleness: float
    learner_step_s: float
    elapsed_s: float
    failed_episodes: int
    extra: Mapping[str, float] = field(default_factory=dict)
    alarms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """How one policy did on episodes never trained on.

    Attributes:
        policy: "final", "starting", "random" or "optimum".
        mean_return: undiscounted.
        ci_low: lower end of its confidence interval; None where it is exact.
        ci_high: upper end of it.
        success_rate: share of solved episodes; None where that has no meaning or is not known.
        mean_length: turns of an episode; None where not known.
        invalid_rate: share of actions the environment does not allow; None where not known.
        score: (return - random) / (optimum - random); None where the optimum is not known.
        exact: computed from the environment's model, not from episodes.
    """

    policy: str
    mean_return: float
    ci_low: float | None
    ci_high: float | None
    success_rate: float | None
    mean_length: float | None
    invalid_rate: float | None
    score: float | None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        run_dir: where it is written.
        rows: one per policy, in any order.
        optimum: mean return of the best policy, where the environment is small enough to solve.
        score: of the final policy; None where the optimum is not known.
        training_s: seconds of training; None for an evaluation alone.
        first_update_s: seconds from the launch to the first update; None for an evaluation alone.
        status: "finished", or "interrupted" by the user after a checkpoint.
    """

    run_dir: Path
    rows: tuple[EvaluationRow, ...]
    optimum: float | None
    score: float | None
    training_s: float | None = None
    first_update_s: float | None = None
    status: Literal["finished", "interrupted"] = "finished"


class Progress(Protocol):
    """Who is told about a run.

        progress.status("starting Ray")             # any number of times, at any time
        progress.started(info)
        for each update: progress.updated(row)
        progress.finished(summary)                  # only where nothing failed

    Calls come from one thread, and none of them may block for long.
    """

    def status(self, text: str) -> None:
        """Take note of what is being done, in a few words."""
        ...

    def started(self, info: RunInfo) -> None:
        """Take note that the actors stand and training begins."""
        ...

    def updated(self, row: UpdateRow) -> None:
        """Take note of one learner update."""
        ...

    def finished(self, summary: RunSummary) -> None:
        """Take note of the result."""
        ...
