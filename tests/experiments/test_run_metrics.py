"""What a run tells its meter.

Pinned: counters add up over reports and are known at 0 beforehand; totals are counted by what they grow; idle seconds
are the wall time that no reported work explains.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from olal.experiments.progress import UpdateRow
from olal.experiments.run_metrics import RunMetrics
from olal.metrics import LabelBounds, registry
from olal.replay import Ledger
from olal.rollout import EpisodeOutcome
from olal.types import DraftStatistics

ROW = UpdateRow(1, 8, 0, 0, 0.5, None, 0, 64, staleness=1.5, learner_step_s=2.0, elapsed_s=9, failed_episodes=0)
SOLVED = EpisodeOutcome(1.0, True, 3, 21, 1, "", 4, DraftStatistics((5, 2), (4, 0)), num_forced=15, duration_s=0.5)


def report(*outcomes: EpisodeOutcome, duration_s: float = 0.0, sync_s: float = 0.0) -> SimpleNamespace:
    """What is read of a worker's report."""
    return SimpleNamespace(outcomes=outcomes, duration_s=duration_s, sync_s=sync_s)


class RecordingMeter:
    """Keeps what it is given, by name and by the labels that are not the run's."""

    def __init__(self):
        self.values: dict[tuple[str, ...], float] = {}
        self.observed: dict[str, list[float]] = {}
        self._bounds = LabelBounds()

    def key(self, metric, labels):
        kept = self._bounds.bounded(metric, labels)
        assert (kept.pop("run"), kept.pop("env")) == ("demo", "grid")
        return (metric.name, *kept.values())

    def count(self, metric, amount, labels):
        assert metric.kind == "counter"
        assert amount >= 0
        key = self.key(metric, labels)
        self.values[key] = self.values.get(key, 0.0) + amount

    def set(self, metric, value, labels):
        assert metric.kind == "gauge"
        self.values[self.key(metric, labels)] = value

    def observe(self, metric, value, labels):
        assert metric.kind == "histogram"
        self.observed.setdefault(*self.key(metric, labels), []).append(value)


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def meter():
    return RecordingMeter()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics(meter, clock):
    return RunMetrics(meter, "demo", "grid", clock)


def test_every_counter_is_known_at_zero_from_the_start(metrics, meter):
    counters = {metric.name for metric in registry.METRICS.values() if metric.kind == "counter"}
    assert {name for name, *_ in meter.values} == counters
    assert set(meter.values.values()) == {0.0}
    assert ("olal_alarms_total", "non_finite") in meter.values
    assert ("olal_dropped_episodes_total", "stale") in meter.values


def test_reports_of_several_workers_add_up(metrics, meter):
    outcomes = [
        SOLVED,
        replace(SOLVED, success=False),
        replace(SOLVED, success=None),
        replace(SOLVED, error="KeyError: 7", reason="env_raised"),
        replace(SOLVED, error="the action was cut", reason="action_cut"),
    ]

    metrics.played([report(*outcomes[:2], sync_s=0.25), report(*outcomes[2:])])

    ended = {key[1]: value for key, value in meter.values.items() if key[0] == "olal_episodes_total"}
    assert ended == {"solved": 1, "unsolved": 1, "unrated": 1, "failed": 2}
    assert meter.values["olal_episode_failures_total", "env_raised"] == 1
    assert meter.values["olal_episode_failures_total", "action_cut"] == 1
    counts = {"env_steps": 15, "tokens_generated": 105, "forced_tokens": 75, "model_passes": 20, "cut_actions": 5}
    counts |= {"draft_tokens_proposed": 35, "draft_tokens_accepted": 20}
    assert {name: meter.values[f"olal_{name}_total",] for name in counts} == counts
    assert meter.observed["olal_weight_sync_seconds"] == [0.25]  # the second worker did not ask for an adapter
    assert meter.observed["olal_episode_seconds"] == [0.5] * 5


def test_an_update_sets_what_the_learner_says_of_itself(metrics, meter):
    extra = {"kl": 0.01, "entropy": 0.7, "published_bytes": 80.0, "adapter_mismatches": 2.0, "unheard_of": 1.0}

    metrics.updated(replace(ROW, extra=extra, alarms={"kl_blow_up": "the policy moved"}))
    metrics.updated(replace(ROW, version=2, extra={"adapter_mismatches": 3.0}))

    assert meter.values["olal_policy_version",] == 2
    assert meter.values["olal_replay_staleness_versions",] == 1.5
    assert [meter.values[f"olal_{name}",] for name in ("kl_nats", "entropy_nats", "adapter_bytes")] == [0.01, 0.7, 80.0]
    assert meter.values["olal_adapter_mismatches_total",] == 3
    assert meter.values["olal_alarms_total", "kl_blow_up"] == 1
    assert meter.observed["olal_learner_step_seconds"] == [2.0, 2.0]


def test_drops_are_counted_from_the_first_books_on_by_what_they_grow(metrics, meter):
    for evicted, duplicates in ((30, 7), (32, 7), (33, 9), (10, 9), (14, 9)):  # the fourth was rewound
        books = Ledger(dropped={"evicted": evicted, "stale": 1}, duplicates=duplicates)
        metrics.replay(SimpleNamespace(episodes=10, capacity=64, num_bytes=5000, ledger=books))

    assert meter.values["olal_dropped_episodes_total", "evicted"] == 7
    assert meter.values["olal_dropped_episodes_total", "stale"] == 0
    assert meter.values["olal_refused_deliveries_total", "duplicate"] == 2
    fill = [meter.values[f"olal_replay_{name}",] for name in ("episodes", "capacity_episodes", "bytes")]
    assert fill == [10, 64, 5000]


def test_idle_seconds_are_the_wall_time_without_work(metrics, meter, clock):
    metrics.workers(alive=2, in_flight=8, lags={0: 0, 1: 3})
    clock.now += 10  # 20 worker seconds, of which 7 are explained
    metrics.played([report(SOLVED, duration_s=6.0, sync_s=1.0)])
    metrics.updated(ROW)

    assert meter.values["olal_learner_idle_seconds_total",] == 8
    assert meter.values["olal_rollout_idle_seconds_total",] == 13
    assert meter.values["olal_rollout_lag_versions", "1"] == 3
    assert meter.values["olal_inflight_episodes",] == 8


def test_work_that_is_reported_late_is_taken_from_later_idleness(metrics, meter, clock):
    metrics.workers(alive=1, in_flight=1)
    for busy_s in (0.0, 18.0, 0.0):
        clock.now += 10
        metrics.played([report(duration_s=busy_s)])
        metrics.updated(ROW)

    assert meter.values["olal_rollout_idle_seconds_total",] == 12


def test_restarts_alarms_and_checkpoints_are_counted(metrics, meter):
    metrics.restarted("rollout")
    metrics.alarmed("stall")
    metrics.checkpointed(0.125)

    assert meter.values["olal_actor_restarts_total", "rollout"] == 1
    assert meter.values["olal_alarms_total", "stall"] == 1
    assert meter.observed["olal_checkpoint_seconds"] == [0.125]
