"""What a run is made of: frozen pydantic models, one per section, and the layers a config is loaded from."""

from olal.config.adapter import AdapterConfig
from olal.config.assignment import parse_assignment
from olal.config.cluster import ClusterConfig
from olal.config.critic_free import GRPOConfig, ReinforceConfig, RLOOConfig
from olal.config.engine import EngineConfig, SpeculationConfig
from olal.config.env import EnvConfig
from olal.config.es import ESConfig
from olal.config.evaluation import EvaluationConfig
from olal.config.gradient import GradientConfig, LearnerCommon
from olal.config.learner_base import LearnerBase
from olal.config.load import load_config, to_yaml
from olal.config.mezo import MeZOConfig
from olal.config.model import ModelConfig
from olal.config.ppo import PPOConfig
from olal.config.python_learner import PythonLearnerConfig
from olal.config.replay import ReplayConfig, SamplingConfig
from olal.config.reward import RewardConfig
from olal.config.rollout import RolloutConfig
from olal.config.run_config import RunConfig
from olal.config.rwr import RWRConfig
from olal.config.sft import SFTConfig
from olal.config.simpo import SimPOConfig
from olal.config.stages import StageConfig
from olal.config.training import TrainingConfig
from olal.config.value import ValueConfig

__all__ = [
    "AdapterConfig",
    "ClusterConfig",
    "ESConfig",
    "EngineConfig",
    "EnvConfig",
    "EvaluationConfig",
    "GRPOConfig",
    "GradientConfig",
    "LearnerBase",
    "LearnerCommon",
    "MeZOConfig",
    "ModelConfig",
    "PPOConfig",
    "PythonLearnerConfig",
    "RLOOConfig",
    "RWRConfig",
    "ReinforceConfig",
    "ReplayConfig",
    "RewardConfig",
    "RolloutConfig",
    "RunConfig",
    "SFTConfig",
    "SamplingConfig",
    "SimPOConfig",
    "SpeculationConfig",
    "StageConfig",
    "TrainingConfig",
    "ValueConfig",
    "load_config",
    "parse_assignment",
    "to_yaml",
]
