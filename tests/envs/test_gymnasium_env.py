"""GymnasiumEnv: limits, masks, rewards and renderers."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from olal.envs import GymnasiumEnv, make_env
from olal.errors import ActionSpaceUnsupported


class Slot(gymnasium.Env):
    """Pays whatever it was built with and never ends."""

    def __init__(self, reward=1.0, observation_space=None, info=None):
        self.observation_space = observation_space or spaces.Discrete(3)
        self.action_space = spaces.Discrete(2)
        self.reward = reward
        self.info = info or {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, self.info

    def step(self, action):
        return 2, self.reward, False, False, self.info


@pytest.mark.parametrize("reward", [1, 0.5, True, np.float32(2), np.int64(-1), np.array(3.0)])
def test_any_finite_number_is_a_reward(reward):
    env = GymnasiumEnv(Slot(reward))
    env.reset(0)
    paid = env.step(0).reward
    assert type(paid) is float
    assert paid == float(reward)


@pytest.mark.parametrize("reward", [float("nan"), np.inf, "1.0", None, np.array([1.0]), 1j])
def test_other_rewards_are_refused(reward):
    env = GymnasiumEnv(Slot(reward))
    env.reset(0)
    with pytest.raises(ValueError, match="one finite number"):
        env.step(0)


@pytest.mark.parametrize(
    ("env_id", "asked", "limit"),
    [
        ("FrozenLake-v1", None, 100),
        ("FrozenLake-v1", 7, 7),
        ("FrozenLake-v1", 300, 300),
        ("CliffWalking-v1", None, 200),
    ],
)
def test_the_limit_is_the_one_asked_for_or_the_environments_own_or_200(env_id, asked, limit):
    env = make_env(f"gymnasium:{env_id}", {}, max_turns=asked)
    assert env.max_turns == limit
    if env_id == "CliffWalking-v1":
        step, turns = env.reset(0), 0
        while not step.is_last:
            step, turns = env.step(0), turns + 1
        assert (turns, step.truncated, step.terminated, step.success) == (limit, True, False, False)


def test_a_time_limit_inside_the_environment_still_holds():
    inner = gymnasium.wrappers.TimeLimit(Slot(), 3)
    env = GymnasiumEnv(inner, max_turns=10)
    env.reset(0)
    assert [env.step(0).truncated for _ in range(3)] == [False, False, True]


def test_without_a_preset_success_has_no_meaning():
    env = GymnasiumEnv(Slot(), max_turns=1)
    env.reset(0)
    step = env.step(1)
    assert (step.observation, step.truncated, step.success) == ("state 2", True, None)


def test_a_mask_leaves_only_what_it_allows(grammar):
    env = make_env("gymnasium:Taxi-v4", {"use_action_mask": True})
    env.reset(0)
    env.env.unwrapped.s = env.env.unwrapped.encode(1, 0, 0, 1)
    env.step(env.action_grammar().parse("north"))
    assert grammar.sentences(env.action_grammar().spec) == {"south", "east", "pickup"}
    assert {env.sample_action(seed) for seed in range(40)} == {0, 2, 4}


def test_a_mask_needs_an_info_that_has_one():
    env = GymnasiumEnv(Slot(), use_action_mask=True)
    with pytest.raises(ValueError, match="action_mask"):
        env.reset(0)


def test_a_state_that_allows_nothing_has_no_grammar():
    env = GymnasiumEnv(Slot(info={"action_mask": np.zeros(2, np.int8)}), use_action_mask=True)
    env.reset(0)
    with pytest.raises(ActionSpaceUnsupported):
        env.action_grammar()


def test_sampling_is_uniform():
    env = make_env("gymnasium:Taxi-v4", {})
    env.reset(0)
    counts = np.bincount([env.sample_action(seed) for seed in range(6000)], minlength=6)
    assert np.all(np.abs(counts - 1000) < 5 * 1000**0.5)


def test_sampling_leaves_the_random_stream_of_the_space_alone():
    inner = gymnasium.make("Pendulum-v1")
    env = GymnasiumEnv(inner)
    inner.action_space.seed(5)
    expected = inner.action_space.sample()
    inner.action_space.seed(5)
    env.sample_action(0)
    assert inner.action_space.sample() == expected


def test_a_render_function_and_names_replace_the_preset():
    inner = gymnasium.make("FrozenLake-v1")
    env = GymnasiumEnv(inner, render=lambda state: f"cell {state}", action_names=["w", "s", "e", "n"])
    assert env.reset(0).observation == "cell 0"
    assert env.action_grammar().parse("n") == 3


def test_a_render_function_that_returns_no_text_is_refused():
    env = GymnasiumEnv(Slot(), render=lambda state: state)
    with pytest.raises(ValueError, match="must return a text"):
        env.reset(0)


def test_a_picture_needs_a_render_function(refuses):
    picture = spaces.Dict({"view": spaces.Box(0, 255, (84, 84, 3), np.uint8)})
    assert "render" in refuses(lambda: GymnasiumEnv(Slot(observation_space=picture)))


def test_options_that_do_not_fit_are_refused(refuses):
    refuses(lambda: GymnasiumEnv(Slot(), max_turns=0))
    refuses(lambda: GymnasiumEnv(Slot(), digits=10))
    refuses(lambda: GymnasiumEnv(Slot(), action_names=["only one"]))
    assert "Discrete" in refuses(lambda: make_env("gymnasium:Pendulum-v1", {"use_action_mask": True}))


def test_instructions_name_the_answers():
    assert "one of: left, right." in make_env("gymnasium:CartPole-v1", {}, action_names=["left", "right"]).instructions
    assert "as [" in make_env("gymnasium:Pendulum-v1", {}).instructions
