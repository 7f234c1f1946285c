"""RunConfig: everything a run depends on; written to its directory and enough to repeat it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from olal.config.adapter import AdapterConfig
from olal.config.base import Section
from olal.config.cluster import ClusterConfig
from olal.config.critic_free import GRPOConfig, ReinforceConfig, RLOOConfig
from olal.config.engine import EngineConfig
from olal.config.env import EnvConfig
from olal.config.evaluation import EvaluationConfig
from olal.config.mezo import MeZOConfig
from olal.config.model import ModelConfig
from olal.config.ppo import PPOConfig
from olal.config.replay import ReplayConfig
from olal.config.rollout import RolloutConfig
from olal.config.training import TrainingConfig


class RunConfig(Section):
    """A whole run.

    >>> RunConfig().learner.kind
    'ppo'
    """

    schema_version: Literal[1] = 1
    """Version of this file format."""
    name: str = "run"
    """Start of the run directory's name."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random in the run."""
    env: EnvConfig = Field(default_factory=EnvConfig)
    """The task."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The base model."""
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    """The LoRA adapter."""
    engine: EngineConfig = Field(default_factory=EngineConfig)
    """What runs the model in the workers."""
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    """The workers that play."""
    replay: ReplayConfig = Field(default_factory=ReplayConfig)
    """The buffer of episodes."""
    learner: Annotated[
        PPOConfig | MeZOConfig | GRPOConfig | RLOOConfig | ReinforceConfig, Field(discriminator="kind")
    ] = Field(default_factory=PPOConfig)
    """The learner; `kind` says which, and changing it drops what was set for the former one."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """Length and checkpoints."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """How the result is measured."""
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    """Where it runs."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError("letters, digits, dots, dashes and underscores, as it names a directory")
        return name
