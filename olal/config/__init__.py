"""What a run is made of: frozen pydantic models, one per section, and the layers a config is loaded from."""

from olal.config.adapter import AdapterConfig
from olal.config.assignment import parse_assignment
from olal.config.cluster import ClusterConfig
from olal.config.critic_free import GRPOConfig, ReinforceConfig, RLOOConfig
from olal.config.engine import EngineConfig, SpeculationConfig
from olal.config.env import EnvConfig
from olal.config.evaluation import EvaluationConfig
from olal.config.learner_base import LearnerBase
from olal.config.load import load_config, to_yaml
from olal.config.mezo import MeZOConfig
from olal.config.model import ModelConfig
from olal.config.ppo import PPOConfig
from olal.config.replay import ReplayConfig
from olal.config.rollout import RolloutConfig
from olal.config.run_config import RunConfig
from olal.config.training import TrainingConfig

__all__ = [
    "AdapterConfig",
    "ClusterConfig",
    "EngineConfig",
    "EnvConfig",
    "EvaluationConfig",
    "GRPOConfig",
    "LearnerBase",
    "MeZOConfig",
    "ModelConfig",
    "PPOConfig",
    "RLOOConfig",
    "ReinforceConfig",
    "ReplayConfig",
    "RolloutConfig",
    "RunConfig",
    "SpeculationConfig",
    "TrainingConfig",
    "load_config",
    "parse_assignment",
    "to_yaml",
]
