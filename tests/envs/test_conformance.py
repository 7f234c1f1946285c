"""What every environment promises, whatever it is.

Pinned here:
- an episode depends on its seed and its actions, on nothing that happened before;
- flags and success are set on the last step only, and just one of terminated and truncated;
- every text of the grammar parses to an action the environment takes, and back to the same text;
- sampled actions are legal, and sampling leaves the episode alone;
- a finished episode takes no further action.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from olal.envs import GridWorld, GymnasiumEnv, make_env
from olal.errors import GrammarError


class Arm(gymnasium.Env):
    """Every supported kind of action space in one; ends at random."""

    observation_space = spaces.Dict({"angle": spaces.Box(-1, 1, (2,)), "gripper": spaces.Discrete(2)})
    action_space = spaces.Dict(
        {
            "move": spaces.Tuple((spaces.Discrete(3, start=-1), spaces.Box(-0.7, 0.7, (2,)))),
            "bits": spaces.MultiBinary((2, 2)),
            "gears": spaces.MultiDiscrete([3, 12]),
            "say": spaces.Text(3, min_length=0, charset='a"\\é'),
        }
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self._observe(), float(action["move"][1].sum()), bool(self.np_random.random() < 0.1), False, {}

    def _observe(self):
        return {
            "angle": self.np_random.uniform(-1, 1, 2).astype(np.float32),
            "gripper": int(self.np_random.integers(2)),
        }


ARM_NAMES = {"move": [["left", "stay", "right"], None]}
ENVIRONMENTS = {
    "grid": lambda: GridWorld(),
    "grid-moves": lambda: GridWorld(size=5, goal=(0, 4), start=(2, 2, 1), max_moves=3, max_turns=6, bump_reward=-0.1),
    "grid-walls": lambda: GridWorld(max_moves=1, forbid_walls=True),
    "grid-walls-moves": lambda: GridWorld(max_moves=4, max_turns=5, forbid_walls=True),
    "lake": lambda: make_env("gymnasium:FrozenLake-v1", {"is_slippery": False}),
    "lake-slippery": lambda: make_env("gymnasium:FrozenLake8x8-v1", {}, max_turns=12),
    "blackjack": lambda: make_env("gymnasium:Blackjack-v1", {}),
    "cliff": lambda: make_env("gymnasium:CliffWalking-v1", {}, max_turns=15),
    "taxi": lambda: make_env("gymnasium:Taxi-v4", {}, max_turns=10),
    "taxi-mask": lambda: make_env("gymnasium:Taxi-v4", {"use_action_mask": True}, max_turns=10),
    "cart": lambda: make_env("gymnasium:CartPole-v1", {}, action_names=["left", "right"]),
    "pendulum": lambda: make_env("gymnasium:Pendulum-v1", {}, max_turns=5, digits=1),
    "arm": lambda: GymnasiumEnv(Arm(), max_turns=8, action_names=ARM_NAMES),
}


@pytest.fixture(params=ENVIRONMENTS)
def make(request):
    return ENVIRONMENTS[request.param]


@pytest.fixture
def env(make):
    env = make()
    yield env
    env.close()


def play(env, seed, choose=lambda env, seed: env.sample_action(seed)):
    """Play one episode; returns each step with the digest of the grammar that was legal before it."""
    steps, digests = [env.reset(seed)], []
    while not steps[-1].is_last:
        digests.append(env.action_grammar().spec.digest)
        steps.append(env.step(choose(env, 1000 * seed + len(steps))))
    return steps, digests


def test_same_seed_gives_the_same_episode_whatever_was_played_before(env, make):
    first = play(env, 3)
    play(env, 4)
    env.reset(5)
    assert play(env, 3) == first
    assert play(make(), 3) == first


def test_a_reset_pays_nothing_and_ends_nothing(env):
    step = env.reset(0)
    assert (step.reward, step.terminated, step.truncated, step.success) == (0.0, False, False, None)


def test_observations_are_one_line_of_text(env):
    observations = [step.observation for step in play(env, 1)[0]]
    assert all(isinstance(text, str) and text and "\n" not in text for text in observations)


def test_instructions_are_one_paragraph(env):
    assert len(env.instructions) > 40
    assert "\n" not in env.instructions


def test_only_the_last_step_has_a_flag_and_it_has_one(env):
    for seed in range(8):
        steps, _ = play(env, seed)
        assert all(step.success is None for step in steps[:-1])
        assert steps[-1].terminated + steps[-1].truncated == 1


def test_an_episode_is_truncated_at_max_turns_and_never_later(env):
    for seed in range(8):
        steps, _ = play(env, seed)
        assert len(steps) - 1 <= env.max_turns
        assert not steps[-1].truncated or len(steps) - 1 == env.max_turns


def test_rewards_are_finite_floats(env):
    rewards = [step.reward for step in play(env, 2)[0]]
    assert all(isinstance(reward, float) and np.isfinite(reward) for reward in rewards)


def test_sampled_actions_are_texts_of_the_grammar(env, grammar):
    step, seed = env.reset(0), 0
    while not step.is_last and seed < 12:
        legal, action = env.action_grammar(), env.sample_action(seed)
        text = legal.write(action)
        assert grammar.accepts(legal.spec, text)
        assert legal.write(legal.parse(text)) == text
        step, seed = env.step(action), seed + 1


def test_every_text_of_the_grammar_is_an_action_the_environment_takes(env, grammar):
    step, seed = env.reset(1), 0
    while not step.is_last and seed < 12:
        legal = env.action_grammar()
        text = grammar.sample(legal.spec, seed)
        action = legal.parse(text)
        assert legal.write(action) == text
        step, seed = env.step(action), seed + 1


def test_sampling_leaves_the_episode_alone(env):
    def sample_thrice(env, seed):
        env.sample_action(seed + 7)
        env.sample_action(seed + 8)
        return env.sample_action(seed)

    assert play(env, 6, sample_thrice) == play(env, 6)


def test_other_texts_do_not_parse(env, grammar):
    env.reset(0)
    legal = env.action_grammar()
    text = legal.write(env.sample_action(0))
    for other in ("", " ", text + " ", " " + text, text + text, "nonsense", "{}", "null", '{"moves":[[]]}'):
        assert not grammar.accepts(legal.spec, other)
        with pytest.raises(GrammarError):
            legal.parse(other)


def test_an_illegal_action_is_refused_and_changes_nothing(env):
    env.reset(0)
    for action in (None, "nonsense", -99, [None], {"moves": 1}):
        with pytest.raises(GrammarError):
            env.step(action)
    assert env.action_grammar().spec == env.action_grammar().spec
    env.step(env.sample_action(0))


def test_no_step_without_a_running_episode(make):
    env = make()
    with pytest.raises(RuntimeError, match="reset"):
        env.step(None)
    play(env, 0)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(None)
