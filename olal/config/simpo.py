"""SimPOConfig: simple preference optimisation (Meng et al. 2024, arXiv 2405.14734)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.critic import CriticConfig
from olal.config.gradient import GradientConfig
from olal.config.groups import GroupsConfig


class SimPOConfig(CriticConfig, GroupsConfig, GradientConfig):
    """Two actions in the same state, and the better one is to be likelier by a margin."""

    kind: Literal["simpo"] = "simpo"
    """Which learner this is."""
    beta: float = Field(default=2.0, gt=0)
    """Scale of the length-normalised log-probabilities."""
    margin: float = Field(default=1.0, ge=0)
    """By how much the scaled log-probability of the better action should be larger."""
    advantage: Literal["return_to_go", "critic"] = "return_to_go"
    """What tells the better action: the mean return that followed it, or the critic of an earlier stage."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation, where a critic tells."""
    tie: float = Field(default=1e-6, ge=0)
    """Gap up to which two actions count as equally good and are skipped."""
