"""ESConfig: evolution strategies on the adapter (Salimans et al. 2017, arXiv 1703.03864)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from olal.config.gradient import LearnerCommon


class ESConfig(LearnerCommon):
    """Whole episodes are played under perturbed adapters; their returns alone say where to go."""

    kind: Literal["es"] = "es"
    """Which learner this is."""
    num_processes: int = Field(default=1, ge=1, le=1)
    """One process: the learner of es never runs the model."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Length of the first step, per coordinate, along a direction that is one spread of returns better."""
    sigma: float = Field(default=0.05, gt=0)
    """Length of a perturbation, per coordinate."""
    shaping: Literal["ranks", "zscore"] = "ranks"
    """What a return counts: its rank among all members, centred, or its distance from the mean in deviations."""
    subspace: Literal["full", "b", "core"] = "b"
    """What moves: the whole adapter, its B matrices alone, or an r by r core of each of them."""
    anchor_decay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the distance from the untrained adapter that each update gives back."""
    directions: int = Field(default=8, ge=1, validate_default=True)
    """Random directions of one update; both signs of each are played, on the same episodes with the same draws."""

    @field_validator("directions")
    @classmethod
    def _check_episodes(cls, directions: int, info: ValidationInfo) -> int:
        episodes = info.data.get("episodes_per_update", 2 * directions)
        if episodes % (2 * directions):
            raise ValueError(f"half of a divisor of learner.episodes_per_update={episodes}")
        return directions
