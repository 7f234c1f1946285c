"""PPOConfig: the clipped surrogate with a critic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.clipped import ClippedConfig
from olal.config.critic import CriticConfig


class PPOConfig(CriticConfig, ClippedConfig):
    """Clipped policy gradient with a critic and GAE."""

    kind: Literal["ppo"] = "ppo"
    """Which learner this is."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    value_learning_rate: float = Field(default=3e-3, gt=0)
    """Step size of the critic."""
    value_coefficient: float = Field(default=0.5, ge=0)
    """Weight of the value loss, whose gradient also shapes the adapter unless the critic is separate."""
