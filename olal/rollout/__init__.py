"""Rollouts: one agent in many environments with one engine gives trajectories."""

from olal.rollout.collector import Collector
from olal.rollout.outcome import EpisodeOutcome, outcome_of, play_randomly
from olal.rollout.reward import RewardFunction, pay

__all__ = ["Collector", "EpisodeOutcome", "RewardFunction", "outcome_of", "pay", "play_randomly"]
