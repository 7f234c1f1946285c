"""Thin Ray shells: each method is one call into a plain object."""

from olal.actors.learner_actor import LearnerActor
from olal.actors.ray_meter import RayMeter
from olal.actors.replay_actor import ReplayActor
from olal.actors.reports import DeliveryReceipt, LearnerReport, ProcessReport, ReplayStatus, RolloutReport
from olal.actors.rollout_actor import RolloutActor

__all__ = [
    "DeliveryReceipt",
    "LearnerActor",
    "LearnerReport",
    "ProcessReport",
    "RayMeter",
    "ReplayActor",
    "ReplayStatus",
    "RolloutActor",
    "RolloutReport",
]
