"""Pinned: V-trace is the sum of the paper, term by term; with the acting policy's own probabilities it is GAE."""

from __future__ import annotations

import numpy as np
import pytest

from olal.returns import gae, vtrace


def slow_vtrace(rewards, values, discounts, traces, ratios, bootstrap, rho_bar, c_bar):
    """Equation 1 of Espeholt et al. 2018, every sum and product written out; advantages by their definition."""
    steps = len(rewards)
    following = [*values[1:], bootstrap]
    targets = []
    for s in range(steps):
        total = values[s]
        for t in range(s, steps):
            weight = np.prod([discounts[i] * traces[i] * min(c_bar, ratios[i]) for i in range(s, t)])
            total += weight * min(rho_bar, ratios[t]) * (rewards[t] + discounts[t] * following[t] - values[t])
        targets.append(total)
    after = [*targets[1:], bootstrap]
    advantages = [
        rewards[t] + discounts[t] * following[t] - values[t] + discounts[t] * traces[t] * (after[t] - following[t])
        for t in range(steps)
    ]
    return np.array(targets), np.array(advantages)


@pytest.fixture(params=range(5))
def episode(request):
    random = np.random.default_rng(request.param)
    steps = int(random.integers(1, 9))
    return {
        "rewards": random.standard_normal(steps),
        "values": random.standard_normal(steps),
        "discounts": random.choice([1.0, 0.9], steps),
        "traces": random.choice([1.0, 0.8], steps),
        "ratios": np.exp(random.standard_normal(steps)),
        "bootstrap": float(random.standard_normal()),
    }


@pytest.mark.parametrize(("rho_bar", "c_bar"), [(1.0, 1.0), (2.0, 1.0), (1e9, 1e9), (0.5, 0.2)])
def test_targets_and_advantages_are_the_sums_of_the_paper(episode, rho_bar, c_bar):
    targets, advantages = vtrace(**episode, rho_bar=rho_bar, c_bar=c_bar)

    expected = slow_vtrace(**episode, rho_bar=rho_bar, c_bar=c_bar)
    assert targets == pytest.approx(expected[0])
    assert advantages == pytest.approx(expected[1])


def test_on_the_acting_policy_it_is_gae(episode):
    episode["ratios"] = np.ones_like(episode["ratios"])

    targets, advantages = vtrace(**episode)

    del episode["ratios"]
    assert advantages == pytest.approx(gae(**episode))
    assert targets - episode["values"] == pytest.approx(gae(**episode))


def test_without_bounds_it_evaluates_the_learner_exactly():
    """Two actions in one state, paying 0 and 1: actions drawn from mu, weighed, give the mean reward under pi."""
    mu, pi = np.array([0.25, 0.75]), np.array([0.6, 0.4])
    one = np.ones(1)

    targets = [
        vtrace(np.array([float(action)]), np.zeros(1), one, one, pi[[action]] / mu[[action]], 0.0, rho_bar=1e9)[0][0]
        for action in (0, 1)
    ]

    assert mu @ targets == pytest.approx(pi[1])
