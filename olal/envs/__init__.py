"""What is played: the environment protocol, built-in tasks and the adapter to gymnasium."""

from olal.envs.base import Environment
from olal.envs.grid_world import GridWorld
from olal.envs.gymnasium_env import GymnasiumEnv
from olal.envs.observations import render_observation
from olal.envs.registry import known_environments, make_env
from olal.envs.spaces import space_grammar

__all__ = [
    "Environment",
    "GridWorld",
    "GymnasiumEnv",
    "known_environments",
    "make_env",
    "render_observation",
    "space_grammar",
]
