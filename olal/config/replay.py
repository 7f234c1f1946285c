"""ReplayConfig: the buffer between rollout workers and the learner."""

from __future__ import annotations

from pydantic import Field

from olal.config.base import Section


class ReplayConfig(Section):
    """The replay buffer."""

    capacity_episodes: int = Field(default=4096, ge=1)
    """Episodes the buffer holds before it drops the oldest."""
