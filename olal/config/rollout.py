"""RolloutConfig: the workers that play episodes, and how they sample."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from olal.config.base import Section


class RolloutConfig(Section):
    """Rollout workers: one Ray actor each."""

    workers: int = Field(default=2, ge=1)
    """Number of rollout workers."""
    num_cpus: float = Field(default=1.0, ge=0)
    """CPU cores reserved for each worker."""
    num_gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs reserved for each worker; auto shares out what the cluster has."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature while training."""
    max_tokens: int = Field(default=64, ge=1)
    """Most tokens one action may have."""
    max_parallel: int = Field(default=256, ge=1)
    """Most episodes a worker plays at once; a streaming worker finds out how many of these pay."""
    step_timeout_s: float = Field(default=60.0, gt=0)
    """Most seconds one reset or step of an environment may take; then its episode fails and the worker goes on."""
    episode_timeout_s: float = Field(default=3600.0, gt=0)
    """Most seconds one episode may take."""
