"""GRPOConfig, RLOOConfig, ReinforceConfig: the clipped surrogate with other episodes in the place of a critic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from olal.config.clipped import ClippedConfig


class GroupConfig(ClippedConfig):
    """Episodes in groups that share their start."""

    group_size: int = Field(default=8, ge=2, validate_default=True)
    """Episodes with the same start, which are compared with each other."""

    @field_validator("group_size")
    @classmethod
    def _check_groups(cls, group_size: int, info: ValidationInfo) -> int:
        episodes = info.data.get("episodes_per_update", group_size)
        if episodes % group_size:
            raise ValueError(f"a divisor of learner.episodes_per_update={episodes}")
        return group_size


class GRPOConfig(GroupConfig):
    """Group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300)."""

    kind: Literal["grpo"] = "grpo"
    """Which learner this is."""


class RLOOConfig(GroupConfig):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740)."""

    kind: Literal["rloo"] = "rloo"
    """Which learner this is."""


class ReinforceConfig(ClippedConfig):
    """Returns to go less the mean of the batch (Williams 1992)."""

    kind: Literal["reinforce"] = "reinforce"
    """Which learner this is."""
