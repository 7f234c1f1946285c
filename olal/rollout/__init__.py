"""Rollouts: one agent in many environments with one engine gives trajectories, in lockstep or in a stream."""

from olal.rollout.adapter_leases import AdapterLeases
from olal.rollout.collector import Collector
from olal.rollout.concurrency import AdaptiveConcurrency
from olal.rollout.deadlines import Deadlines
from olal.rollout.outbox import Outbox
from olal.rollout.outcome import EpisodeOutcome, outcome_of, play_randomly
from olal.rollout.reward import RewardFunction, pay
from olal.rollout.stream import EpisodeStream, InFlight
from olal.rollout.worker import RolloutWorker

__all__ = [
    "AdapterLeases",
    "AdaptiveConcurrency",
    "Collector",
    "Deadlines",
    "EpisodeOutcome",
    "EpisodeStream",
    "InFlight",
    "Outbox",
    "RewardFunction",
    "RolloutWorker",
    "outcome_of",
    "pay",
    "play_randomly",
]
