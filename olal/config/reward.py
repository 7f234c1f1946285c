"""RewardConfig: a reward function of the user's in the place of the environment's own reward."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from olal.config.base import Section
from olal.config.python_path import python_path


class RewardConfig(Section):
    """What the learner is paid by; progress and evaluation stay with the environment's own reward."""

    target: Annotated[str, AfterValidator(python_path)] | None = None
    """A class derived from RewardFunction, as python:package.module:Class; null for the environment's own reward."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class."""
