"""What is played: the environment protocol, built-in tasks and the adapter to gymnasium."""

from olal.envs.base import Environment
from olal.envs.grid_world import GridWorld
from olal.envs.gymnasium_env import GymnasiumEnv
from olal.envs.observations import render_observation
from olal.envs.registry import known_environments, make_env
from olal.envs.spaces import space_grammar
from olal.envs.tabular import TabularModel, policy_value, solve_optimum, uniform_value
from olal.envs.tabular_models import tabular_model

__all__ = [
    "Environment",
    "GridWorld",
    "GymnasiumEnv",
    "TabularModel",
    "known_environments",
    "make_env",
    "policy_value",
    "render_observation",
    "solve_optimum",
    "space_grammar",
    "tabular_model",
    "uniform_value",
]
