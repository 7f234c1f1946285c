"""Failure: why an episode could not be played to its end, in words for people and in one for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

FailureKind: TypeAlias = Literal["", "data", "infrastructure"]
"""Whose fault it was: the episode's own, or that of the machinery that played it; empty for no failure."""

FailureReason: TypeAlias = Literal[
    "",
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
]
"""What happened; of the last four, the first is the caller's will and the others are infrastructure."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How an episode failed.

    Attributes:
        kind: "data" where playing it again would likely end the same way; "infrastructure" where another worker may
            well finish it.
        reason: one word to count by.
        message: one line.
    """

    kind: FailureKind
    reason: FailureReason
    message: str
