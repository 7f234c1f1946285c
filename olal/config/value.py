"""ValueConfig: critic training alone, with the actor frozen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.critic import CriticConfig
from olal.config.gradient import GradientConfig


class ValueConfig(CriticConfig, GradientConfig):
    """A critic of the present policy, for a later stage to take over."""

    kind: Literal["value"] = "value"
    """Which learner this is."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Step size of the critic at the first update."""
    target: Literal["monte_carlo", "td_lambda"] = "monte_carlo"
    """What the critic should foretell: whole discounted returns, or lambda-returns that lean on its own values."""
    td_lambda: float = Field(default=0.9, ge=0, le=1)
    """Lambda of td_lambda."""
