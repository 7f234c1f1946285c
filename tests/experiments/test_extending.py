"""The classes of docs/extending.md, as they stand there.

Pinned: each example does what it says, by the config beside it; what is wrong with a class, its options or a file of
given episodes is one line before anything starts; stages are built and run in order.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from olal.config import load_config
from olal.errors import ConfigError
from olal.experiments.build import build_reward, build_worker
from olal.experiments.build_learner import build_learner
from olal.experiments.given_episodes import GivenEpisodes
from olal.experiments.preflight import check_config
from olal.experiments.seeds import training_tasks
from olal.replay import to_json
from olal.types import SamplingParams

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
PYTHON, YAML = (re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) for kind in ("python", "yaml"))
CONFIGS = [yaml.safe_load(text) for text in YAML]
SMALL = {"env.options": {"size": 3, "goal": [2, 2], "max_turns": 5}, "rollout.workers": 1}


@pytest.fixture(autouse=True)
def parts(tmp_path, monkeypatch):
    (tmp_path / "my_parts.py").write_text("\n".join(PYTHON))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_parts", None)


def config_of(section: str, **more):
    [given] = [
        config[section]
        for config in CONFIGS
        if section in config and more.get("kind") in (None, config[section].get("kind"))
    ]
    return load_config([], {**SMALL, section: given})


def play(config, episodes=8):
    collector = build_worker(config, 0).collector
    trajectories = collector.collect(training_tasks(0, 0, episodes), SamplingParams(1.0, 64))
    return collector, trajectories


def test_a_reward_function_pays_and_the_environments_reward_stays_beside_it():
    config = config_of("reward")
    collector, trajectories = play(config)

    paid = collector.pay(trajectories)

    pairs = [
        (old, new)
        for one, other in zip(trajectories, paid, strict=True)
        for old, new in zip(one.turns, other.turns, strict=True)
    ]
    assert all(new.reward == pytest.approx(old.reward - 0.05) and new.env_reward == old.reward for old, new in pairs)
    assert {turn["env_reward"] for turn in to_json(paid[0])["turns"]} == {turn.reward for turn in trajectories[0].turns}


def test_without_a_reward_function_nothing_changes():
    collector, trajectories = play(load_config([], SMALL))

    assert collector.pay(trajectories) == trajectories


@pytest.mark.parametrize("kind", ["ppo", "python"])
def test_a_critic_or_learner_of_the_users_learns(kind):
    config = config_of("learner", kind=kind)
    learner, _ = build_learner(config)
    _, trajectories = play(config, 16)

    step = learner.update(trajectories)

    assert step.update.version == 1
    assert step.update.digest != trajectories[0].adapter_digest
    assert "non_finite" not in step.alarms
    if kind == "python":
        assert learner._settings.bonus == 0.5
        assert step.metrics["median_return"] == np.median([one.episode_return for one in trajectories])
    else:
        assert set(learner.critic.state_dict()) == {"head.layer.weight", "head.layer.bias"}


def test_stages_follow_one_another():
    config = load_config([], {**SMALL, "stages": CONFIGS[-1]["stages"]})

    assert config.num_updates == 30
    assert [config.stage_at(version)[0].learner.kind for version in (0, 4, 5, 9, 10, 29, 30)] == [
        *("sft", "sft", "value", "value", "simpo", "simpo", "simpo")
    ]
    assert [config.stage_at(version)[1] for version in (4, 5, 29)] == [0, 5, 10]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"learner.kind": "python", "learner.target": "python:my_parts:Winer"},
            "has no 'Winer'; did you mean Winners?",
        ),
        ({"learner.kind": "python", "learner.target": "python:nowhere:X"}, "cannot import nowhere"),
        ({"learner.kind": "python", "learner.target": "python:my_parts:Brisk"}, "must be a class derived from"),
        (
            {"learner.kind": "python", "learner.target": "python:my_parts:Winners", "learner.options": {"bonnus": 1}},
            "learner.options.bonnus: no such option; did you mean bonus?",
        ),
        ({"learner.critic": "python:my_parts:Brisk"}, "learner.critic must be a class derived from"),
        ({"learner.critic": "python:olal.learners.critic:Critic"}, "learner.critic: Critic must define forward"),
        ({"reward.target": "python:my_parts:Linear"}, "reward.target must be a class derived from"),
        (
            {"reward.target": "python:my_parts:Brisk", "reward.options": {"cost": 1}},
            "reward.options.cost: no such option",
        ),
        ({"learner.kind": "sft", "learner.trajectories": "nowhere.jsonl"}, "must be a readable file"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_starts(overrides, message):
    with pytest.raises(ConfigError) as caught:
        check_config(load_config([], {**SMALL, **overrides}))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reward_that_is_no_number_is_refused(tmp_path):
    (tmp_path / "bad_reward.py").write_text(
        "from olal.rollout import RewardFunction\n\nclass Bad(RewardFunction):\n"
        "    def reward(self, turn, following):\n        return float('nan')\n"
    )
    collector, trajectories = play(load_config([], {**SMALL, "reward.target": "python:bad_reward:Bad"}), 1)

    assert build_reward(load_config([], SMALL)) is None
    with pytest.raises(ConfigError, match="Bad must give one finite number per turn"):
        collector.pay(trajectories)


def test_given_episodes_come_once_each_in_an_order_of_the_seed(tmp_path):
    _, trajectories = play(load_config([], SMALL), 10)
    path = tmp_path / "episodes.jsonl"
    path.write_text("".join(json.dumps(to_json(one)) + "\n" for one in trajectories))

    given, again, other = (GivenEpisodes(path, seed=seed) for seed in (3, 3, 4))

    numbers = [[one.task.episode_id for one in given.batch(update, 5)] for update in range(4)]
    assert sorted(numbers[0] + numbers[1]) == sorted(numbers[2] + numbers[3]) == list(range(10))
    assert numbers[:2] != numbers[2:]
    assert given.batch(3, 5) == again.batch(3, 5)
    assert given.batch(0, 10) != other.batch(0, 10)
    assert len(given.batch(0, 64)) == 10


def test_a_line_that_is_no_episode_is_named(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text('{"turns": []}\n')

    with pytest.raises(ConfigError, match=r"not an episode of olal \(KeyError: 'grammars'\): .*episodes.jsonl:1"):
        GivenEpisodes(path, seed=0)
