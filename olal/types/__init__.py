"""Frozen data that crosses folders and processes."""

from olal.types.adapter_delta import RECORD, AdapterDelta, Perturbation
from olal.types.adapter_update import AdapterUpdate
from olal.types.completion import (
    Completion,
    DraftStatistics,
    GenerateRequest,
    SamplingParams,
    Score,
    ScoreRequest,
    StopReason,
)
from olal.types.engine_load import EngineLoad
from olal.types.failure import Failure, FailureKind, FailureReason
from olal.types.grammar_spec import GrammarSpec
from olal.types.messages import Message
from olal.types.timestep import TimeStep
from olal.types.trajectory import Bootstrap, EpisodeTask, Trajectory, Turn

__all__ = [
    "RECORD",
    "AdapterDelta",
    "AdapterUpdate",
    "Bootstrap",
    "Completion",
    "DraftStatistics",
    "EngineLoad",
    "EpisodeTask",
    "Failure",
    "FailureKind",
    "FailureReason",
    "GenerateRequest",
    "GrammarSpec",
    "Message",
    "Perturbation",
    "SamplingParams",
    "Score",
    "ScoreRequest",
    "StopReason",
    "TimeStep",
    "Trajectory",
    "Turn",
]
