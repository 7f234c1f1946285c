"""AnyLearner: the union of all learners' settings, told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from olal.config.critic_free import GRPOConfig, ReinforceConfig, RLOOConfig
from olal.config.es import ESConfig
from olal.config.mezo import MeZOConfig
from olal.config.ppo import PPOConfig
from olal.config.python_learner import PythonLearnerConfig
from olal.config.rwr import RWRConfig
from olal.config.sft import SFTConfig
from olal.config.simpo import SimPOConfig
from olal.config.value import ValueConfig

AnyLearner: TypeAlias = Annotated[
    PPOConfig
    | MeZOConfig
    | ESConfig
    | GRPOConfig
    | RLOOConfig
    | ReinforceConfig
    | RWRConfig
    | SFTConfig
    | SimPOConfig
    | ValueConfig
    | PythonLearnerConfig,
    Field(discriminator="kind"),
]
