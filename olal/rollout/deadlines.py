"""Deadlines: how long an environment may take before its episode is given up."""

from __future__ import annotations

from dataclasses import dataclass

from olal.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Limits that a working environment never reaches.

    Attributes:
        step_s: most seconds of one reset or one step.
        episode_s: most seconds of a whole episode, from its reset on.
        most_abandoned: threads of environments that never came back at which the worker's process is given up.
    """

    step_s: float = 60.0
    episode_s: float = 3600.0
    most_abandoned: int = 16

    def __post_init__(self) -> None:
        if not (self.step_s > 0 and self.episode_s > 0):
            raise ConfigError(f"deadlines must be above 0 seconds: {self.step_s}, {self.episode_s}")
        if self.most_abandoned < 1:
            raise ConfigError(f"most_abandoned must be at least 1: {self.most_abandoned}")
