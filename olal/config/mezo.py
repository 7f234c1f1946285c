"""MeZOConfig: forward passes only on the adapter (Malladi et al. 2023, arXiv 2305.17333)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.learner_base import LearnerBase


class MeZOConfig(LearnerBase):
    """Zeroth-order steps along random directions that are regenerated from their seeds."""

    kind: Literal["mezo"] = "mezo"
    """Which learner this is."""
    learning_rate: float = Field(default=0.2, gt=0)
    """Share of the natural step that the first step takes: less where chance is large; no matter of the model."""
    step_kl: float = Field(default=0.03, gt=0)
    """KL divergence by which one step may move the policy; it shrinks with the learning rate."""
    damping: float = Field(default=0.1, gt=0)
    """What is added to the Fisher information of the directions, as a share of its mean diagonal; more is gentler."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    objective: Literal["surrogate", "nll"] = "surrogate"
    """What is measured: the clipped surrogate, or the negative log-likelihood weighted by exp(advantage / T)."""
    weight_temperature: float = Field(default=0.5, gt=0)
    """T of the nll objective, in standard deviations of the advantage."""
    rho_bar: float = Field(default=1.0, gt=0)
    """Most that a decision of an older version counts for: the bound of its importance weight."""
    subspace: Literal["full", "b", "core"] = "full"
    """What moves: the whole adapter, its B matrices alone, or an r by r core of each of them."""
    anchor_decay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the distance from the untrained adapter that each update gives back."""
    sigma: float = Field(default=0.02, gt=0)
    """Length of a perturbation, per coordinate."""
    directions: int = Field(default=16, ge=1)
    """Random directions of which one step takes the best combination."""
    steps: int = Field(default=4, ge=1)
    """Steps in one update."""
    contexts_per_step: int = Field(default=96, ge=1)
    """Decisions on which one step measures its directions."""
    rows_per_pass: int = Field(default=512, ge=1)
    """Most sequences in one model pass, over all perturbed adapters; the memory of an update grows with it."""
    max_staleness: int = Field(default=4, ge=0, le=64)
    """Most versions that acting may lie behind learning; it bounds what is started, and older episodes are dropped."""
    value_features: int = Field(default=128, ge=1)
    """Random features of the value estimate."""
    value_ridge: float = Field(default=1.0, gt=0)
    """Ridge penalty of the value estimate."""
