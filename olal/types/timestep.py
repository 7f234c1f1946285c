"""What an environment says after a reset or a step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeStep:
    """An observation and, after a step, its reward and flags.

    Attributes:
        observation: text shown to the agent.
        reward: scalar reward of the step; 0.0 after a reset.
        terminated: the task itself ended; its value beyond is zero.
        truncated: a limit cut the episode; its value beyond is estimated.
        success: whether the task was solved, known at the end of an episode; None before, or where it has no meaning.
    """

    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool | None = None

    @property
    def is_last(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated
