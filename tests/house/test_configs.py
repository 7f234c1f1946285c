"""Every config that ships works, and says how to run itself.

Pinned: each file in configs/ loads, its environment can be built and reset, and its second line is the command.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from olal.config import load_config
from olal.experiments.build import build_env

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
FILES = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@FILES
def test_a_config_loads_and_is_named_after_its_file(path):
    assert load_config([path]).name == path.stem.replace("_", "-")


@FILES
def test_a_config_names_an_environment_that_can_be_played(path):
    env = build_env(load_config([path]))
    step = env.reset(0)
    grammar = env.action_grammar()
    env.close()
    assert step.observation
    assert grammar.spec.text


@FILES
def test_a_config_shows_its_command(path):
    first, second, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert second.startswith(f"#   olal launch configs/{path.name}")
