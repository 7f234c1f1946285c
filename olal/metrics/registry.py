"""The metrics of a run, each declared once. Ray exports them with the prefix `ray_`.

Shares and rates are left to queries: a share of two counters can be taken over any time and any set of runs. Ray sums
the middles of the buckets into a histogram's `_sum`, so what must add up exactly is a counter of its own.
"""

from __future__ import annotations

from olal.metrics.metric import Label, Metric

_RUN = (Label("run", most=4), Label("env", most=4))
_OUTCOME = Label("outcome", ("solved", "unsolved", "unrated", "failed"))
_FAILURE = Label(
    "reason",
    (
        "env_raised",
        "env_timeout",
        "episode_timeout",
        "bad_reward",
        "bad_observation",
        "bad_step",
        "bad_action",
        "action_cut",
        "engine_refused",
        "cancelled",
        "engine_failed",
        "threads_exhausted",
        "worker_lost",
    ),
)
_REFUSAL = Label("reason", ("failed", "stale", "evicted"), most=24)
_REPEAT = Label("reason", ("duplicate", "refused"))
_ROLE = Label("role", ("rollout", "replay", "learner"))
_WORKER = Label("worker", most=128)
_ALARM = Label(
    "alarm",
    (
        "advantages_zero",
        "entropy_collapse",
        "kl_blow_up",
        "loss_plus_is_loss_minus",
        "no_pair",
        "non_finite",
        "nothing_admitted",
        "ratio_not_one",
        "update_below_rounding",
    ),
    most=24,
)

_SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
_LONG_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)

# ---------------------------------------------------------------- playing
EPISODES = Metric(
    "olal_episodes_total", "counter", "Episodes played, by how they ended; unrated has no success.", (*_RUN, _OUTCOME)
)
EPISODE_FAILURES = Metric(
    "olal_episode_failures_total",
    "counter",
    "Episodes that could not be played to their end, by what happened.",
    (*_RUN, _FAILURE),
)
ENV_STEPS = Metric("olal_env_steps_total", "counter", "Decisions taken in environments.", _RUN)
TOKENS = Metric("olal_tokens_generated_total", "counter", "Tokens of actions, forced ones included.", _RUN)
FORCED_TOKENS = Metric(
    "olal_forced_tokens_total", "counter", "Tokens that were the only legal one and cost no model pass.", _RUN
)
MODEL_PASSES = Metric("olal_model_passes_total", "counter", "Model passes that actions waited for.", _RUN)
DRAFTS_PROPOSED = Metric(
    "olal_draft_tokens_proposed_total", "counter", "Decisions that speculation drafted and the model checked.", _RUN
)
DRAFTS_ACCEPTED = Metric(
    "olal_draft_tokens_accepted_total", "counter", "Drafted decisions that the model agreed to.", _RUN
)
CUT_ACTIONS = Metric(
    "olal_cut_actions_total", "counter", "Actions that ended before they were a whole sentence of their grammar.", _RUN
)
EPISODE_SECONDS = Metric(
    "olal_episode_seconds", "histogram", "Wall time of an episode.", _RUN, unit="seconds", buckets=_LONG_S
)
# A histogram's sum must never fall, and returns may be negative: the return is a gauge.
EPISODE_RETURN = Metric(
    "olal_episode_return", "gauge", "Mean undiscounted return of the episodes of the newest update.", _RUN
)

