"""SynchronousTraining: play under one version, learn, publish the next. Same seed, same run, bit for bit.

workers   play batch v ─────────▶ idle          play batch v+1 ...
learner   idle           learn v+1 ──▶ publish  idle
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from olal.actors import LearnerReport
from olal.config import StageConfig
from olal.experiments.given_episodes import GivenEpisodes
from olal.experiments.seeds import population_tasks, training_tasks
from olal.experiments.share_players import Stopped
from olal.experiments.training import Training
from olal.types import EpisodeTask, Trajectory


class SynchronousTraining(Training):
    """The loop that every other one is compared with."""

    _files: dict[str, GivenEpisodes]

    def started_again(self, present: LearnerReport) -> None:
        """Nothing is under way between two updates."""
        self._files = {}

    def loop(self, present: LearnerReport) -> LearnerReport:
        """One update after the other."""
        while present.version < self.config.num_updates and not self.interrupt.is_requested:
            started = time.monotonic()
            self.arrange_workers()
            stage, _ = self.config.stage_at(present.version)
            given = self._given(present.version)
            tasks = [] if given else self._tasks(present, stage)
            try:
                self._play(present, tasks)
            except Stopped:
                self.crew.rewind(present.version, self.counters.next_episode)  # the batch will be played again
                break
            self.counters.next_episode += len(tasks)
            replay = self.crew.replay_status()
            self.note_replay(replay)
            if given:
                present = self.crew.learn(given)
            else:
                ids = [task.episode_id for task in tasks]
                reference = self.crew.begin_update(present.version, len(ids), 0, ids)
                present = self.crew.end_update(reference)
            duration_s = time.monotonic() - started
            self.note_update(present, replay, duration_s, {"learner_idle_share": 1 - present.duration_s / duration_s})
            self.save_if_due(present)
            self.tell_state(present, "running")
        return present

    def _play(self, present: LearnerReport, tasks: Sequence[EpisodeTask]) -> None:
        if not tasks:
            return
        reports = self.crew.rollout(tasks, present.publication, lambda: self._must_stop(present), self.give_up)
        self.measured.played(reports)
        for report in reports:
            self.log.add(report)
            self.count_failures([outcome.error for outcome in report.outcomes])

    def _must_stop(self, present: LearnerReport) -> bool:
        """Asked several times a second while workers play; the moment to look around."""
        self.tell_state(present, "running")
        self.note_workers(present)
        line = self.watch.check(self._who_waits)
        if line:
            self.incidents.alarm("stall", line)
        return self.interrupt.is_requested

    def _who_waits(self) -> str:
        waiting = [
            f"rollout-{worker.index} is {'starting' if worker.state == 'starting' else 'playing'} "
            f"{len(worker.tasks)} episodes since {time.monotonic() - worker.since:.0f} s"
            for worker in self.crew.pool.workers
            if worker.call is not None
        ]
        return f"the learner waits for the batch; {', '.join(waiting) or 'no worker is at work'}"

    def _given(self, version: int) -> list[Trajectory]:
        """Episodes from a file, where the stage learns from one."""
        stage, start = self.config.stage_at(version)
        path = getattr(stage.learner, "trajectories", None)
        if path is None:
            return []
        if path not in self._files:
            self._files[path] = GivenEpisodes(Path(path), seed=self.config.seed)
        return self._files[path].batch(version - start, stage.learner.episodes_per_update)

    def _tasks(self, present: LearnerReport, stage: StageConfig) -> list[EpisodeTask]:
        count = stage.learner.episodes_per_update
        seed, first = self.config.seed, self.counters.next_episode
        if present.members:
            return population_tasks(seed, first, count, present.members)
        return training_tasks(seed, first, count, group_size=getattr(stage.learner, "group_size", 1))
