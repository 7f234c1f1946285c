"""The rules of the grid, its exact grammars, and its refusals.

Pinned here:
- north is y+1; a turn is a quarter; the border keeps the walker in place and is told;
- the goal ends the episode at once, in the middle of a list;
- the grammar is exactly the set of legal lists, with walls allowed or forbidden, for one move or several.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from olal.envs import GridWorld
from olal.envs.grid_moves import GridMap, GridState, MoveLists, write_moves


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (0, "grid x=1 y=2 facing north"),
        (1, "grid x=2 y=1 facing east"),
        (2, "grid x=1 y=0 facing south"),
        (3, "grid x=0 y=1 facing west"),
    ],
)
def test_forward_walks_where_the_walker_faces(orientation, expected):
    env = GridWorld()
    env.set_state(1, 1, orientation)
    assert env.step(["forward"]).observation == expected


def test_left_and_right_turn_by_a_quarter():
    env = GridWorld(max_moves=2)
    env.set_state(1, 1, 0)
    assert env.step(["left"]).observation == "grid x=1 y=1 facing west"
    assert env.step(["right", "right"]).observation == "grid x=1 y=1 facing east"


def test_a_walk_into_the_border_stays_pays_and_is_told_once():
    env = GridWorld(max_moves=2, bump_reward=-0.5)
    env.set_state(0, 3, 0)
    step = env.step(["forward", "left"])
    assert step.observation == "grid x=0 y=3 facing west bumped"
    assert step.reward == pytest.approx(-0.54)
    assert env.step(["left"]).observation == "grid x=0 y=3 facing south"


def test_the_goal_ends_the_episode_before_the_rest_of_the_list():
    env = GridWorld(max_moves=4)
    env.set_state(3, 2, 0)
    step = env.step(["forward", "left", "forward", "forward"])
    assert (step.observation, step.terminated, step.success) == ("grid x=3 y=3 facing north", True, True)
    assert step.reward == pytest.approx(0.98)


def test_the_shortest_walk_earns_what_it_should():
    env = GridWorld(start=(0, 0, 0))
    env.reset(0)
    rewards = [env.step([move]).reward for move in ("forward",) * 3 + ("right",) + ("forward",) * 3]
    assert sum(rewards) == pytest.approx(1 - 7 * 0.02)


def test_a_goal_on_the_last_turn_terminates_and_does_not_truncate():
    env = GridWorld(max_turns=1)
    env.set_state(2, 3, 1)
    step = env.step(["forward"])
    assert (step.terminated, step.truncated, step.success) == (True, False, True)


def test_time_running_out_truncates_without_success():
    env = GridWorld(max_turns=2)
    env.set_state(0, 0, 0)
    env.step(["left"])
    step = env.step(["left"])
    assert (step.terminated, step.truncated, step.success) == (False, True, False)


def test_starts_are_uniform_over_states_off_the_goal():
    env = GridWorld(size=2, goal=(1, 0))
    counts = Counter(env.reset(seed).observation for seed in range(6000))
    assert len(counts) == 12
    assert all(abs(count - 500) < 5 * 500**0.5 for count in counts.values())


@pytest.mark.parametrize("forbid_walls", [False, True])
@pytest.mark.parametrize("max_moves", [1, 2, 3])
def test_the_grammar_is_exactly_the_legal_lists(grammar, max_moves, forbid_walls):
    env = GridWorld(size=3, goal=(1, 2), max_moves=max_moves, forbid_walls=forbid_walls)
    for state in env.grid.starts()[:: 1 if max_moves < 3 else 5]:
        env.set_state(state.x, state.y, state.orientation)
        legal = {write_moves(moves) for moves in every_list(env, state, max_moves, forbid_walls)}
        assert grammar.sentences(env.action_grammar().spec) == legal


def every_list(env, state, max_moves, forbid_walls):
    """Try all lists on a copy of the environment that has no walls in its grammar."""
    free = GridWorld(size=env.grid.size, goal=env.grid.goal, max_moves=max_moves)
    lists = [()]
    for _ in range(max_moves):
        lists += [(*moves, move) for moves in lists for move in ("left", "right", "forward")]
    for moves in sorted(set(lists) - {()}):
        free.set_state(state.x, state.y, state.orientation)
        if not (forbid_walls and free.step(moves).observation.endswith("bumped")):
            yield moves


@pytest.mark.parametrize("max_moves", [1, 4, 8])
def test_with_walls_forbidden_no_text_of_the_grammar_ever_bumps(grammar, max_moves):
    env = GridWorld(max_moves=max_moves, forbid_walls=True)
    for seed in range(20):
        step = env.reset(seed)
        while not step.is_last:
            legal = env.action_grammar()
            step = env.step(legal.parse(grammar.sample(legal.spec, random.Random(step.observation).randrange(10**6))))
            assert "bumped" not in step.observation


def test_states_with_the_same_lists_share_one_grammar():
    env = GridWorld(forbid_walls=True)
    digests = set()
    for state in env.grid.starts():
        env.set_state(state.x, state.y, state.orientation)
        digests.add(env.action_grammar().spec.digest)
    assert len(digests) == 2


def test_lists_are_counted_and_sampled_uniformly():
    grid = GridMap(3, (2, 2))
    lists = MoveLists(grid, 3, forbid_walls=True)
    state, rng = GridState(0, 0, 3), random.Random(0)
    expected = list(lists.lists(state))
    assert lists.count(state) == len(expected)
    counts = Counter(lists.sample(state, rng) for _ in range(100 * len(expected)))
    assert set(counts) == set(expected)
    assert all(50 < count < 150 for count in counts.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 1}, "size must be a whole number of at least 2"),
        ({"size": 3}, "goal must be (x, y) on the map, 0 <= x, y < 3, not (3, 3)"),
        ({"goal": (0, 4)}, "goal must be"),
        ({"goal": "ab"}, "goal must be"),
        ({"start": (0, 0)}, "start must be (x, y, orientation)"),
        ({"start": (0, 0, 4)}, "start must be"),
        ({"start": (3, 3, 0)}, "start must not be the goal"),
        ({"max_moves": 0}, "max_moves must be"),
        ({"max_turns": True}, "max_turns must be"),
        ({"step_reward": float("nan")}, "step_reward must be a finite number"),
        ({"goal_reward": "1"}, "goal_reward must be a finite number"),
    ],
)
def test_bad_options_are_refused_by_name(refuses, options, message):
    assert message in refuses(lambda: GridWorld(**options))


def test_a_state_off_the_map_or_on_the_goal_cannot_be_set():
    env = GridWorld()
    for state in ((4, 0, 0), (0, -1, 0), (0, 0, 7), (3, 3, 0)):
        with pytest.raises(ValueError, match=r"goal|map"):
            env.set_state(*state)


def test_the_instructions_name_size_goal_moves_and_format():
    text = GridWorld(size=6, goal=(5, 2), max_moves=3).instructions
    for part in ("6 by 6", "x=5 y=2", "left and right", "forward", "1 to 3 moves", '{"moves":["forward","left"]}'):
        assert part in text
