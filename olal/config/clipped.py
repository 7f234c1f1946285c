"""ClippedConfig: what every learner on the clipped surrogate takes."""

from __future__ import annotations

from pydantic import Field

from olal.config.learner_base import LearnerBase


class ClippedConfig(LearnerBase):
    """Epochs of minibatches on the clipped surrogate (Schulman et al. 2017, arXiv 1707.06347)."""

    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of the adapter at the first update: 2e-3 suits the tiny model, 1e-4 or less a real one."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the episodes of one update."""
    minibatch_decisions: int = Field(default=256, ge=1)
    """Decisions in one gradient step."""
    target_kl: float = Field(default=0.1, gt=0)
    """KL divergence from the acting policy at which an update stops early."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm to which gradients are clipped."""
