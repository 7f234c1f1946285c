"""RunConfig: everything a run depends on; written to its directory and enough to repeat it."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from olal.config.adapter import AdapterConfig
from olal.config.base import Section
from olal.config.cluster import ClusterConfig
from olal.config.engine import EngineConfig
from olal.config.env import EnvConfig
from olal.config.evaluation import EvaluationConfig
from olal.config.learner import AnyLearner
from olal.config.model import ModelConfig
from olal.config.ppo import PPOConfig
from olal.config.replay import ReplayConfig
from olal.config.reward import RewardConfig
from olal.config.rollout import RolloutConfig
from olal.config.stages import StageConfig
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
    mode: Literal["sync", "async"] = "sync"
    """sync: play, then learn, repeatable bit for bit; async: workers and learner never wait for each other."""
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
    learner: AnyLearner = Field(default_factory=PPOConfig)
    """The learner; `kind` says which, and changing it drops what was set for the former one."""
    stages: list[StageConfig] = Field(default_factory=list[StageConfig])
    """Learners to use one after the other, with their updates; `learner` and `training.updates` do not count then."""
    reward: RewardConfig = Field(default_factory=RewardConfig)
    """What the learner is paid by."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """Length and checkpoints."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """How the result is measured."""
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    """Where it runs."""

    @property
    def plan(self) -> tuple[StageConfig, ...]:
        """The stages; without any, the one learner for all updates.

        >>> [stage.updates for stage in RunConfig().plan]
        [60]
        """
        return tuple(self.stages) or (StageConfig(learner=self.learner, updates=self.training.updates),)

    @property
    def num_updates(self) -> int:
        """Learner updates of the whole run."""
        return sum(stage.updates for stage in self.plan)

    @property
    def num_learner_processes(self) -> int:
        """Processes of the learner."""
        return max(stage.learner.num_processes for stage in self.plan)

    def stage_at(self, version: int) -> tuple[StageConfig, int]:
        """The stage that makes the update after `version`, and the version at which it started."""
        start = 0
        for stage in self.plan:
            if version < start + stage.updates:
                return stage, start
            start += stage.updates
        return self.plan[-1], start - self.plan[-1].updates

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.mode == "async":
            sizes = {getattr(stage.learner, "group_size", 1) for stage in self.plan}
            if any(stage.learner.kind == "es" for stage in self.plan):
                raise ValueError("es plays under perturbed adapters of one version, so mode must be sync for it")
            if any(getattr(stage.learner, "trajectories", None) for stage in self.plan):
                raise ValueError("a learner that reads episodes from a file has no workers to wait for; use mode sync")
            if len(sizes) > 1:
                raise ValueError(f"all stages of an asynchronous run must have the same group_size: {sorted(sizes)}")
        return self

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError("letters, digits, dots, dashes and underscores, as it names a directory")
        return name
