"""EnvConfig: which task is played and how it is shown to the agent."""

from __future__ import annotations

import re

from pydantic import Field, JsonValue, field_validator

from olal.config.base import Section


class EnvConfig(Section):
    """The environment. A layer that changes `id` drops the options set for the former one."""

    id: str = Field(default="gridworld", min_length=1)
    """gridworld, gymnasium:ID for a registered environment, or python:package.module:factory for your own."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the environment."""
    max_turns: int | None = Field(default=None, ge=1)
    """Turns after which an episode is truncated; null leaves it to the environment."""
    action_names: list[str] | None = Field(default=None, min_length=1)
    """Readable names of the discrete actions, in their order; null says the numbers."""
    render: str | None = None
    """Function that turns an observation into text, as package.module:function; null takes the default."""
    digits: int = Field(default=2, ge=0, le=9)
    """Decimal digits to which continuous observations and actions are rounded."""

    @field_validator("render")
    @classmethod
    def _check_render(cls, render: str | None) -> str | None:
        if render is not None and not re.fullmatch(r"[\w.]+:[\w.]+", render):
            raise ValueError("package.module:function")
        return render