# ---------------------------------------------------------------- workers
ROLLOUTS_ALIVE = Metric("olal_rollouts_alive", "gauge", "Rollout workers that answer.", _RUN)
STALE_WORKERS = Metric(
    "olal_stale_workers", "gauge", "Rollout workers that have not shown that they act under a known adapter.", _RUN
)
INFLIGHT_EPISODES = Metric("olal_inflight_episodes", "gauge", "Episodes handed out and not back yet.", _RUN)
ROLLOUT_LAG = Metric(
    "olal_rollout_lag_versions",
    "gauge",
    "Versions that a worker's adapter lies behind the learner's.",
    (*_RUN, _WORKER),
    unit="versions",
)
ROLLOUT_IDLE_SECONDS = Metric(
    "olal_rollout_idle_seconds_total", "counter", "Seconds rollout workers neither played nor loaded an adapter.", _RUN,
    unit="seconds",
)  # fmt: skip
WEIGHT_SYNC_SECONDS = Metric(
    "olal_weight_sync_seconds", "histogram", "Time a worker took to fetch, check and load what was published.", _RUN,
    unit="seconds", buckets=_SHORT_S,
)  # fmt: skip
ADAPTER_MISMATCHES = Metric(
    "olal_adapter_mismatches_total", "counter", "Adapters rebuilt by a worker with another digest than told.", _RUN
)
ACTOR_RESTARTS = Metric(
    "olal_actor_restarts_total", "counter", "Actors that died and were started anew.", (*_RUN, _ROLE)
)

# ---------------------------------------------------------------- replay
REPLAY_EPISODES = Metric("olal_replay_episodes", "gauge", "Episodes that wait in the replay buffer.", _RUN)
REPLAY_CAPACITY = Metric("olal_replay_capacity_episodes", "gauge", "Episodes the replay buffer can hold.", _RUN)
REPLAY_BYTES = Metric(
    "olal_replay_bytes", "gauge", "Size of the episodes that wait in the replay buffer.", _RUN, unit="bytes"
)
REPLAY_STALENESS = Metric(
    "olal_replay_staleness_versions", "gauge", "Mean versions between acting and learning, in the newest update.", _RUN,
    unit="versions",
)  # fmt: skip
DROPPED_EPISODES = Metric(
    "olal_dropped_episodes_total", "counter", "Episodes that nobody learns from, by reason.", (*_RUN, _REFUSAL)
)
REFUSED_DELIVERIES = Metric(
    "olal_refused_deliveries_total",
    "counter",
    "Deliveries that had come before (duplicate), or that may not be learned from as they are (refused).",
    (*_RUN, _REPEAT),
)

# ---------------------------------------------------------------- learner
POLICY_VERSION = Metric("olal_policy_version", "gauge", "Version of the adapter that was published last.", _RUN)
LEARNER_STEP_SECONDS = Metric(
    "olal_learner_step_seconds", "histogram", "Time of one update, with publishing it.", _RUN,
    unit="seconds", buckets=_LONG_S,
)  # fmt: skip
LEARNER_IDLE_SECONDS = Metric(
    "olal_learner_idle_seconds_total", "counter", "Seconds the learner was not making an update.", _RUN, unit="seconds"
)
ADAPTER_BYTES = Metric(
    "olal_adapter_bytes", "gauge", "What a worker that has the version before fetches for the newest.", _RUN,
    unit="bytes",
)  # fmt: skip
ENTROPY = Metric("olal_entropy_nats", "gauge", "Mean entropy of a decision over its legal tokens.", _RUN, unit="nats")
KL = Metric("olal_kl_nats", "gauge", "How far the newest update moved the policy.", _RUN, unit="nats")
LOGPROB_GAP = Metric(
    "olal_logprob_gap_nats", "gauge", "Largest difference of engine and learner at identical weights.", _RUN,
    unit="nats",
)  # fmt: skip
LOG_LEGAL_MASS = Metric(
    "olal_log_legal_mass_nats", "gauge", "Mean log probability that the unrestricted model gives to legal tokens.",
    _RUN, unit="nats",
)  # fmt: skip
ALARMS = Metric(
    "olal_alarms_total", "counter", "What looked wrong, in an update or around it, by name.", (*_RUN, _ALARM)
)
CHECKPOINT_SECONDS = Metric(
    "olal_checkpoint_seconds", "histogram", "Time of writing one checkpoint.", _RUN, unit="seconds", buckets=_LONG_S
)

METRICS: dict[str, Metric] = {entry.name: entry for entry in tuple(globals().values()) if isinstance(entry, Metric)}
