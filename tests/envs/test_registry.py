"""make_env: every form of id, and refusals that name the nearest known thing."""

from __future__ import annotations

import sys

import pytest

from olal.envs import GridWorld, GymnasiumEnv, known_environments, make_env

MODULE = """
import gymnasium
from olal.envs import GridWorld

def own(size=4, max_turns=9):
    return GridWorld(size=size, max_turns=max_turns)

def lake(**options):
    return gymnasium.make("FrozenLake-v1", **options)

def render(observation):
    return f"cell {observation}"

def nothing():
    return 3

def broken(size=1):
    raise KeyError(size)
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "my_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_tasks", raising=False)
    return "my_tasks"


@pytest.mark.parametrize("env_id", known_environments())
def test_known_environments_can_be_made_and_played(env_id):
    env = make_env(env_id, {}, max_turns=3)
    env.reset(0)
    env.step(env.sample_action(0))
    env.close()


def test_known_environments_begin_with_the_grid_and_hold_the_toy_text_tasks():
    assert known_environments()[0] == "gridworld"
    assert {"gymnasium:FrozenLake-v1", "gymnasium:Blackjack-v1"} < set(known_environments())


def test_options_reach_the_environment():
    assert make_env("gridworld", {"size": 7}, max_turns=5).max_turns == 5
    assert "slippery" not in make_env("gymnasium:FrozenLake-v1", {"is_slippery": False}).instructions


def test_a_users_own_environment_is_taken_as_it_is(user_module):
    env = make_env(f"python:{user_module}:own", {"size": 5})
    assert isinstance(env, GridWorld)
    assert env.grid.size == 5


def test_a_users_gymnasium_environment_is_adapted(user_module):
    env = make_env(
        f"python:{user_module}:lake",
        {"is_slippery": False},
        max_turns=4,
        action_names=["w", "s", "e", "n"],
        render=f"{user_module}:render",
    )
    assert isinstance(env, GymnasiumEnv)
    assert (env.max_turns, env.reset(0).observation, env.action_grammar().parse("s")) == (4, "cell 0", 1)


@pytest.mark.parametrize(
    ("env_id", "options", "settings", "parts"),
    [
        ("gridwrld", {}, {}, ["'gridwrld'", "mean gridworld?", "python:"]),
        ("FrozenLake-v1", {}, {}, ["mean gymnasium:FrozenLake-v1?"]),
        ("gymnasium:", {}, {}, ["an id is"]),
        ("gymnasium:frozenlake-v1", {}, {}, ["mean FrozenLake-v1?"]),
        ("gymnasium:Taxi-v3", {}, {}, ["mean Taxi-v4?"]),
        ("gymnasium:FrozenLake-v1", {"slippery": 1}, {}, ["'slippery'", "mean is_slippery?", "map_name"]),
        ("gymnasium:FrozenLake-v1", {"map_name": "5x5"}, {}, ["refused its options", "5x5"]),
        ("gymnasium:no_such_module:X-v0", {}, {}, ["no_such_module"]),
        ("gridworld", {"max_move": 2}, {}, ["'max_move'", "mean max_moves?"]),
        ("gridworld", {"goal": [9, 9]}, {}, ["goal must be"]),
        ("gridworld", {}, {"action_names": ["a"]}, ["leave out action_names"]),
        ("python:no_such_module:make", {}, {}, ["no_such_module", "PYTHONPATH"]),
        ("python:my_tasks:onw", {}, {}, ["'onw'", "mean own?"]),
        ("python:my_tasks", {}, {}, ["package.module:name"]),
        ("python:my_tasks:own", {"sise": 3}, {}, ["mean size?"]),
        ("python:my_tasks:own", {}, {"max_turns": 4}, ["in the options"]),
        ("python:my_tasks:nothing", {}, {}, ["must return an Environment", "action_grammar"]),
        ("python:my_tasks:broken", {}, {}, ["refused its options", "KeyError"]),
        ("python:my_tasks:MODULE_NAME", {}, {}, ["has no"]),
        ("python:my_tasks:__name__", {}, {}, ["no callable"]),
        ("gymnasium:CartPole-v1", {}, {"render": "my_tasks:rendr"}, ["mean render?"]),
    ],
)
def test_a_refusal_says_how_to_mend_it(refuses, user_module, env_id, options, settings, parts):
    message = refuses(lambda: make_env(env_id, options, **settings))
    assert all(part in message for part in parts), message
