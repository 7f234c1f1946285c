"""Thin Ray shells: each method is one call into a plain object."""

from olal.actors.learner_actor import LearnerActor, LearnerReport
from olal.actors.replay_actor import ReplayActor, ReplayStatus
from olal.actors.rollout_actor import RolloutActor, RolloutReport

__all__ = ["LearnerActor", "LearnerReport", "ReplayActor", "ReplayStatus", "RolloutActor", "RolloutReport"]
