"""GRPOConfig, RLOOConfig, ReinforceConfig: the clipped surrogate with other episodes in the place of a critic."""

from __future__ import annotations

from typing import Literal

from olal.config.clipped import ClippedConfig
from olal.config.groups import GroupsConfig


class ComparedConfig(GroupsConfig, ClippedConfig):
    """What learners take whose advantages come from comparison within a group."""

    compare: Literal["episode", "context"] = "episode"
    """What is compared: whole returns, or discounted returns from decisions in the same context, for long episodes."""


class GRPOConfig(ComparedConfig):
    """Group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300)."""

    kind: Literal["grpo"] = "grpo"
    """Which learner this is."""


class RLOOConfig(ComparedConfig):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740)."""

    kind: Literal["rloo"] = "rloo"
    """Which learner this is."""


class ReinforceConfig(ClippedConfig):
    """Returns to go less the mean of the batch (Williams 1992)."""

    kind: Literal["reinforce"] = "reinforce"
    """Which learner this is."""
