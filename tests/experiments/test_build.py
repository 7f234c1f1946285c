"""From config to settings: every hyper-parameter of a learner comes from the config field of the same name."""

from __future__ import annotations

import dataclasses

import pytest

from olal.config import (
    GRPOConfig,
    MeZOConfig,
    PPOConfig,
    PythonLearnerConfig,
    ReinforceConfig,
    RLOOConfig,
    RWRConfig,
    SFTConfig,
    SimPOConfig,
    ValueConfig,
    load_config,
)
from olal.experiments.build_learner import BUILT_IN, build_learner
from olal.experiments.seeds import training_tasks
from olal.experiments.share_players import deal
from olal.learners.critic_free import CriticFreeSettings
from olal.learners.gradient import GradientSettings
from olal.learners.mezo import MeZOSettings
from olal.learners.ppo import PPOSettings
from olal.learners.rwr import RWRSettings
from olal.learners.sft import SFTSettings
from olal.learners.simpo import SimPOSettings
from olal.learners.value import ValueSettings


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        (PPOSettings, PPOConfig),
        (MeZOSettings, MeZOConfig),
        (CriticFreeSettings, GRPOConfig),
        (CriticFreeSettings, RLOOConfig),
        (CriticFreeSettings, ReinforceConfig),
        (RWRSettings, RWRConfig),
        (SFTSettings, SFTConfig),
        (SimPOSettings, SimPOConfig),
        (ValueSettings, ValueConfig),
        (GradientSettings, PythonLearnerConfig),
    ],
)
def test_every_setting_has_a_config_field_with_the_same_default(settings, config):
    not_in_config = {"temperature", "rows_per_pass", "kind"}
    if config is ReinforceConfig:
        not_in_config.add("compare")  # it compares with the whole batch
    for field in dataclasses.fields(settings):
        if field.name not in not_in_config:
            assert config.model_fields[field.name].default == field.default, field.name


def test_a_learner_gets_the_numbers_of_the_config():
    overrides = {"learner.kind": "mezo", "learner.sigma": 0.03, "learner.clip": 0.11, "rollout.temperature": 0.7}

    learner, _ = build_learner(load_config([], overrides))

    assert (learner._settings.sigma, learner._settings.clip) == (0.03, 0.11)
    assert learner._settings.temperature == 0.7


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_kind_can_be_built(kind):
    learner, _ = build_learner(load_config([], {"learner.kind": kind}))

    assert learner.version == 0
    assert getattr(learner._settings, "kind", kind) == kind


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_shares_cover_every_task_once_in_order(workers):
    tasks = training_tasks(0, 100, 10)

    shares = deal(tasks, workers)

    assert len(shares) == workers
    assert [task for share in shares for task in share] == tasks
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
