"""UpdateLog: one row per learner update, for metrics.jsonl and for whoever watches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from olal.actors import LearnerReport, ReplayStatus, RolloutReport
from olal.experiments.progress import Progress, UpdateRow
from olal.experiments.run_directory import RunDirectory
from olal.metrics import JsonlWriter, read_jsonl
from olal.rollout import EpisodeOutcome
from olal.types import DraftStatistics


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


class UpdateLog:
    """Gathers what workers report between two updates and writes one row for each update."""

    def __init__(self, run: RunDirectory, progress: Progress) -> None:
        """Write to a run directory and tell a progress."""
        self._run, self._progress = run, progress
        self._metrics = JsonlWriter(run.metrics_path)
        self._reports: list[RolloutReport] = []
        self._unwritten: list[dict[str, Any]] = []
        self.trouble = ""

    def add(self, report: RolloutReport) -> None:
        """Take note of what a worker did."""
        self._reports.append(report)

    def write(
        self,
        present: LearnerReport,
        counters: Counters,
        replay: ReplayStatus,
        duration_s: float,
        extra: Mapping[str, float],
    ) -> UpdateRow:
        """Write the row of an update.

        Args:
            present: the update.
            counters: after it.
            replay: the buffer before it.
            duration_s: since the last row.
            extra: further numbers by name.
        """
        reports, self._reports = self._reports, []
        outcomes = [outcome for report in reports for outcome in report.outcomes if not outcome.error]
        row = UpdateRow(
            version=present.version,
            episodes=counters.next_episode,
            env_steps_per_s=sum(outcome.num_turns for outcome in outcomes) / duration_s,
            tokens_per_s=sum(outcome.num_tokens for outcome in outcomes) / duration_s,
            mean_return=present.mean_return,
            success_rate=present.success_rate,
            replay_episodes=replay.episodes,
            replay_capacity=replay.capacity,
            staleness=present.staleness,
            learner_step_s=present.duration_s,
            elapsed_s=counters.elapsed_s,
            failed_episodes=counters.failed_episodes,
            extra={**present.metrics, **_decoding(outcomes), **_adapters(reports, present), **extra},
            alarms=present.alarms,
        )
        self._unwritten.append({**asdict(row), "adapter_digest": present.digest})
        self._progress.updated(row)
        self._write()
        return row

    def _write(self) -> None:
        """Write what waits; on a disk that is full it goes on waiting, and `trouble` says so."""
        try:
            while self._unwritten:
                self._metrics.write(self._unwritten[0])
                self._unwritten.pop(0)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"metrics.jsonl cannot be written ({error.strerror}); {len(self._unwritten)} rows wait"

    def forget_after(self, version: int) -> None:
        """Drop the rows of updates that a checkpoint does not contain; they will be made again."""
        path, end = self._run.metrics_path, 0
        rows = read_jsonl(path)  # in the order of their versions, so that cutting the file is enough, and needs no room
        for row, line in zip(rows, path.read_bytes().splitlines(keepends=True), strict=False):
            if row["version"] > version:
                break
            end += len(line)
        os.truncate(path, end)
        self._reports.clear()
        self._unwritten = [row for row in self._unwritten if row["version"] <= version]

    def close(self) -> None:
        """Close the file."""
        self._metrics.close()


def _adapters(reports: Sequence[RolloutReport], present: LearnerReport) -> dict[str, float]:
    """What the new adapter costs on its way to a worker, and how workers came by theirs since they started."""
    last = {report.pid: report.adapters for report in reports}  # in an asynchronous run one worker reports many times
    return {
        "published_bytes": float(present.published_bytes),
        "adapter_snapshots": float(sum(counts.snapshots for counts in last.values())),
        "adapter_mismatches": float(sum(counts.mismatches for counts in last.values())),
    }


def _decoding(outcomes: Sequence[EpisodeOutcome]) -> dict[str, float]:
    """Model passes per action, and per position of a draft the share of guesses that the model agreed to."""
    drafts = DraftStatistics.total(outcome.drafts for outcome in outcomes)
    actions = sum(outcome.num_turns for outcome in outcomes)
    metrics = {"passes_per_action": sum(outcome.num_passes for outcome in outcomes) / max(actions, 1)}
    for position, (proposed, accepted) in enumerate(zip(drafts.proposed, drafts.accepted, strict=True)):
        metrics[f"draft_acceptance_{position}"] = accepted / proposed if proposed else 0.0
    return metrics
