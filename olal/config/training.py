"""TrainingConfig: how long a run is and what it keeps."""

from __future__ import annotations

from pydantic import Field

from olal.config.base import Section


class TrainingConfig(Section):
    """Length of the run and its checkpoints."""

    updates: int = Field(default=60, ge=1)
    """Learner updates until the run is finished."""
    checkpoint_every: int = Field(default=10, ge=1)
    """Updates between two checkpoints; the last update always writes one."""
    keep_checkpoints: int = Field(default=3, ge=1)
    """Newest checkpoints kept."""
