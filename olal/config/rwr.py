"""RWRConfig: reward-weighted regression (Peters and Schaal 2007)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.gradient import GradientConfig


class RWRConfig(GradientConfig):
    """Imitate what was done, the better the more."""

    kind: Literal["rwr"] = "rwr"
    """Which learner this is."""
    tau: float = Field(default=0.5, gt=0)
    """Temperature of the weights exp(A / tau), with A the return in standard deviations; small is greedy."""
    max_weight: float = Field(default=20.0, ge=1)
    """Most that exp(A / tau) counts for."""
    weigh: Literal["episode", "decision"] = "episode"
    """Weigh by the return of the whole episode, or of what followed the decision."""
