"""GroupsConfig: what learners take that compare episodes with the same start."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from olal.config.base import Section


class GroupsConfig(Section):
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
