"""Pinned: a batch's advantages are those of its turns played in sequence; rewards are scaled, never enlarged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from olal.grammar import Vocabulary, choice_grammar, regex_grammar
from olal.learners.advantages import batch_advantages
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.reward_scale import RewardScale
from olal.types import Bootstrap, Trajectory, Turn

MOVE = choice_grammar(["left", "right", "forward"])
MOVES = regex_grammar(r'\{"moves":\["(left|right)","(left|right)"\]\}')
ONLY = choice_grammar(["stick"])

MakeTurn = Callable[..., Turn]
Episode = Callable[..., Trajectory]

GAMMA, LAMBDA = 0.9, 0.8


@pytest.fixture
def batch(vocabulary: Vocabulary, make_turn: MakeTurn, episode: Episode) -> DecisionBatch:
    """Decisions 0 and 1 are one turn, 2 another, then a turn without a choice, then 3; the last episode is cut."""
    turns = [make_turn(MOVES, '{"moves":["left","right"]}', 1.0), make_turn(MOVE, "left", 2.0, prompt=(12,))]
    turns += [make_turn(ONLY, "stick", 4.0), make_turn(MOVE, "right", 8.0, prompt=(13,))]
    cut = episode(
        [make_turn(MOVE, "left", 16.0, prompt=(14,))],
        terminated=False,
        truncated=True,
        bootstrap=Bootstrap((15,), MOVE),
    )
    return make_batch([episode(turns), cut], vocabulary, gamma=GAMMA)


def test_returns_discount_by_turns(batch: DecisionBatch) -> None:
    values = np.zeros(len(batch.contexts))
    values[batch.episodes[1].bootstrap_context] = 10.0

    _, returns = batch_advantages(batch, values, gamma=GAMMA, gae_lambda=LAMBDA)

    last = 8.0
    second = 2.0 + GAMMA * 4.0 + GAMMA**2 * last
    first = 1.0 + GAMMA * second
    assert returns == pytest.approx([first, first, second, last, 16.0 + GAMMA * 10.0])


def test_advantages_decay_by_turns(batch: DecisionBatch) -> None:
    values = np.random.default_rng(0).standard_normal(len(batch.contexts))
    v0, v1, v2, v3, v4 = values[batch.context_of]
    bootstrap = values[batch.episodes[1].bootstrap_context]

    advantages, _ = batch_advantages(batch, values, gamma=GAMMA, gae_lambda=LAMBDA)

    a3 = 8.0 - v3
    a2 = 2.0 + GAMMA * 4.0 + GAMMA**2 * v3 - v2 + (GAMMA * LAMBDA) ** 2 * a3
    a1 = 1.0 + GAMMA * v2 - v1 + GAMMA * LAMBDA * a2
    a0 = v1 - v0 + a1
    assert advantages == pytest.approx([a0, a1, a2, a3, 16.0 + GAMMA * bootstrap - v4])


def test_scaled_rewards_give_scaled_returns(batch: DecisionBatch) -> None:
    values = np.zeros(len(batch.contexts))

    _, plain = batch_advantages(batch, values, gamma=GAMMA, gae_lambda=LAMBDA)
    _, scaled = batch_advantages(batch, values, gamma=GAMMA, gae_lambda=LAMBDA, scale=4.0)

    assert scaled == pytest.approx(plain / 4)


def test_the_scale_is_the_deviation_of_returns_and_at_least_one(batch: DecisionBatch) -> None:
    _, returns = batch_advantages(batch, np.zeros(len(batch.contexts)), gamma=GAMMA, gae_lambda=LAMBDA)
    large, small = RewardScale(), RewardScale()

    assert large.update(batch, GAMMA) == pytest.approx(returns.std())
    small.variance = 0.25
    assert small.value == 1.0


def test_the_scale_follows_slowly(batch: DecisionBatch) -> None:
    scale = RewardScale(decay=0.75)
    first = scale.update(batch, GAMMA)
    scale.variance = 4 * first**2

    assert scale.update(batch, GAMMA) == pytest.approx(np.sqrt(0.75 * 4 + 0.25) * first)
