"""Pinned: the sampling law is that of drawing one after the other, by enumeration; the weighted mean over a draw is, on
average, the mean over all that wait, to within the error of many draws; the bound on a draw's weights; whole groups.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from olal.replay import EpisodeRecord, Leased, Prioritised, ReplayBuffer
from olal.replay.prioritised import absolute_advantages, gumbel_top_k

Record = Callable[..., EpisodeRecord]
PRIORITIES = np.array([4.0, 2.0, 1.0, 0.5, 0.5])
DRAWS = 20_000


def probability(order: tuple[int, ...]) -> float:
    """Of drawing these units in this order, each in proportion to the priorities of those left."""
    left, product = PRIORITIES.sum(), 1.0
    for index in order:
        product *= PRIORITIES[index] / left
        left -= PRIORITIES[index]
    return product


@pytest.mark.parametrize("k", [1, 2, 3])
def test_every_draw_has_the_probability_of_drawing_one_after_the_other(k: int) -> None:
    random = np.random.default_rng(1)
    seen = Counter(tuple(gumbel_top_k(np.log(PRIORITIES), k, random)[0].tolist()) for _ in range(DRAWS))

    for order in itertools.permutations(range(len(PRIORITIES)), k):
        expected = probability(order)
        assert seen[order] / DRAWS == pytest.approx(expected, abs=5 * math.sqrt(expected / DRAWS)), order


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_the_sum_over_inclusion_probabilities_is_unbiased(k: int) -> None:
    random, values = np.random.default_rng(2), np.array([1.0, -3.0, 0.5, 2.0, 7.0])
    estimates = []
    for _ in range(DRAWS):
        chosen, inclusion = gumbel_top_k(np.log(PRIORITIES), k, random)
        estimates.append(float((values[chosen] / inclusion).sum()))

    error = np.std(estimates) / math.sqrt(DRAWS)
    assert np.mean(estimates) == pytest.approx(values.sum(), abs=4 * error + 1e-9)
    assert len(set(estimates)) == 1 or k < 5


def test_the_weighted_mean_of_a_draw_is_the_faded_mean_of_all_that_wait(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("olal.replay.prioritised.bounded", lambda weights: weights)
    ages = [0, 0, 1, 3, 3, 5]
    returns = [1.0, 0.0, 5.0, 0.2, -2.0, 1.0]
    units = [[record(i, 5 - age, earned=earned)] for i, (age, earned) in enumerate(zip(ages, returns, strict=True))]
    means = []
    for seed in range(8000):
        drawn = Prioritised(0.7, 4.0, seed=seed).draw(units, 3, 5)
        means.append(sum(draw.weight * returns[draw.index] for draw in drawn) / 3)

    fade = np.exp(-np.array(ages) / 4.0)
    expected = float((fade * returns).sum() / fade.sum())
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / math.sqrt(len(means)))
    assert abs(expected - np.mean(returns)) > 8 * np.std(means) / math.sqrt(len(means))


def test_rare_units_never_make_a_draw_weigh_more_than_a_plain_one(record: Record) -> None:
    units = [[record(i, earned=float(i == 0))] for i in range(50)]

    for seed in range(200):
        weights = [draw.weight for draw in Prioritised(2.0, None, seed=seed).draw(units, 8, 0)]
        assert len(weights) == 8
        assert 0 < sum(weights) / 8 <= 1 + 1e-9


def test_what_went_unlike_the_others_is_drawn_most_and_old_episodes_least(record: Record) -> None:
    units = [[record(i, 0 if i == 1 else 9, earned=9.0 if i in (0, 1) else 1.0)] for i in range(20)]
    seen = Counter(draw.index for seed in range(500) for draw in Prioritised(1.0, 3.0, seed=seed).draw(units, 4, 9))

    assert seen[0] > 3 * max(count for index, count in seen.items() if index > 1)
    assert seen[1] < 0.7 * seen[0]


def test_a_draw_is_a_function_of_seed_version_and_what_waits(record: Record) -> None:
    units = [[record(i, earned=float(i))] for i in range(20)]
    draws = [Prioritised(seed=seed).draw(units, 5, version) for seed, version in [(0, 1), (0, 1), (0, 2), (1, 1)]]

    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert draws[0] != draws[3]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_advantages_are_taken_within_groups_and_else_against_all(broken: float, record: Record) -> None:
    group = [record(0, earned=1.0), record(1, earned=3.0), record(2, earned=2.0)]
    lone = [record(3, earned=broken)]

    advantages = absolute_advantages([group, lone])

    spread = np.std([1, 3, 2])
    assert advantages.tolist() == pytest.approx([1 / spread, 1 / spread, 0, 1.5 / np.std([1, 3, 2, 0])])


def test_whole_groups_are_drawn_with_one_weight_each(record: Record) -> None:
    buffer = ReplayBuffer(100, 2**20, Prioritised(1.0, None, seed=3), group_size=2)
    buffer.put([record(i, group=i // 2, earned=float(i % 2 and i > 4)) for i in range(12)], 0)

    leased: list[Leased] = buffer.lease(5, 0, 0)

    assert len(leased) == 4
    assert {lent.record.group for lent in leased} <= {2, 3, 4, 5}
    assert all(
        a.record.group == b.record.group and a.weight == b.weight
        for a, b in zip(leased[0::2], leased[1::2], strict=True)
    )
    assert Prioritised(seed=0).draw([], 3, 0) == Prioritised(seed=0).draw([[record(0)]] * 3, 0, 0) == []
