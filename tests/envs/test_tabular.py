"""Exact values against closed forms, known numbers and the environments themselves.

Pinned here:
- optimum and random value of each built-in task;
- a policy's exact value is what the environment pays it, so states, actions and texts are in the same order;
- the optimum knows how many turns are left.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from olal.envs import GridWorld, GymnasiumEnv, make_env
from olal.envs.tabular import TabularModel, policy_value, solve_optimum, uniform_value
from olal.envs.tabular_models import tabular_model

BOOK_RULES = {"sab": False, "natural": False}


@pytest.mark.parametrize(
    ("env_id", "options", "optimum", "random"),
    [
        ("gridworld", {}, 0.910, -0.1788),
        ("gymnasium:FrozenLake-v1", {"is_slippery": False}, 1.0, 0.0139),
        ("gymnasium:FrozenLake-v1", {}, 0.7442, 0.0139),
        ("gymnasium:Blackjack-v1", BOOK_RULES, -0.04656, -0.3959),
        ("gymnasium:CliffWalking-v1", {}, -13.0, -2079.1),
        ("gymnasium:Taxi-v4", {}, 7.93, -771.09),
    ],
)
def test_known_optima_and_random_values(env_id, options, optimum, random):
    model = tabular_model(make_env(env_id, options))
    assert solve_optimum(model) == pytest.approx(optimum, abs=6e-5)
    assert uniform_value(model) == pytest.approx(random, abs=6e-5 if abs(random) < 1 else 0.05)


def test_grid_optimum_is_the_mean_of_shortest_walks_however_many_moves_an_answer_has():
    env = GridWorld(size=5, goal=(1, 3))
    grid, states = env.grid, env.grid.starts()
    distance, queue = dict.fromkeys([s for s in states if grid.is_goal(grid.move(s, "forward")[0])], 1), deque()
    queue.extend(distance)
    while queue:
        reached = queue.popleft()
        for state in states:
            if state not in distance and reached in (grid.move(state, m)[0] for m in ("left", "right", "forward")):
                distance[state] = distance[reached] + 1
                queue.append(state)
    expected = np.mean([1 - 0.02 * distance[state] for state in states])
    for max_moves, forbid_walls in ((1, False), (3, False), (3, True)):
        model = tabular_model(GridWorld(5, (1, 3), max_moves=max_moves, forbid_walls=forbid_walls))
        assert solve_optimum(model) == pytest.approx(expected)


PLAYED = [
    ("gridworld", {"bump_reward": -0.3}, 1500),
    ("gridworld", {"max_moves": 3, "forbid_walls": True, "start": [1, 2, 3]}, 1500),
    ("gridworld", {"max_moves": 2, "max_turns": 6, "bump_reward": -0.3}, 1500),
    ("gymnasium:FrozenLake-v1", {}, 2000),
    ("gymnasium:FrozenLake-v1", {"is_slippery": False}, 2000),
    ("gymnasium:Blackjack-v1", {}, 4000),
    ("gymnasium:Blackjack-v1", BOOK_RULES, 4000),
    ("gymnasium:Blackjack-v1", {"sab": False, "natural": True}, 4000),
    ("gymnasium:CliffWalkingSlippery-v1", {"max_episode_steps": 30}, 400),
    ("gymnasium:Taxi-v4", {"max_episode_steps": 40}, 300),
    ("gymnasium:Taxi-v4", {"max_episode_steps": 40, "use_action_mask": True}, 300),
]


def noisy_expert(model):
    """Shape (S, A): mostly the best discounted action, the rest uneven; the same where texts are the same."""
    value = np.zeros(len(model.start))
    for _ in range(model.horizon):
        ahead = model.rewards + np.where(model.terminals, 0.0, 0.95 * value[model.next_states])
        returns = np.where(model.legal, (model.probabilities * ahead).sum(axis=2), -np.inf)
        value = returns.max(axis=1)
    rows = {}
    for text, legal, best in zip(model.observations, model.legal, returns.argmax(axis=1), strict=True):
        weights = np.random.default_rng(zlib.crc32(text.encode())).dirichlet(np.ones(len(legal))) * legal + 1e-9 * legal
        rows[text] = 0.4 * weights / weights.sum() + 0.6 * np.eye(len(legal))[best]
    return np.array([rows[text] for text in model.observations])


@pytest.mark.parametrize(("env_id", "options", "episodes"), PLAYED)
def test_the_environment_pays_a_policy_its_exact_value(env_id, options, episodes):
    env = make_env(env_id, options)
    model = tabular_model(env)
    policy = noisy_expert(model)
    cumulative = dict(zip(model.observations, policy.cumsum(axis=1), strict=True))
    rng, returns = np.random.default_rng(1), []
    for seed in range(episodes):
        step, paid = env.reset(seed), 0.0
        while not step.is_last:
            choice = min(int(np.searchsorted(cumulative[step.observation], rng.random())), len(model.actions) - 1)
            step = env.step(env.action_grammar().parse(model.actions[choice]))
            paid += step.reward
        returns.append(paid)
    error = np.std(returns) / episodes**0.5
    assert error > 0
    assert abs(np.mean(returns) - policy_value(model, policy)) < 4 * error


def test_a_policy_that_heeds_bumps_is_valued_as_it_plays():
    env = GridWorld(start=(0, 0, 0), bump_reward=-0.1)
    model = tabular_model(env)
    words = ["right" if text.endswith("bumped") else "forward" for text in model.observations]
    moves = dict(zip(model.observations, words, strict=True))
    step, paid, turns = env.reset(0), 0.0, 0
    while not step.is_last:
        step = env.step([moves[step.observation]])
        paid, turns = paid + step.reward, turns + 1
    policy = np.array([[f'"{word}"' in action for action in model.actions] for word in words], dtype=np.float64)
    assert (step.success, turns) == (True, 8)
    assert policy_value(model, policy) == pytest.approx(paid)


def test_the_rules_for_naturals_pay_what_naturals_are_worth():
    """A natural (chance n) beats a dealer's other 21 under one rule and wins half as much again under the other.

    With p the chance of a dealer's 21 the gains are n (p - n) and n (1 - p) / 2, so p cancels from the sum below.
    """
    chance = 8 / 169
    plain, beats, bonus = (
        solve_optimum(tabular_model(make_env("gymnasium:Blackjack-v1", {"sab": sab, "natural": natural})))
        for sab, natural in ((False, False), (True, False), (False, True))
    )
    assert min(beats - plain, bonus - plain) > 0
    assert (beats - plain) + 2 * (bonus - plain) == pytest.approx(chance * (1 - chance))


def test_grid_probabilities_and_legal_lists_match_the_environment():
    env = GridWorld(max_moves=2, forbid_walls=True)
    model = tabular_model(env)
    for state, legal in zip(env.grid.starts(), model.legal, strict=False):
        env.set_state(state.x, state.y, state.orientation)
        write = env.action_grammar().write
        assert {write(moves) for moves in env.move_lists.lists(state)} == set(np.array(model.actions)[legal])


@pytest.mark.parametrize("env_id", ["gymnasium:Taxi-v4", "gymnasium:Blackjack-v1", "gridworld"])
def test_models_are_distributions(env_id):
    model = tabular_model(make_env(env_id, {}))
    assert model.start.sum() == pytest.approx(1)
    assert np.allclose(model.probabilities.sum(axis=2), 1)
    assert model.probabilities.min() >= 0


def hurry(horizon):
    """Waiting pays 0.4 a turn and goes on, leaving pays 1 and ends: wait until the last turn."""
    return TabularModel(
        observations=("here",),
        actions=("wait", "leave"),
        start=np.ones(1),
        probabilities=np.ones((1, 2, 1)),
        next_states=np.zeros((1, 2, 1), np.int64),
        rewards=np.array([[[0.4], [1.0]]]),
        terminals=np.array([[[False], [True]]]),
        legal=np.ones((1, 2), np.bool_),
        horizon=horizon,
    )


def test_the_optimum_knows_the_turns_left():
    assert solve_optimum(hurry(5)) == pytest.approx(4 * 0.4 + 1)
    assert policy_value(hurry(5), np.array([[1.0, 0.0]])) == pytest.approx(5 * 0.4)
    assert uniform_value(hurry(2)) == pytest.approx(0.5 * 1 + 0.5 * (0.4 + 0.7))


def test_the_optimum_takes_legal_actions_only():
    assert solve_optimum(replace(hurry(5), legal=np.array([[False, True]]))) == pytest.approx(1.0)
    assert solve_optimum(replace(hurry(5), legal=np.array([[True, False]]))) == pytest.approx(2.0)


@pytest.mark.parametrize("policy", [np.ones((2, 2)) / 2, np.array([[0.5, 0.4]]), np.array([[1.5, -0.5]])])
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError, match="policy"):
        policy_value(hurry(2), policy)


def test_a_policy_may_not_use_illegal_actions():
    model = tabular_model(GridWorld(forbid_walls=True))
    with pytest.raises(ValueError, match="legal"):
        policy_value(model, np.full(model.legal.shape, 1 / 3))


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("gridworld", {"max_moves": 8}),
        ("gymnasium:Taxi-v4", {"fickle_passenger": True}),
        ("gymnasium:CartPole-v1", {}),
    ],
)
def test_tasks_too_large_or_hidden_have_no_model(env_id, options):
    assert tabular_model(make_env(env_id, options)) is None


def test_a_wrapper_that_changes_rewards_leaves_no_model():
    inner = gymnasium.wrappers.TransformReward(gymnasium.make("FrozenLake-v1"), lambda reward: 2 * reward)
    assert tabular_model(GymnasiumEnv(inner)) is None
