"""Rollouts: one agent in many environments with one engine gives trajectories."""

from olal.rollout.collector import Collector
from olal.rollout.outcome import EpisodeOutcome, outcome_of, play_randomly

__all__ = ["Collector", "EpisodeOutcome", "outcome_of", "play_randomly"]
