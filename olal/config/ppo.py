"""PPOConfig: policy gradient on the adapter (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.learner_base import LearnerBase


class PPOConfig(LearnerBase):
    """Clipped policy gradient with a value head and GAE."""

    kind: Literal["ppo"] = "ppo"
    """Which learner this is."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of the adapter at the first update: 2e-3 suits the tiny model, 1e-4 or less a real one."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the episodes of one update."""
    minibatch_decisions: int = Field(default=256, ge=1)
    """Decisions in one gradient step."""
    value_hidden: int = Field(default=64, ge=1)
    """Width of the value head's hidden layer."""
    value_learning_rate: float = Field(default=3e-3, gt=0)
    """Step size of the value head."""
    value_coefficient: float = Field(default=0.5, ge=0)
    """Weight of the value loss, whose gradient also shapes the adapter."""
    target_kl: float = Field(default=0.1, gt=0)
    """KL divergence from the acting policy at which an update stops early."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm to which gradients are clipped."""
