"""load_config: layers, the union rule, and errors of one line.

Pinned: defaults < files left to right < overrides; a changed `learner.kind` or `env.id` drops the section's settings
below it, a missing one inherits; every error names the full key.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from olal.config import MeZOConfig, PPOConfig, RunConfig, load_config, to_yaml
from olal.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def error_of(key: str, value: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config([], {key: value})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_is_the_defaults():
    config = load_config()
    assert config == RunConfig()
    assert isinstance(config.learner, PPOConfig)
    assert (config.rollout.workers, config.training.updates, config.env.id) == (2, 60, "gridworld")


def test_later_layers_win_key_by_key(tmp_path):
    low = write(tmp_path, "low.yaml", "seed: 1\nrollout: {workers: 3, max_tokens: 8}\n")
    high = write(tmp_path, "high.yaml", "rollout: {workers: 4}\ntraining: {updates: 5}\n")
    config = load_config([low, high], {"training.updates": 6})
    assert (config.seed, config.rollout.max_tokens, config.rollout.workers, config.training.updates) == (1, 8, 4, 6)


def test_changed_kind_drops_the_settings_of_the_former_learner(tmp_path):
    path = write(tmp_path, "ppo.yaml", "learner: {kind: ppo, epochs: 9, episodes_per_update: 7}\n")
    config = load_config([path], {"learner.kind": "mezo"})
    assert config.learner == MeZOConfig()


def test_kind_and_its_settings_come_in_any_order(tmp_path):
    path = write(tmp_path, "ppo.yaml", "learner: {kind: ppo, epochs: 9}\n")
    config = load_config([path], {"learner.sigma": 0.3, "learner.kind": "mezo"})
    assert config.learner == MeZOConfig(sigma=0.3)


def test_missing_kind_goes_on_with_the_layer_below(tmp_path):
    path = write(tmp_path, "mezo.yaml", "learner: {kind: mezo, sigma: 0.3}\n")
    config = load_config([path], {"learner.directions": 2})
    assert config.learner == MeZOConfig(sigma=0.3, directions=2)


def test_same_kind_keeps_the_settings_below(tmp_path):
    path = write(tmp_path, "ppo.yaml", "learner: {epochs: 9}\n")
    config = load_config([path], {"learner.kind": "ppo"})
    assert config.learner == PPOConfig(epochs=9)


def test_another_environment_drops_the_options_of_the_former(tmp_path):
    path = write(tmp_path, "grid.yaml", "env: {options: {size: 5}, max_turns: 9}\n")
    config = load_config([path], {"env.id": "gymnasium:FrozenLake-v1"})
    assert (config.env.options, config.env.max_turns) == ({}, None)


def test_environment_options_merge(tmp_path):
    path = write(tmp_path, "grid.yaml", "env: {options: {size: 5, goal: [1, 1]}}\n")
    config = load_config([path], {"env.options.size": 6})
    assert config.env.options == {"size": 6, "goal": [1, 1]}


def test_empty_file_and_empty_section_set_nothing(tmp_path):
    files = [write(tmp_path, "empty.yaml", ""), write(tmp_path, "section.yaml", "rollout:\n  # workers: 3\n")]
    assert load_config(files) == RunConfig()


def test_exponents_are_numbers_where_any_type_is_allowed(tmp_path):
    path = write(tmp_path, "env.yaml", "env: {options: {bonus: 1e-5, word: '1e-5'}}\nlearner: {learning_rate: 1e-4}\n")
    config = load_config([path])
    assert config.env.options == {"bonus": 1e-5, "word": "1e-5"}
    assert config.learner.learning_rate == 1e-4


KINDS = ("ppo", "mezo", "es", "grpo", "rloo", "reinforce", "rwr", "sft", "simpo", "value", "python")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learner.learning_rat", 1, "learner.learning_rat: no such key; did you mean learner.learning_rate?"),
        ("rolout.workers", 1, "rolout: no such key; did you mean rollout?"),
        ("workers", 2, "workers: no such key; did you mean rollout.workers?"),
        ("learner.sigma", 1, "learner.sigma: no such key with learner.kind=ppo; it belongs to learner.kind=mezo or es"),
        ("replay.sampling.alpah", 1, "replay.sampling.alpah: no such key; did you mean replay.sampling.alpha?"),
        ("rollout.workers", 0, "rollout.workers must be at least 1; got 0"),
        ("rollout.workers", "two", "rollout.workers must be a whole number; got 'two'"),
        ("rollout.temperature", 0, "rollout.temperature must be above 0; got 0"),
        ("rollout.num_gpus", -1, "rollout.num_gpus must be at least 0 or auto; got -1"),
        ("learner.clip", 2.0, "learner.clip must be below 1; got 2.0"),
        ("learner.gamma", float("nan"), "learner.gamma must be a finite number; got nan"),
        ("learner.kind", "dqn", f"learner.kind must be {' or '.join(KINDS)}; got 'dqn'"),
        ("learner", "mezo", "learner must be a mapping of settings; got 'mezo'"),
        ("model.dtype", "float16", "model.dtype must be float32 or bfloat16; got 'float16'"),
        ("adapter.targets", [1], "adapter.targets.0 must be text; got 1"),
        ("adapter.targets", "q", "adapter.targets must be all-linear or a list; got 'q'"),
        ("env.render", "nothing", "env.render must be package.module:function; got 'nothing'"),
        ("schema_version", 2, "schema_version must be 1; got 2"),
    ],
)
def test_error_names_the_key_and_what_is_allowed(key, value, message):
    assert error_of(key, value) == message


def test_name_must_fit_a_directory():
    assert "name must be letters, digits" in error_of("name", "../evil")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rollout: {workers: 2\n", "valid YAML"),
        ("- 1\n", "mapping of sections"),
        ("seed: 1\nseed: 2\n", "bad.yaml:2: the key seed is given twice"),
    ],
)
def test_bad_file_is_one_line(tmp_path, text, message):
    path = write(tmp_path, "bad.yaml", text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config([path])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no such config file: .*none\.yaml"):
        load_config([tmp_path / "none.yaml"])


def test_yaml_text_loads_back_to_the_same_config(tmp_path):
    options = {"text": "1e5", "no": "no", "nothing": None, "tiny": 1e-7, "list": [1, 2.0, "010"]}
    config = load_config([], {"learner.kind": "mezo", "learner.learning_rate": 1e-5, "env.options": options})
    path = write(tmp_path, "config.yaml", to_yaml(config))
    assert load_config([path]) == config


def test_yaml_text_holds_every_field():
    text = to_yaml(RunConfig())
    missing = [name for name in RunConfig.model_fields if f"{name}:" not in text]
    assert missing == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    assert load_config([path]).name != RunConfig().name


def test_a_default_that_contradicts_another_setting_is_named():
    with pytest.raises(ConfigError) as caught:
        load_config([], {"learner.kind": "grpo", "learner.episodes_per_update": 60})

    assert str(caught.value) == "learner.group_size must be a divisor of learner.episodes_per_update=60; got 8"
