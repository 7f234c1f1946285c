"""AsynchronousTraining: workers play and the learner learns at the same time; neither ever waits for the other's call.

    workers   ──play──play──play──play──play──▶      each takes the newest adapter between two of its episodes
    buffer      episodes in          batches out
    learner   ───learn v+1────learn v+2────learn v+3──▶

How far acting may lie behind learning is bounded twice: no more episodes are started than the next few updates can
use (`admission`), and the buffer drops what is too old when its turn comes.
"""

from __future__ import annotations

import time
from typing import Any

from olal.actors import LearnerReport, ReplayStatus, RolloutReport
from olal.adapters import AdapterProof
from olal.experiments.seeds import training_tasks
from olal.experiments.suspects import Suspects
from olal.experiments.task_source import TaskSource, admission
from olal.experiments.training import Training
from olal.experiments.worker_pool import Answer, Worker, note_refusal
from olal.types import EpisodeTask

_CALL_S, _LONGEST_CALL_S, _CALLS_PER_S = 0.25, 8.0, 64.0
"""Seconds that one call of a worker plays at least and at most, and calls of all together that the driver wants."""
_SILENT_S, _GRACE_S = 5.0, 60.0


class AsynchronousTraining(Training):
    """One driver between workers, buffer and learner."""

    waits_for_all_workers = False
    _source: TaskSource
    _update: Any = None
    _update_began: float = 0.0
    _learner_busy_s: float = 0.0
    _row_began: float = 0.0
    _suspects: Suspects
    _replay: ReplayStatus
    _is_adapter_lost: bool = False

    def started_again(self, present: LearnerReport) -> None:
        """Every episode that is in nobody's books is handed out again, before any new one."""
        self._update, self._learner_busy_s, self._row_began = None, 0.0, time.monotonic()
        self._is_adapter_lost = False
        self._suspects = Suspects()
        self._replay = self.crew.replay_status()
        handed_out = max(self.counters.next_episode, self._replay.next_unknown)
        self._source = TaskSource(self._task, group_size=self._group_size)
        self._source.restart(handed_out, self.crew.open_ids(handed_out))

    def loop(self, present: LearnerReport) -> LearnerReport:
        """Serve workers and learner until the last update."""
        while present.version < self.config.num_updates and not self.interrupt.is_requested:
            present = self.turn(present)
        if self._update is not None:  # the last batch has begun: it is learned before the end
            present = self._end_update(present)
        return present

    def turn(self, present: LearnerReport) -> LearnerReport:
        """One round: begin what can begin, wait for something to end, take note of it."""
        self.arrange_workers()
        self._begin_update(present)
        self._feed(present)
        others = [] if self._update is None else [self._update]
        answers, done = self.crew.pool.wait(others, 0.2)
        for answer in [*answers, *self.crew.pool.restart_silent(self._most_silent_s)]:
            self._take(answer)
        if done:
            present = self._end_update(present)
        if self._is_adapter_lost and self._update is None:  # else the update shows whether the learner lives
            present, self._is_adapter_lost = self.crew.publish_again(present.version), False
        self._look_around(present)
        return present

    def finish(self, present: LearnerReport) -> None:
        """What nobody will learn from any more is settled, so that every episode has ended."""
        if not self.interrupt.is_requested:
            self.crew.give_up(self.crew.open_ids(self._source.next_episode), "run_ended")
        super().finish(present)

    # ------------------------------------------------------------------ the learner

    def _begin_update(self, present: LearnerReport) -> None:
        learner = self.config.stage_at(present.version)[0].learner
        if self._update is None and self._replay.ready >= learner.episodes_per_update:
            self._update = self.crew.begin_update(present.version, learner.episodes_per_update, self._max_staleness)
            self._update_began = time.monotonic()

    def _end_update(self, present: LearnerReport) -> LearnerReport:
        reference, self._update = self._update, None
        report = self.crew.end_update(reference)
        now = time.monotonic()
        self._learner_busy_s += now - self._update_began
        before, self._replay = self._replay, self.crew.replay_status()
        if report.version == present.version:
            return report  # all that was ready had become too old
        self.counters.next_episode = self._source.next_episode
        elapsed_s = now - self._row_began
        self.note_update(report, before, elapsed_s, self._idle_shares(elapsed_s))
        self._row_began, self._learner_busy_s = now, 0.0
        self.save_if_due(report)
        return report

    def _idle_shares(self, elapsed_s: float) -> dict[str, float]:
        workers = [worker.report for worker in self.crew.pool.workers if worker.report is not None]
        called_s = sum(report.duration_s + report.sync_s + report.idle_s for report in workers)
        return {
            "learner_idle_share": max(0.0, 1 - self._learner_busy_s / elapsed_s),
            "rollout_idle_share": sum(report.idle_s for report in workers) / called_s if called_s else 0.0,
            "in_flight": float(self._in_flight),
        }

    # ------------------------------------------------------------------ the workers

    def _feed(self, present: LearnerReport) -> None:
        """Call every worker that has no call under way, with as many tasks as it and the bounds allow."""
        idle, allowed = self.crew.pool.idle(), self._allowed(present)
        for_s = call_s(self.crew.pool.num_ready)
        for place, worker in enumerate(idle):
            share = -(-allowed // (len(idle) - place))
            wanted = min(share, self._group_size if worker.report is None else worker.report.wanted)
            limit = self._suspects.limit(self._source.next_again)
            if limit is not None:
                wanted = min(wanted, 0 if worker.tasks else limit)
            if worker.state != "ready" or self._suspects.are_among(worker.tasks):
                wanted = 0
            tasks = self._source.take(wanted) if wanted else []
            allowed = max(allowed - len(tasks), 0)
            self.crew.pool.call(
                worker,
                "work",
                tasks,
                self.crew.sampling,
                present.publication.to(_proven(worker)),
                self.crew.epoch,
                for_s=for_s,
                anew=worker.must_reload,
            )
            worker.must_reload = False

    def _allowed(self, present: LearnerReport) -> int:
        batch = self.config.stage_at(present.version)[0].learner.episodes_per_update
        in_hand = self._in_flight
        room = self._replay.capacity - self._replay.episodes - in_hand
        return min(
            max(room, 0),
            admission(
                batch=batch, max_staleness=self._max_staleness, buffered=self._replay.episodes, in_flight=in_hand
            ),
        )

    def _take(self, answer: Answer) -> None:
        self._source.put_back(self._survivors(answer))
        if answer.kind == "ready":
            self.watch.progress()
        if not isinstance(answer.result, RolloutReport):
            return
        report: RolloutReport = answer.result
        self._is_adapter_lost |= report.adapter_lost
        self.log.add(report)
        self.measured.played([report])
        self.count_failures([outcome.error for outcome in report.outcomes])
        if report.outcomes:
            self.watch.progress()
        for receipt in report.receipts:
            self._replay = max(self._replay, receipt.status, key=lambda status: status.at_s)
            self._suspects.cleared(receipt.taken)
        note_refusal(self.crew.pool, answer.worker, report)
        if answer.worker.state == "leaving" and not report.holding:
            self._source.put_back(task.episode_id for task in self.crew.pool.dismiss(answer.worker))

    def _survivors(self, answer: Answer) -> list[int]:
        """Lost episodes that are to be played again; one that kills whoever plays it is given up."""
        lost = [task.episode_id for task in answer.lost]
        guilty = self._suspects.died(lost) if answer.kind == "died" else []
        if guilty:
            self.give_up(guilty)
        return [number for number in lost if number not in guilty]

    @property
    def _most_silent_s(self) -> float:
        return call_s(self.crew.pool.num_ready) + self.config.rollout.step_timeout_s + _GRACE_S

    @property
    def _in_flight(self) -> int:
        return sum(len(worker.tasks) for worker in self.crew.pool.workers)

    # ------------------------------------------------------------------ around

    def _look_around(self, present: LearnerReport) -> None:
        self.counters.next_episode = self._source.next_episode
        self.tell_state(present, "running")
        self.note_workers(present)
        line = self.watch.check(lambda: self._who_waits(present))
        if line:
            self.incidents.alarm("stall", line)

    def _who_waits(self, present: LearnerReport) -> str:
        now = time.monotonic()
        batch = self.config.stage_at(present.version)[0].learner.episodes_per_update
        if self._update is not None:
            learner = f"the learner is at its update since {now - self._update_began:.0f} s"
        else:
            learner = f"the learner waits for {max(batch - self._replay.ready, 0)} more episodes"
        return "; ".join([learner, *(_doing(worker, now) for worker in self.crew.pool.workers)])

    def _task(self, number: int) -> EpisodeTask:
        return training_tasks(self.config.seed, number, 1, group_size=self._group_size)[0]

    @property
    def _group_size(self) -> int:
        return getattr(self.config.plan[0].learner, "group_size", 1)

    @property
    def _max_staleness(self) -> int:
        return min(getattr(stage.learner, "max_staleness", 0) for stage in self.config.plan)


def call_s(workers: int) -> float:
    """Seconds that one call of a worker plays: longer where there are many, so that the driver keeps up with all.

    Not too long, as an adapter is taken between two calls.

    >>> call_s(2), call_s(64), call_s(4096)
    (0.25, 1.0, 8.0)
    """
    return min(max(_CALL_S, workers / _CALLS_PER_S), _LONGEST_CALL_S)


def _proven(worker: Worker) -> AdapterProof | None:
    return None if worker.report is None or worker.must_reload or worker.is_stale else worker.report.proof


def _doing(worker: Worker, now: float) -> str:
    name = f"rollout-{worker.index}"
    if worker.state == "starting":
        return f"{name} is starting since {now - worker.since:.0f} s"
    if worker.call is not None and now - worker.since > _SILENT_S:
        return f"{name} has not answered for {now - worker.since:.0f} s, with {len(worker.tasks)} episodes in hand"
    if worker.report is not None and worker.report.in_flight:
        oldest = worker.report.in_flight[0]
        return f"{name} plays episode {oldest.episode_id} since {oldest.age_s:.0f} s, now in the {oldest.where}"
    return f"{name} has nothing to do"
