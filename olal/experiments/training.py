"""The synchronous training loop: play under one version, learn, publish the next. Same seed, same run, bit for bit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from olal.actors import LearnerReport, ReplayStatus, RolloutReport
from olal.config import RunConfig, StageConfig
from olal.errors import RunFailed
from olal.experiments.crew import Crew
from olal.experiments.given_episodes import GivenEpisodes
from olal.experiments.interrupt import Interrupt
from olal.experiments.progress import Progress, UpdateRow
from olal.experiments.run_directory import RunDirectory
from olal.experiments.run_metrics import RunMetrics
from olal.experiments.seeds import population_tasks, training_tasks
from olal.metrics import JsonlWriter
from olal.rollout import EpisodeOutcome
from olal.types import DraftStatistics, Trajectory

_MOST_FAILED_BATCHES = 3


@dataclass(slots=True)
class Counters:
    """What the driver must remember over a resume.

    Attributes:
        next_episode: number of the next episode to hand out.
        failed_episodes: episodes that ended in an error.
        elapsed_s: seconds of training so far.
    """

    next_episode: int = 0
    failed_episodes: int = 0
    elapsed_s: float = 0.0


class Training:
    """Runs updates until the last one or an interrupt."""

    def __init__(
        self,
        config: RunConfig,
        crew: Crew,
        run: RunDirectory,
        progress: Progress,
        interrupt: Interrupt,
        measured: RunMetrics,
    ) -> None:
        """Start at version 0; call `restore` to go on from a checkpoint."""
        self._config, self._crew, self._run = config, crew, run
        self._progress, self._interrupt, self._measured = progress, interrupt, measured
        self.counters = Counters()
        self._files: dict[str, GivenEpisodes] = {}
        self.first_update_at: float | None = None

    def restore(self, checkpoint: Path) -> None:
        """Go on from a checkpoint."""
        saved: dict[str, Any] = self._crew.restore(checkpoint)
        self.counters = Counters(**saved)

    def run(self) -> LearnerReport:
        """Train to the last update; its adapter is checkpointed however this ends well.

        Raises:
            RunFailed: every episode of several updates in a row failed.
        """
        present = self._crew.current()
        saved_version = -1
        failed_batches = 0
        with JsonlWriter(self._run.metrics_path) as metrics:
            while present.version < self._config.num_updates and not self._interrupt.is_requested:
                started = time.monotonic()
                stage, _ = self._config.stage_at(present.version)
                given = self._given(present.version)
                reports = [] if given else self._play(present, stage)
                failed_batches = self._count_failures(reports, failed_batches)
                replay = self._crew.replay_status()
                present = self._crew.learn(given) if given else self._crew.update(stage.learner.episodes_per_update)
                self.counters.elapsed_s += time.monotonic() - started
                self.first_update_at = self.first_update_at or time.monotonic()
                row = self._row(reports, replay, present, time.monotonic() - started)
                metrics.write({**asdict(row), "adapter_digest": present.digest})
                self._progress.updated(row)
                self._measured.replay(replay)
                self._measured.updated(row)
                if present.version % self._config.training.checkpoint_every == 0:
                    self._save()
                    saved_version = present.version
        if saved_version != present.version:
            self._save()
        return present

    def _given(self, version: int) -> list[Trajectory]:
        """Episodes from a file, where the stage learns from one."""
        stage, start = self._config.stage_at(version)
        path = getattr(stage.learner, "trajectories", None)
        if path is None:
            return []
        if path not in self._files:
            self._files[path] = GivenEpisodes(Path(path), seed=self._config.seed)
        return self._files[path].batch(version - start, stage.learner.episodes_per_update)

    def _play(self, present: LearnerReport, stage: StageConfig) -> list[RolloutReport]:
        count = stage.learner.episodes_per_update
        group_size = getattr(stage.learner, "group_size", 1)
        seed, first = self._config.seed, self.counters.next_episode
        if present.members:
            tasks = population_tasks(seed, first, count, present.members)
        else:
            tasks = training_tasks(seed, first, count, group_size=group_size)
        workers = self._config.rollout.workers
        self._measured.workers(workers, in_flight=count)
        reports = self._crew.rollout(tasks, present.adapter)
        self.counters.next_episode += count
        self._measured.played(reports)
        self._measured.workers(workers, in_flight=0, lags=dict.fromkeys(range(workers), 0))
        return reports

    def _count_failures(self, reports: list[RolloutReport], failed_batches: int) -> int:
        outcomes = [outcome for report in reports for outcome in report.outcomes]
        errors = [outcome.error for outcome in outcomes if outcome.error]
        self.counters.failed_episodes += len(errors)
        if len(errors) < len(outcomes) or not outcomes:
            return 0
        if failed_batches + 1 >= _MOST_FAILED_BATCHES:
            raise RunFailed(
                f"every episode of {_MOST_FAILED_BATCHES} updates in a row failed; mend the environment and go on with "
                f"`olal resume {self._run.path}`: {errors[0]}"
            )
        return failed_batches + 1

    def _save(self) -> None:
        started = time.monotonic()
        self._crew.save(self._run.checkpoints_path.absolute(), asdict(self.counters))
        self._measured.checkpointed(time.monotonic() - started)

    def _row(
        self, reports: list[RolloutReport], replay: ReplayStatus, present: LearnerReport, duration_s: float
    ) -> UpdateRow:
        outcomes = [outcome for report in reports for outcome in report.outcomes if not outcome.error]
        solved = [outcome.success for outcome in outcomes if outcome.success is not None]
        return UpdateRow(
            version=present.version,
            episodes=self.counters.next_episode,
            env_steps_per_s=sum(outcome.num_turns for outcome in outcomes) / duration_s,
            tokens_per_s=sum(outcome.num_tokens for outcome in outcomes) / duration_s,
            mean_return=sum(outcome.episode_return for outcome in outcomes) / max(len(outcomes), 1),
            success_rate=sum(solved) / len(solved) if solved else None,
            replay_episodes=replay.episodes,
            replay_capacity=replay.capacity,
            staleness=present.staleness,
            learner_step_s=present.duration_s,
            elapsed_s=self.counters.elapsed_s,
            failed_episodes=self.counters.failed_episodes,
            extra={**present.metrics, **_decoding(outcomes), **_adapters(reports, present)},
            alarms=present.alarms,
        )


def _adapters(reports: Sequence[RolloutReport], present: LearnerReport) -> dict[str, float]:
    """What the new adapter costs on its way to a worker, and how workers came by theirs since they started."""
    return {
        "published_bytes": float(present.published_bytes),
        "adapter_snapshots": float(sum(report.adapters.snapshots for report in reports)),
        "adapter_mismatches": float(sum(report.adapters.mismatches for report in reports)),
    }


def _decoding(outcomes: Sequence[EpisodeOutcome]) -> dict[str, float]:
    """Model passes per action, and per position of a draft the share of guesses that the model agreed to."""
    drafts = DraftStatistics.total(outcome.drafts for outcome in outcomes)
    actions = sum(outcome.num_turns for outcome in outcomes)
    metrics = {"passes_per_action": sum(outcome.num_passes for outcome in outcomes) / max(actions, 1)}
    for position, (proposed, accepted) in enumerate(zip(drafts.proposed, drafts.accepted, strict=True)):
        metrics[f"draft_acceptance_{position}"] = accepted / proposed if proposed else 0.0
    return metrics
