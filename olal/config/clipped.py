"""ClippedConfig: what every gradient learner on the clipped surrogate takes."""

from __future__ import annotations

from pydantic import Field

from olal.config.gradient import GradientConfig
from olal.config.learner_base import LearnerBase


class ClippedConfig(GradientConfig, LearnerBase):
    """Epochs of minibatches on the clipped surrogate (Schulman et al. 2017, arXiv 1707.06347)."""

    rho_bar: float = Field(default=1.0, gt=0)
    """Most that a decision of an older version counts for: the bound of its importance weight."""
