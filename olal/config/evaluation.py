"""EvaluationConfig: how a policy is measured on episodes that were never trained on."""

from __future__ import annotations

from pydantic import Field

from olal.config.base import Section


class EvaluationConfig(Section):
    """Evaluation at the end of a run and by `olal evaluate`."""

    episodes: int = Field(default=200, ge=1)
    """Episodes played by each policy."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature: 1 plays the policy as it was trained, 0 takes the most likely legal token."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Level of the confidence interval around the mean return."""
    seed: int = Field(default=1_000_000, ge=0)
    """Seed of the first evaluation episode, far from those of training."""
