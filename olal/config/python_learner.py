"""PythonLearnerConfig: a learner class of the user's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, field_validator

from olal.config.gradient import GradientConfig
from olal.config.python_path import python_path


class PythonLearnerConfig(GradientConfig):
    """A class derived from GradientLearner or one of its subclasses."""

    kind: Literal["python"] = "python"
    """Which learner this is."""
    target: str = "python:package.module:Class"
    """The class, as python:package.module:Class."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Fields of the class's own settings."""

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: str) -> str:
        return python_path(target)
