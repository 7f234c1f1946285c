"""Thin Ray shells: each method is one call into a plain object."""

from olal.actors.learner_actor import LearnerActor, LearnerReport
from olal.actors.ray_meter import RayMeter
from olal.actors.replay_actor import ReplayActor, ReplayStatus
from olal.actors.rollout_actor import RolloutActor, RolloutReport

__all__ = ["LearnerActor", "LearnerReport", "RayMeter", "ReplayActor", "ReplayStatus", "RolloutActor", "RolloutReport"]
