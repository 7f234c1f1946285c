"""SFTConfig: supervised fine-tuning on episodes that went well, as a warm start."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.gradient import GradientConfig


class SFTConfig(GradientConfig):
    """Imitate good episodes, sampled or given."""

    kind: Literal["sft"] = "sft"
    """Which learner this is."""
    trajectories: str | None = Field(default=None, min_length=1)
    """JSON lines file of episodes, as a run directory holds them, to learn from; null plays them."""
    keep: Literal["success", "above_mean", "all"] = "success"
    """Which episodes to imitate: those that solved the task, those above the mean of the batch, or all."""
    entropy: float = Field(default=0.0, ge=0)
    """Weight of the entropy over the legal tokens."""
    target_kl: float = Field(default=1000.0, gt=0)
    """KL divergence from the policy at its start at which an update stops early; a warm start is meant to move."""
