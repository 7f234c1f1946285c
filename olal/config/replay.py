"""ReplayConfig: the buffer between rollout workers and the learner."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.base import Section


class SamplingConfig(Section):
    """Which of the waiting episodes the learner gets."""

    kind: Literal["fifo", "prioritised"] = "fifo"
    """The oldest first, or drawn by how much better or worse than expected they went, with importance weights."""
    overtaken_share: float | None = Field(default=0.25, ge=0)
    """Of fifo, async: share of an update's episodes that may still be played when a later one is learned from."""
    alpha: float = Field(default=0.6, ge=0, le=4)
    """Of prioritised: power of the advantage that an episode is drawn by; 0 draws evenly."""
    age_decay_versions: float | None = Field(default=8.0, gt=0)
    """Of prioritised: adapter versions after which an episode counts 1/e; null lets none fade."""


class ReplayConfig(Section):
    """The replay buffer."""

    capacity_episodes: int = Field(default=4096, ge=1)
    """Episodes the buffer holds before it drops the oldest."""
    capacity_mb: int = Field(default=1024, ge=1)
    """Megabytes of episodes the buffer holds before it drops the oldest."""
    segment_episodes: int = Field(default=512, ge=1)
    """Episodes after which a new file is begun; a full one whose episodes are all settled is sealed to Parquet."""
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    """Which of the waiting episodes the learner gets."""
