"""Pinned: advantages and returns equal their definitions as explicit sums; only the bootstrap tells a cut episode from
one that ended; normalising never magnifies what is below the floor.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from olal.returns import discounted_returns, gae, normalise

Float = NDArray[np.float64]

REAL = st.floats(-10, 10, allow_subnormal=False)
SHARE = st.floats(0, 1, allow_subnormal=False)
EPISODES = st.integers(1, 7).flatmap(
    lambda n: st.tuples(*(st.lists(of, min_size=n, max_size=n).map(np.array) for of in (REAL, REAL, SHARE, SHARE)))
)


def slow_gae(rewards: Float, values: Float, discounts: Float, traces: Float, bootstrap: float) -> list[float]:
    """A_t = sum over k >= t of delta_k times the product of gamma_j lambda_j for t <= j < k."""
    after = [*values[1:], bootstrap]
    deltas = [rewards[t] + discounts[t] * after[t] - values[t] for t in range(len(rewards))]
    return [
        sum(float(np.prod(discounts[t:k] * traces[t:k])) * deltas[k] for k in range(t, len(deltas)))
        for t in range(len(deltas))
    ]


def slow_returns(rewards: Float, discounts: Float, bootstrap: float) -> list[float]:
    """G_t = sum over k >= t of r_k times the product of gamma_j for t <= j < k, and the discounted bootstrap."""
    steps = len(rewards)
    return [
        sum(float(np.prod(discounts[t:k])) * rewards[k] for k in range(t, steps))
        + float(np.prod(discounts[t:])) * bootstrap
        for t in range(steps)
    ]


@given(EPISODES, REAL)
def test_gae_is_the_double_sum(episode: tuple[Float, Float, Float, Float], bootstrap: float) -> None:
    assert gae(*episode, bootstrap) == pytest.approx(slow_gae(*episode, bootstrap), abs=1e-9)


@given(EPISODES, REAL)
def test_returns_are_the_double_sum(episode: tuple[Float, Float, Float, Float], bootstrap: float) -> None:
    rewards, _, discounts, _ = episode

    returns = discounted_returns(rewards, discounts, bootstrap)

    assert returns == pytest.approx(slow_returns(rewards, discounts, bootstrap), abs=1e-9)


@given(EPISODES, REAL)
def test_with_traces_of_one_advantages_are_returns_minus_values(
    episode: tuple[Float, Float, Float, Float], bootstrap: float
) -> None:
    rewards, values, discounts, _ = episode

    advantages = gae(rewards, values, discounts, np.ones(len(rewards)), bootstrap)

    assert advantages == pytest.approx(discounted_returns(rewards, discounts, bootstrap) - values, abs=1e-9)


@given(EPISODES, REAL)
def test_with_traces_of_zero_advantages_are_one_step_errors(
    episode: tuple[Float, Float, Float, Float], bootstrap: float
) -> None:
    rewards, values, discounts, _ = episode

    advantages = gae(rewards, values, discounts, np.zeros(len(rewards)), bootstrap)

    assert advantages == pytest.approx(rewards + discounts * np.append(values[1:], bootstrap) - values, abs=1e-9)


def test_a_cut_episode_differs_from_a_finished_one_by_its_bootstrap() -> None:
    rewards, values = np.array([0.0, 1.0]), np.array([0.5, 0.5])
    discounts, traces = np.array([0.9, 0.9]), np.array([1.0, 1.0])

    finished = gae(rewards, values, discounts, traces, 0.0)
    cut = gae(rewards, values, discounts, traces, 10.0)

    assert cut - finished == pytest.approx([0.9 * 0.9 * 10, 0.9 * 10])


def test_a_perfect_critic_leaves_no_advantage() -> None:
    rewards, discounts = np.array([1.0, -2.0, 3.0]), np.array([0.9, 1.0, 0.5])
    values = discounted_returns(rewards, discounts, 4.0)

    assert gae(rewards, values, discounts, np.array([0.3, 1.0, 0.0]), 4.0) == pytest.approx(np.zeros(3))


def test_an_episode_without_steps_has_no_advantages() -> None:
    nothing = np.zeros(0)

    assert len(gae(nothing, nothing, nothing, nothing, 5.0)) == 0
    assert len(discounted_returns(nothing, nothing, 5.0)) == 0
    assert len(normalise(nothing, std_floor=0.1)) == 0


@given(st.lists(REAL, min_size=2, max_size=20).map(np.array).filter(lambda a: a.std() > 0.1))
def test_normalised_advantages_have_mean_zero_and_deviation_one(advantages: Float) -> None:
    normal = normalise(advantages, std_floor=0.1)

    assert normal.mean() == pytest.approx(0, abs=1e-9)
    assert normal.std() == pytest.approx(1)


def test_small_differences_are_not_magnified_beyond_the_floor() -> None:
    advantages = np.array([1.0, 1.001])

    assert normalise(advantages, std_floor=0.05) == pytest.approx([-0.01, 0.01])
