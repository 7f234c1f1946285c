"""Frozen data that crosses folders and processes."""

from olal.types.adapter_update import AdapterUpdate
from olal.types.completion import Completion, GenerateRequest, SamplingParams, StopReason
from olal.types.grammar_spec import GrammarSpec
from olal.types.messages import Message
from olal.types.timestep import TimeStep
from olal.types.trajectory import Bootstrap, EpisodeTask, Trajectory, Turn

__all__ = [
    "AdapterUpdate",
    "Bootstrap",
    "Completion",
    "EpisodeTask",
    "GenerateRequest",
    "GrammarSpec",
    "Message",
    "SamplingParams",
    "StopReason",
    "TimeStep",
    "Trajectory",
    "Turn",
]
