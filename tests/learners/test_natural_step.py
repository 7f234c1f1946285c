"""Pinned: with enough directions the step is the natural gradient itself; its length is bounded by the KL divergence
that a softmax policy really moves by; damped to the end it is the plain step; without any response there is none. Of
some points on the way the best one within the bound is chosen.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from olal.learners.natural_step import best_share, natural_step

FREE = {"rate": 1.0, "max_kl": 1e9, "damping": 1e-12}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def scores(random: np.random.Generator) -> NDArray[np.float64]:
    """Gradients of the log-probabilities of 50 decisions in 6 parameters."""
    return random.standard_normal((6, 50)) * np.array([[9.0], [3.0], [1.0], [1.0], [0.3], [0.1]])


def test_as_many_directions_as_parameters_give_the_natural_gradient(random, scores):
    gradient = random.standard_normal(6)
    directions = random.choice([-1.0, 1.0], (6, 6))
    while abs(np.linalg.det(directions)) < 1:
        directions = random.choice([-1.0, 1.0], (6, 6))

    coefficients, _ = natural_step(directions.T @ gradient, directions.T @ scores, **FREE)

    fisher = sum(np.outer(score, score) for score in scores.T) / 50
    assert directions @ coefficients == pytest.approx(-np.linalg.inv(fisher) @ gradient, rel=1e-6)


def test_strong_damping_gives_the_plain_step(random, scores):
    slopes = random.standard_normal(6)

    coefficients, _ = natural_step(slopes, scores, rate=1.0, max_kl=1e9, damping=1e6)

    assert coefficients * slopes[0] / coefficients[0] == pytest.approx(slopes, rel=1e-4)
    assert coefficients @ slopes < 0


def test_a_softmax_policy_moves_by_the_divergence_that_is_told(random):
    """One state, four actions, the logits themselves as parameters; every action decided in its true proportion."""
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    actions = np.repeat(np.arange(4), [4, 3, 2, 1])
    scores = np.eye(4)[actions].T - np.exp(logits)[:, None]
    slopes = scores @ random.standard_normal(10) / 10

    coefficients, kl = natural_step(slopes, scores, rate=1.0, max_kl=1e-4, damping=1e-6)

    moved = logits + coefficients - np.log(np.exp(logits + coefficients).sum())
    assert kl == pytest.approx(1e-4)
    assert np.exp(logits) @ (logits - moved) == pytest.approx(1e-4, rel=0.05)


@pytest.mark.parametrize(("rate", "max_kl", "share"), [(0.25, 1e9, 0.25), (1.0, 1e-6, None), (0.25, 1e-6, None)])
def test_rate_and_bound_shorten_the_step_and_never_turn_it(random, scores, rate, max_kl, share):
    slopes = random.standard_normal(6)
    whole, _ = natural_step(slopes, scores, **FREE)

    coefficients, kl = natural_step(slopes, scores, rate=rate, max_kl=max_kl, damping=1e-12)

    ratio = coefficients / whole
    assert ratio == pytest.approx(np.full(6, ratio[0]))
    assert kl <= max_kl * (1 + 1e-9)
    assert (ratio[0] == pytest.approx(share)) if share else (kl == pytest.approx(max_kl))


def test_a_policy_that_does_not_respond_is_left_alone():
    coefficients, kl = natural_step(np.ones(3), np.zeros((3, 10)), **FREE)

    assert coefficients.tolist() == [0, 0, 0]
    assert kl == 0


def test_numbers_that_are_not_finite_move_nothing(scores):
    assert not natural_step(np.full(6, np.nan), scores, **FREE)[0].any()
    assert not natural_step(np.ones(6), np.full((6, 50), np.nan), **FREE)[0].any()


@pytest.mark.parametrize(
    ("losses", "moves", "chosen"),
    [
        ([-2.0, -1.0, 0.0], [0.2, 0.1, 0.0], 0),
        ([-2.0, -1.0, 0.0], [3.0, 0.1, 0.0], 1),  # the best point lies beyond the bound
        ([np.nan, 1.0, 0.0], [0.2, 0.1, 0.0], 2),  # nothing is better than to stay
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 0),  # a step too small to see is taken all the same
    ],
)
def test_the_best_point_within_the_bound_is_chosen(losses, moves, chosen):
    """Two actions of equal probability, decided equally often; log-odds of `moves`."""
    log_odds = np.array(moves)
    logprobs = np.stack([-np.log1p(np.exp(-log_odds)), -np.log1p(np.exp(log_odds))], axis=1)

    point, divergences = best_share(np.array(losses), logprobs, max_kl=0.01)

    exact = np.log(0.5) - logprobs.mean(axis=1)  # sum over both of 1/2 log(1/2 / p)
    assert point == chosen
    assert divergences == pytest.approx(exact)
