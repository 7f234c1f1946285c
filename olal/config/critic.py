"""CriticConfig: what learners with a critic that learns by gradient take."""

from __future__ import annotations

from pydantic import Field, field_validator

from olal.config.base import Section
from olal.config.python_path import python_path


class CriticConfig(Section):
    """The critic. A stage takes over that of the stage before, where both have the same kind."""

    value_hidden: int = Field(default=64, ge=1)
    """Width of the value head's hidden layer."""
    separate_critic: bool = False
    """Give the critic an adapter of its own on the base model, in place of the policy's hidden states."""
    critic: str = "head"
    """head for the built-in perceptron, or python:package.module:Class for a class derived from Critic."""

    @field_validator("critic")
    @classmethod
    def _check_critic(cls, critic: str) -> str:
        return python_path(critic, "head")
