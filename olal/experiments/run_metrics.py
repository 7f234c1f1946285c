"""RunMetrics: what happens in a run, told to a meter in the terms of the metric registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from olal.metrics import Meter, Metric, registry
from olal.types import DraftStatistics

if TYPE_CHECKING:
    from olal.actors import ReplayStatus, RolloutReport
    from olal.experiments.progress import UpdateRow
    from olal.rollout import EpisodeOutcome

_BY_EXTRA = {
    "published_bytes": registry.ADAPTER_BYTES,
    "entropy": registry.ENTROPY,
    "kl": registry.KL,
    "max_logprob_gap": registry.LOGPROB_GAP,
    "log_legal_mass": registry.LOG_LEGAL_MASS,
}


class RunMetrics:
    """The training loop says what happened; this does the counting.

        metrics.workers(alive=2, in_flight=64)      # whenever one of them changes
        metrics.played(reports)                     # reports of workers as they come
        metrics.replay(status)                      # now and then
        metrics.updated(row)                        # after every update
        metrics.checkpointed(seconds)
        metrics.restarted("rollout")                # an actor died and was started anew
        metrics.alarmed("stall")                    # something else that an operator must know

    Seconds of idleness are what is left of the wall time since it was made: a worker is busy while it plays or loads
    an adapter, the learner while it makes an update.
    """

    def __init__(self, meter: Meter, run: str, env: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Make the run's counters known, at 0.

        Args:
            meter: takes the measurements.
            run: name of the run.
            env: id of its environment.
            clock: seconds from any fixed time.
        """
        self._meter, self._clock = meter, clock
        self._labels = {"run": run, "env": env}
        self._alive = 0
        self._seen_at = clock()
        self._learner_idle_s, self._rollout_idle_s = _Rest(), _Rest()
        self._totals: dict[str, Mapping[str, int]] = {}
        self._mismatches = 0.0
        for metric in registry.METRICS.values():
            if metric.kind == "counter":
                self._announce(metric)

    def workers(self, alive: int, in_flight: int, *, stale: int = 0, lags: Mapping[int, int] | None = None) -> None:
        """Take note of how the rollout workers stand.

        Args:
            alive: workers that answer.
            in_flight: episodes handed out and not back yet.
            stale: of those alive, workers that have not shown that they act under a known adapter.
            lags: versions that a worker's adapter lies behind the learner's, by the worker's index.
        """
        self._pass_time()
        self._alive = alive
        self._set(registry.ROLLOUTS_ALIVE, alive)
        self._set(registry.STALE_WORKERS, stale)
        self._set(registry.INFLIGHT_EPISODES, in_flight)
        for worker, lag in (lags or {}).items():
            self._set(registry.ROLLOUT_LAG, lag, worker=str(worker))

    def played(self, reports: Sequence[RolloutReport]) -> None:
        """Take note of the episodes that workers have played."""
        for report in reports:
            self._rollout_idle_s.spend(report.duration_s + report.sync_s)
            if report.sync_s > 0:
                self._meter.observe(registry.WEIGHT_SYNC_SECONDS, report.sync_s, self._labels)
        outcomes = [outcome for report in reports for outcome in report.outcomes]
        for outcome in outcomes:
            self._count(registry.EPISODES, 1, outcome=_ending(outcome))
            self._meter.observe(registry.EPISODE_SECONDS, outcome.duration_s, self._labels)
            if outcome.error:
                self._count(registry.EPISODE_FAILURES, 1, reason=outcome.reason)
        drafts = DraftStatistics.total(outcome.drafts for outcome in outcomes)
        self._count(registry.ENV_STEPS, sum(outcome.num_turns for outcome in outcomes))
        self._count(registry.TOKENS, sum(outcome.num_tokens for outcome in outcomes))
        self._count(registry.FORCED_TOKENS, sum(outcome.num_forced for outcome in outcomes))
        self._count(registry.MODEL_PASSES, sum(outcome.num_passes for outcome in outcomes))
        self._count(registry.CUT_ACTIONS, sum(outcome.num_invalid for outcome in outcomes))
        self._count(registry.DRAFTS_PROPOSED, sum(drafts.proposed))
        self._count(registry.DRAFTS_ACCEPTED, sum(drafts.accepted))

    def replay(self, status: ReplayStatus) -> None:
        """Take note of the replay buffer's fill and of its books.

        The books may be older than this process: what they say first is where counting starts.
        """
        ledger = status.ledger
        self._set(registry.REPLAY_EPISODES, status.episodes)
        self._set(registry.REPLAY_CAPACITY, status.capacity)
        self._set(registry.REPLAY_BYTES, status.num_bytes)
        self._count_grown(registry.REFUSED_DELIVERIES, {"duplicate": ledger.duplicates, "refused": ledger.refused})
        self._count_grown(registry.DROPPED_EPISODES, ledger.dropped)

    def updated(self, row: UpdateRow) -> None:
        """Take note of one learner update."""
        self._pass_time()
        self._learner_idle_s.spend(row.learner_step_s)
        self._count(registry.LEARNER_IDLE_SECONDS, self._learner_idle_s.take())
        self._count(registry.ROLLOUT_IDLE_SECONDS, self._rollout_idle_s.take())
        self._meter.observe(registry.LEARNER_STEP_SECONDS, row.learner_step_s, self._labels)
        self._set(registry.POLICY_VERSION, row.version)
        self._set(registry.EPISODE_RETURN, row.mean_return)
        self._set(registry.REPLAY_STALENESS, row.staleness)
        for name, value in row.extra.items():
            if name in _BY_EXTRA:
                self._set(_BY_EXTRA[name], value)
        mismatches = row.extra.get("adapter_mismatches", 0.0)  # of the present workers, since each began
        self._count(registry.ADAPTER_MISMATCHES, max(mismatches - self._mismatches, 0.0))
        self._mismatches = mismatches
        for alarm in row.alarms:
            self.alarmed(alarm)

    def alarmed(self, alarm: str) -> None:
        """Take note of something that looks wrong, by its name; the alarms of updates are counted with them."""
        self._count(registry.ALARMS, 1, alarm=alarm)

    def checkpointed(self, seconds: float) -> None:
        """Take note of a checkpoint and the time it took."""
        self._meter.observe(registry.CHECKPOINT_SECONDS, seconds, self._labels)

    def restarted(self, role: str) -> None:
        """Take note of an actor that died and was started anew: "rollout", "replay" or "learner"."""
        self._count(registry.ACTOR_RESTARTS, 1, role=role)

    def _pass_time(self) -> None:
        now = self._clock()
        passed, self._seen_at = now - self._seen_at, now
        self._learner_idle_s.earn(passed)
        self._rollout_idle_s.earn(passed * self._alive)

    def _announce(self, metric: Metric) -> None:
        """Make a counter known at 0, under every value of its labels that is known beforehand."""
        own = [label for label in metric.labels if label.name not in self._labels]
        for values in product(*(label.values for label in own)):
            self._count(metric, 0, **{label.name: value for label, value in zip(own, values, strict=True)})

    def _set(self, metric: Metric, value: float, **labels: str) -> None:
        self._meter.set(metric, value, self._labels | labels)

    def _count(self, metric: Metric, amount: float, **labels: str) -> None:
        self._meter.count(metric, amount, self._labels | labels)

    def _count_grown(self, metric: Metric, totals: Mapping[str, int]) -> None:
        """Count, by reason, what totals have grown by since they were last told; a rewound one has grown by nothing."""
        known = self._totals.get(metric.name, totals)
        self._totals[metric.name] = dict(totals)
        for reason, total in totals.items():
            self._count(metric, max(total - known.get(reason, 0), 0), reason=reason)


class _Rest:
    """Time that is left over: earned by the clock, spent on work that may be reported late."""

    def __init__(self) -> None:
        self._left_s = 0.0

    def earn(self, seconds: float) -> None:
        self._left_s += seconds

    def spend(self, seconds: float) -> None:
        self._left_s -= seconds

    def take(self) -> float:
        """What is left now; a debt stays."""
        taken = max(self._left_s, 0.0)
        self._left_s -= taken
        return taken


def _ending(outcome: EpisodeOutcome) -> str:
    if outcome.error:
        return "failed"
    if outcome.success is None:
        return "unrated"
    return "solved" if outcome.success else "unsolved"
