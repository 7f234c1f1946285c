"""Training: what a synchronous and an asynchronous run share: books, checkpoints, recovery, the state they tell."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ray

from olal.actors import LearnerReport, ReplayStatus
from olal.config import RunConfig
from olal.errors import OlalError, ProcessLost, RunFailed
from olal.experiments.control import RunControl
from olal.experiments.crew import Crew
from olal.experiments.incidents import Incidents
from olal.experiments.interrupt import Interrupt
from olal.experiments.progress import Progress
from olal.experiments.remote import fetch
from olal.experiments.run_directory import RunDirectory
from olal.experiments.run_metrics import RunMetrics
from olal.experiments.stall_watch import StallWatch
from olal.experiments.update_log import Counters, UpdateLog

_LOUD_SHARE, _SEAL_S = 0.1, 20.0
_NOTE_S = 1.0
"""Seconds between two looks at every worker for the meters, which cost more than all else a turn does."""


class Training(ABC):
    """Runs updates until the last one or an interrupt. A subclass says how episodes and updates are interleaved."""

    waits_for_all_workers = True
    """Whether training begins only when every worker stands."""

    def __init__(
        self,
        config: RunConfig,
        crew: Crew,
        run: RunDirectory,
        progress: Progress,
        interrupt: Interrupt,
        incidents: Incidents,
        measured: RunMetrics,
    ) -> None:
        """Prepare; `run` brings learner and buffer to the newest checkpoint first."""
        self.config, self.crew, self.directory = config, crew, run
        self.progress, self.interrupt, self.incidents, self.measured = progress, interrupt, incidents, measured
        self.counters = Counters()
        self.log = UpdateLog(run, progress)
        self.control = RunControl(run.path)
        self.watch = StallWatch(config.cluster.stall_timeout_s)
        self.first_update_at: float | None = None
        self._saved_version = -1
        self._failures: deque[str] = deque(
            maxlen=max(16, 2 * max(stage.learner.episodes_per_update for stage in config.plan))
        )
        self._sealing: list[Any] = []
        self._replay_pid = 0
        self._next_note = 0.0

    @abstractmethod
    def loop(self, present: LearnerReport) -> LearnerReport:
        """Train until the last update or an interrupt; returns the last report.

        Raises:
            ProcessLost: the learner died; the loop is entered again after the recovery.
        """

    @abstractmethod
    def started_again(self, present: LearnerReport) -> None:
        """Go on from `self.counters`: whatever was under way does not count."""

    def run(self) -> LearnerReport:
        """Train to the last update; its adapter is checkpointed however this ends well.

        Raises:
            RunFailed: episodes fail and fail, or a process dies again and again.
        """
        present = self._continue(self.crew.restore())
        while True:
            try:
                present = self.loop(present)
                if self._saved_version != present.version:
                    self.save(present)
                break
            except ProcessLost as error:
                present = self._continue(self.crew.recover(error))
                self.progress.status(f"the learner goes on from version {present.version}")
        self.finish(present)
        self.log.close()
        return present

    def finish(self, present: LearnerReport) -> None:
        """Close the books after the last update."""
        if not self.interrupt.is_requested:  # whoever interrupts does not want to wait
            self._seal(timeout_s=_SEAL_S)
            self._seal(timeout_s=_SEAL_S)  # what was full only at the end
        self.tell_state(present, "interrupted" if self.interrupt.is_requested else "finished", at_once=True)

    def _continue(self, counters: Mapping[str, Any]) -> LearnerReport:
        self.counters = Counters(**counters)
        present = self.crew.current()
        self.log.forget_after(present.version)
        self.measured.replay(self.crew.replay_status())  # where counting starts: the books are older than this process
        self.started_again(present)
        self._saved_version = present.version if counters else -1
        return present

    # ------------------------------------------------------------------ for subclasses

    def save(self, present: LearnerReport) -> None:
        """Write a checkpoint; a disk that cannot take it is told, and the run goes on.

        Raises:
            ProcessLost: the learner died.
        """
        started = time.monotonic()
        trouble = self.crew.save(present.version, asdict(self.counters))
        if trouble:
            self.incidents.alarm(
                "checkpoint_failed", f"version {present.version} was not saved, the last checkpoint stays: {trouble}"
            )
            return
        self._saved_version = present.version
        self.measured.checkpointed(time.monotonic() - started)
        self._seal(timeout_s=0)

    def _seal(self, timeout_s: float) -> None:
        """Let full segments of episodes become Parquet, a batch of them at a time."""
        if self._sealing:
            done, self._sealing = ray.wait(self._sealing, num_returns=len(self._sealing), timeout=timeout_s)
            try:
                fetch(done)
            except OlalError as error:
                self.incidents.alarm_once("segments_not_sealed", f"episodes stay as JSON lines: {error}")
        if not self._sealing and self._saved_version >= 0:
            self._sealing = self.crew.seal_segments(self._saved_version)
            if timeout_s and self._sealing:
                ray.wait(self._sealing, num_returns=len(self._sealing), timeout=timeout_s)

    def note_update(
        self, present: LearnerReport, replay: ReplayStatus, duration_s: float, extra: Mapping[str, float]
    ) -> None:
        """Write the row of an update and tell the meters.

        Args:
            present: the update.
            replay: the buffer before it.
            duration_s: since the last one.
            extra: further numbers by name.
        """
        self.counters.elapsed_s += duration_s
        self.first_update_at = self.first_update_at or time.monotonic()
        self.watch.progress()
        row = self.log.write(present, self.counters, replay, duration_s, extra)
        if self.log.trouble:
            self.incidents.alarm_once("metrics_not_written", self.log.trouble)
        self.incidents.retry()
        self.measured.replay(replay)
        self.measured.updated(row)

    def note_workers(self, present: LearnerReport) -> None:
        """Tell the meters how the workers stand, at most once a second."""
        now = time.monotonic()
        if now < self._next_note:
            return
        self._next_note = now + _NOTE_S
        workers = [worker for worker in self.crew.pool.workers if worker.state == "ready"]
        self.measured.workers(
            alive=len(workers),
            in_flight=sum(len(worker.tasks) for worker in workers),
            stale=sum(worker.is_stale for worker in workers),
            lags={
                worker.index: present.version - worker.report.proof.version
                for worker in workers
                if worker.report is not None
            },
        )

    def save_if_due(self, present: LearnerReport) -> None:
        """Write a checkpoint every `training.checkpoint_every` updates."""
        if present.version % self.config.training.checkpoint_every == 0 and self._saved_version != present.version:
            self.save(present)

    def give_up(self, ids: Sequence[int]) -> None:
        """Settle episodes of which one worker's process died after the other.

        Raises:
            RunFailed: it was so with all of the last episodes.
        """
        self.crew.give_up(ids, "killed_workers")
        line = f"episodes {list(ids)} were given up: workers died of them, one after the other"
        self.incidents.alarm("killed_workers", line)
        self.count_failures(["workers died of it, one after the other"] * len(ids))

    def count_failures(self, errors: Sequence[str]) -> None:
        """Count episodes that failed through the environment: a few are told, too many end the run.

        Args:
            errors: one for each episode that ended; empty where it did not fail.

        Raises:
            RunFailed: all of the last ones did.
        """
        self.counters.failed_episodes += sum(map(bool, errors))
        self._failures.extend(errors)
        failed = [error for error in self._failures if error]
        total = len(self._failures)
        if total < (self._failures.maxlen or 0) or len(failed) < _LOUD_SHARE * total:
            return
        if len(failed) == total:
            raise RunFailed(
                f"each of the last {total} episodes failed; mend the environment and go on with "
                f"`olal resume {self.directory.path}`: {failed[-1]}"
            )
        self.incidents.alarm_once("episodes_fail", f"more than one in ten episodes fails: {failed[-1]}")

    def arrange_workers(self) -> None:
        """Carry out `olal scale`, and replace workers that left."""
        self.crew.pool.tidy()
        wanted = self.control.wanted_workers()
        if wanted is not None and wanted != self.crew.pool.size:
            self.progress.status(f"from {self.crew.pool.size} to {wanted} rollout workers")
            self.crew.pool.resize(wanted)

    def note_replay(self, status: ReplayStatus) -> None:
        """Take note of a restart of the buffer, or of a disk it cannot write to."""
        if self._replay_pid and status.pid != self._replay_pid:
            self.incidents.restarted("replay", "replay", ProcessLost("its process is another one"))
        self._replay_pid = status.pid
        if status.trouble:
            self.incidents.alarm_once("episodes_not_written", status.trouble)

    def tell_state(self, present: LearnerReport, state: str, *, at_once: bool = False) -> None:
        """Write status.json, at most once a second."""
        self.control.report(lambda: self._state(present, state), at_once=at_once)

    def _state(self, present: LearnerReport, state: str) -> dict[str, Any]:
        replay = self.crew.replay_status()
        self.note_replay(replay)
        now = time.monotonic()
        return {
            "state": state,
            "mode": self.config.mode,
            "version": present.version,
            "updates": self.config.num_updates,
            "handed_out": self.counters.next_episode,
            "failed_episodes": self.counters.failed_episodes,
            "elapsed_s": self.counters.elapsed_s,
            "ledger": {**asdict(replay.ledger), "balanced": replay.ledger.is_balanced},
            "replay": {"episodes": replay.episodes, "capacity": replay.capacity, "trouble": replay.trouble},
            "restarts": dict(self.incidents.restarts),
            "pids": {"learner": present.pid, "replay": replay.pid},
            "workers": [
                {
                    "index": worker.index,
                    "state": "stale" if worker.is_stale else worker.state,
                    "since_s": round(now - worker.since, 1),
                    "version": None if worker.report is None else worker.report.proof.version,
                    "in_hand": len(worker.tasks),
                    "restarts": worker.restarts,
                    "pid": None if worker.report is None else worker.report.pid,
                }
                for worker in self.crew.pool.workers
            ],
        }
