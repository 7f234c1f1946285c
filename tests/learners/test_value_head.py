"""Pinned: the ridge critic is the least-squares solution with forgetting; the value head starts at zero."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from olal.learners.critic_slot import CriticSlot
from olal.learners.value_head import RidgeValue, ValueHead
from olal.models.policy_network import PolicyNetwork

HIDDEN = np.random.default_rng(0).standard_normal((90, 8))
RETURNS = np.random.default_rng(1).standard_normal(90)


def test_the_ridge_critic_is_least_squares_with_forgotten_batches_weighed_down() -> None:
    critic = RidgeValue(8, 16, ridge=0.3, seed=5, decay=0.7)
    for batch in (slice(0, 20), slice(20, 60), slice(60, 90)):
        critic.fit(HIDDEN[batch], RETURNS[batch])
    weight = np.sqrt(0.7 ** np.repeat([2, 1, 0], [20, 40, 30]))
    features = critic._features(HIDDEN)

    rows = np.concatenate([weight[:, None] * features, np.sqrt(0.3) * np.eye(17)])
    solution, *_ = np.linalg.lstsq(rows, np.concatenate([weight * RETURNS, np.zeros(17)]), rcond=None)

    assert critic.values(HIDDEN) == pytest.approx(features @ solution, abs=1e-9)


def test_the_features_are_random_but_fixed_by_the_seed_and_one_is_constant() -> None:
    first, again, other = (RidgeValue(8, 16, ridge=1.0, seed=seed)._features(HIDDEN) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert first.shape == (90, 17)
    assert np.abs(first[:, :-1]).max() < 1
    assert set(first[:, -1]) == {1.0}


def test_the_ridge_critic_knows_nothing_at_first_and_learns_a_smooth_function() -> None:
    critic, target = RidgeValue(8, 64, ridge=1e-3, seed=0), np.tanh(HIDDEN[:, 0]) + 3

    before = critic.values(HIDDEN)
    critic.fit(HIDDEN, target)

    assert before.tolist() == [0.0] * 90
    assert np.abs(critic.values(HIDDEN) - target).mean() < 0.1


def test_the_value_head_starts_at_zero_and_its_seed_is_its_own(tiny_learner: PolicyNetwork) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    first, again, other = (
        CriticSlot(tiny_learner, partial(ValueHead, width=4), is_separate=False, seed=seed).head for seed in (1, 1, 2)
    )

    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first.first.weight, again.first.weight)
    assert not torch.equal(first.first.weight, other.first.weight)
    assert first(torch.randn(5, tiny_learner.hidden_size)).tolist() == [0.0] * 5
