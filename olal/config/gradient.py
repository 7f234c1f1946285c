"""LearnerCommon and GradientConfig: what all learners take, and what those with a backward pass take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from olal.config.base import Section


class LearnerCommon(Section):
    """What every learner takes."""

    episodes_per_update: int = Field(default=64, ge=1)
    """Episodes each update is computed from."""
    learning_rate: float = Field(gt=0)
    """Step size at the first update."""
    lr_final_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the learning rate left at the last update; the way there is linear over the learner's updates."""
    gamma: float = Field(default=0.99, ge=0, le=1)
    """Discount of rewards by turn."""
    num_processes: int = Field(default=1, ge=1)
    """Processes that share the learner's model passes, a GPU each; of several stages the most count."""
    num_cpus: float = Field(default=0.0, ge=0)
    """CPU cores reserved for each process of the learner."""
    num_gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs reserved for each process of the learner; auto shares out what the cluster has."""


class GradientConfig(LearnerCommon):
    """Epochs of minibatches with Adam on the adapter."""

    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of the adapter at the first update: 2e-3 suits the tiny model, 1e-4 or less a real one."""
    entropy: float = Field(default=0.01, ge=0)
    """Weight of the entropy over the legal tokens."""
    kl_penalty: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence from the base model over the legal tokens; 0 asks for no pass of the base model."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the episodes of one update."""
    minibatch_decisions: int = Field(default=256, ge=1)
    """Decisions in one gradient step."""
    tokens_per_pass: int = Field(default=65536, ge=1)
    """Prompt tokens, padding included, in one model pass; larger minibatches take several, to bound memory."""
    target_kl: float = Field(default=0.1, gt=0)
    """KL divergence from the policy at its start at which an update stops early."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm to which gradients are clipped."""
    max_staleness: int = Field(default=4, ge=0, le=64)
    """Most versions that acting may lie behind learning; it bounds what is started, and older episodes are dropped."""
