"""LearnerBase: the settings of learners on the clipped surrogate, by gradient or by forward passes alone."""

from __future__ import annotations

from pydantic import Field

from olal.config.gradient import LearnerCommon


class LearnerBase(LearnerCommon):
    """The surrogate (Schulman et al. 2017, arXiv 1707.06347)."""

    clip: float = Field(default=0.2, gt=0, lt=1)
    """Probability ratios count up to 1 - clip and 1 + clip."""
    entropy: float = Field(default=0.01, ge=0)
    """Weight of the entropy over the legal tokens."""
    advantage_std_floor: float = Field(default=0.05, gt=0)
    """Least standard deviation that advantages are divided by, so that noise is not blown up once all is learned."""
