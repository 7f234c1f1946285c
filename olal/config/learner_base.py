"""LearnerBase: the settings every learner takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from olal.config.base import Section


class LearnerBase(Section):
    """What all learners have in common."""

    episodes_per_update: int = Field(default=64, ge=1)
    """Episodes each update is computed from."""
    learning_rate: float = Field(gt=0)
    """Step size at the first update."""
    lr_final_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the learning rate left at the last update; the way there is linear over training.updates."""
    gamma: float = Field(default=0.99, ge=0, le=1)
    """Discount of rewards by turn."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """Probability ratios count up to 1 - clip and 1 + clip."""
    entropy: float = Field(default=0.01, ge=0)
    """Weight of the entropy over the legal tokens."""
    advantage_std_floor: float = Field(default=0.05, gt=0)
    """Least standard deviation that advantages are divided by, so that noise is not blown up once all is learned."""
    num_cpus: float = Field(default=0.0, ge=0)
    """CPU cores reserved for the learner."""
    num_gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs reserved for the learner; auto shares out what the cluster has."""
