"""The built-in tasks as tabular models, each taken from the rules or tables that the environment itself plays by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from numpy.typing import NDArray

from olal.envs.base import Environment
from olal.envs.blackjack_rules import blackjack_hit, blackjack_starts, blackjack_states, blackjack_stick
from olal.envs.grid_moves import GridState, MoveLists, describe, write_moves
from olal.envs.grid_world import GridWorld
from olal.envs.gymnasium_env import GymnasiumEnv
from olal.envs.tabular import TabularModel

MAX_ACTIONS = 5000
Outcome: TypeAlias = "tuple[float, int, float, bool]"
"""Probability, next state, reward, whether the task ends there."""


def tabular_model(env: Environment) -> TabularModel | None:
    """The environment as a tabular model; None where it has none of reasonable size.

    There is one for GridWorld with up to 5000 move lists, for gymnasium environments that publish their transitions as
    `P` and `initial_state_distrib`, and for Blackjack-v1.
    """
    if isinstance(env, GridWorld):
        return _grid_model(env)
    if not isinstance(env, GymnasiumEnv) or not _is_plain(env.env):
        return None
    inner: Any = env.env.unwrapped
    if env.env.spec is not None and env.env.spec.id == "Blackjack-v1":
        return _blackjack_model(env, inner)
    has_table = hasattr(inner, "P") and hasattr(inner, "initial_state_distrib")
    if not has_table or getattr(inner, "fickle_passenger", False):  # the passenger's whim is not in the state
        return None
    return _table_model(env, inner)


def _is_plain(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether no wrapper changes what the inner environment says or pays."""
    while isinstance(env, TimeLimit | OrderEnforcing | PassiveEnvChecker):
        env = env.env
    return env is env.unwrapped


def _grid_model(env: GridWorld) -> TabularModel | None:
    grid = env.grid
    free = MoveLists(grid, env.max_moves, forbid_walls=False)
    if free.count(grid.starts()[0]) > MAX_ACTIONS:
        return None
    actions = list(free.lists(grid.starts()[0]))
    places = grid.starts()
    index = {place: i for i, place in enumerate(places)}
    rows: list[list[list[Outcome]]] = []
    legal = np.zeros((len(places), len(actions)), dtype=np.bool_)
    for i, place in enumerate(places):
        # After each list: state, reward, any bump, goal reached.
        ends: dict[tuple[str, ...], tuple[GridState, float, bool, bool]] = {(): (place, 0.0, False, False)}
        allowed = set(env.move_lists.lists(place))
        row: list[list[Outcome]] = []
        for a, moves in enumerate(actions):
            state, reward, bumped, done = ends[moves[:-1]]
            if not done:
                state, bump = grid.move(state, moves[-1])
                done, bumped = grid.is_goal(state), bumped or bump
                reward += env.step_reward + env.bump_reward * bump + env.goal_reward * done
            ends[moves] = (state, reward, bumped, done)
            legal[i, a] = moves in allowed
            # The second half of the states repeats the first; there the last observation told of a bump.
            row.append([(1.0, 0 if done else index[state] + bumped * len(places), reward, done)])
        rows.append(row)
    start = np.zeros(2 * len(places))
    if env.start is None:
        start[: len(places)] = 1 / len(places)
    else:
        start[index[env.start]] = 1
    texts = tuple(describe(place, bumped) for bumped in (False, True) for place in places)
    names = [write_moves(moves) for moves in actions]
    return _pack(texts, names, start, rows * 2, np.tile(legal, (2, 1)), env.max_turns)


def _table_model(env: GymnasiumEnv, inner: Any) -> TabularModel | None:
    space = env.env.action_space
    if not isinstance(space, spaces.Discrete) or (env.use_action_mask and not hasattr(inner, "action_mask")):
        return None
    states, actions = range(len(inner.P)), [int(space.start) + a for a in range(int(space.n))]
    rows = [[[_outcome(*entry) for entry in inner.P[state][action]] for action in actions] for state in states]
    legal = np.ones((len(states), len(actions)), dtype=np.bool_)
    if env.use_action_mask:
        legal = np.array([inner.action_mask(state) for state in states], dtype=np.bool_)
    texts = tuple(env.render(state) for state in states)
    start = np.asarray(inner.initial_state_distrib, dtype=np.float64)
    return _pack(texts, [env.action_text(action) for action in actions], start, rows, legal, env.max_turns)


def _outcome(probability: Any, state: Any, reward: Any, terminated: Any) -> Outcome:
    return float(probability), int(state), float(reward), bool(terminated)


def _blackjack_model(env: GymnasiumEnv, inner: Any) -> TabularModel:
    starts = blackjack_starts()
    states = blackjack_states()
    index = {state: i for i, state in enumerate(states)}
    rows: list[list[list[Outcome]]] = []
    for state in states:
        stick = blackjack_stick(state, natural_bonus=inner.natural and not inner.sab, natural_wins=inner.sab)
        hit = blackjack_hit(state)
        rows.append(
            [
                [(probability, 0, reward, True) for reward, probability in stick.items()],
                [
                    (probability, 0, -1.0, True) if after is None else (probability, index[after], 0.0, False)
                    for after, probability in hit.items()
                ],
            ]
        )
    start = np.array([starts.get(state, 0.0) for state in states])
    texts = tuple(env.render((state.total, state.dealer, state.ace)) for state in states)
    legal = np.ones((len(states), 2), dtype=np.bool_)
    return _pack(texts, [env.action_text(action) for action in (0, 1)], start, rows, legal, env.max_turns)


def _pack(
    observations: tuple[str, ...],
    actions: Sequence[str],
    start: NDArray[np.float64],
    rows: list[list[list[Outcome]]],
    legal: NDArray[np.bool_],
    horizon: int,
) -> TabularModel:
    """Fill the arrays of a model from lists of outcomes; pairs with fewer outcomes are padded with probability 0."""
    most = max(len(outcomes) for row in rows for outcomes in row)
    padding: Outcome = (0.0, 0, 0.0, True)
    flat = [entry for row in rows for outcomes in row for entry in outcomes + [padding] * (most - len(outcomes))]
    probabilities, next_states, rewards, terminals = zip(*flat, strict=True)
    shape = (*legal.shape, most)
    return TabularModel(
        observations=observations,
        actions=tuple(actions),
        start=start,
        probabilities=np.array(probabilities).reshape(shape),
        next_states=np.array(next_states, dtype=np.int64).reshape(shape),
        rewards=np.array(rewards).reshape(shape),
        terminals=np.array(terminals, dtype=np.bool_).reshape(shape),
        legal=legal,
        horizon=horizon,
    )
