"""Presets of the toy-text tasks: each word does what it says, in gymnasium's own tables and games."""

from __future__ import annotations

import gymnasium
import pytest

from olal.envs import make_env


def after(env_id, options, state, word):
    """The observation after one word in a given state of a task that keeps its state in `s`."""
    env = make_env(f"gymnasium:{env_id}", options)
    env.reset(0)
    env.env.unwrapped.s = state
    return env.step(env.action_grammar().parse(word))


@pytest.mark.parametrize(
    ("word", "expected"),
    [("left", "row=2 col=0"), ("right", "row=2 col=2"), ("up", "row=1 col=1"), ("down", "row=3 col=1")],
)
def test_lake_words_move_as_they_say(word, expected):
    step = after("FrozenLake-v1", {"is_slippery": False}, 9, word)
    assert step.observation == f"lake {expected}"
    assert step.terminated is (word == "up")
    assert step.success is (False if word == "up" else None)


def test_reaching_the_goal_of_the_lake_is_success_whatever_it_pays():
    step = after("FrozenLake-v1", {"is_slippery": False, "reward_schedule": (-1, 0, 0)}, 14, "right")
    assert (step.observation, step.reward, step.terminated, step.success) == ("lake row=3 col=3", -1.0, True, True)


def test_a_big_lake_has_its_own_rows_and_holes():
    env = make_env("gymnasium:FrozenLake8x8-v1", {})
    assert "8 rows" in env.instructions
    assert "row 7 column 3" in env.instructions
    assert "slippery" in env.instructions
    assert after("FrozenLake8x8-v1", {"is_slippery": False}, 10, "down").observation == "lake row=2 col=2"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("left", "row=1 col=4"), ("right", "row=1 col=6"), ("up", "row=0 col=5"), ("down", "row=2 col=5")],
)
def test_cliff_words_move_as_they_say(word, expected):
    assert after("CliffWalking-v1", {}, 17, word).observation == f"cliff {expected}"


def test_falling_off_the_cliff_goes_on_and_the_goal_is_success():
    fall = after("CliffWalking-v1", {}, 36, "right")
    assert (fall.observation, fall.reward, fall.is_last) == ("cliff row=3 col=0", -100.0, False)
    assert after("CliffWalking-v1", {}, 35, "down").success is True


@pytest.mark.parametrize(
    ("state", "word", "expected", "reward"),
    [
        ((2, 2, 0, 1), "south", "taxi row=3 col=2 passenger=red destination=green", -1),
        ((2, 2, 0, 1), "north", "taxi row=1 col=2 passenger=red destination=green", -1),
        ((2, 2, 2, 3), "east", "taxi row=2 col=3 passenger=yellow destination=blue", -1),
        ((2, 2, 2, 3), "west", "taxi row=2 col=1 passenger=yellow destination=blue", -1),
        ((0, 0, 0, 1), "pickup", "taxi row=0 col=0 passenger=taxi destination=green", -1),
        ((0, 1, 0, 1), "pickup", "taxi row=0 col=1 passenger=red destination=green", -10),
        ((0, 4, 4, 1), "dropoff", "taxi row=0 col=4 passenger=green destination=green", 20),
    ],
)
def test_taxi_words_do_as_they_say(state, word, expected, reward):
    encoded = gymnasium.make("Taxi-v4").unwrapped.encode(*state)
    step = after("Taxi-v4", {}, encoded, word)
    assert (step.observation, step.reward) == (expected, reward)
    assert step.terminated is (reward == 20)
    assert step.success is (True if reward == 20 else None)


def test_blackjack_sticks_and_hits():
    env = make_env("gymnasium:Blackjack-v1", {})
    for seed in range(30):
        start = env.reset(seed)
        hand = list(env.env.unwrapped.player)
        hit = env.step(env.action_grammar().parse("hit"))
        assert start.observation.startswith("blackjack sum=")
        assert len(env.env.unwrapped.player) == len(hand) + 1
        if not hit.is_last:
            stick = env.step(env.action_grammar().parse("stick"))
            assert stick.terminated
            assert stick.success is (stick.reward > 0)


def test_environments_without_a_preset_are_found_to_have_none():
    assert make_env("gymnasium:CartPole-v1", {}).preset is None
    assert make_env("gymnasium:CliffWalkingSlippery-v1", {}).preset is not None
