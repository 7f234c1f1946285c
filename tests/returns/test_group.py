"""Group-relative advantages against their definitions, written out."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olal.returns import group_advantages

EPISODES = st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=1, max_size=24)


def advantages(episodes, baseline, std_floor=1e-9):
    returns, groups = (np.array(column) for column in zip(*episodes, strict=True))
    return group_advantages(returns.astype(float), groups.astype(np.int64), baseline=baseline, std_floor=std_floor)


@given(EPISODES)
def test_rloo_compares_an_episode_with_the_mean_of_the_others(episodes):
    for i, (advantage, (value, group)) in enumerate(zip(advantages(episodes, "rloo"), episodes, strict=True)):
        others = [other for j, (other, its_group) in enumerate(episodes) if its_group == group and j != i]
        expected = value - statistics.fmean(others) if others else 0.0
        assert advantage == pytest.approx(expected, abs=1e-9)


@given(EPISODES)
def test_grpo_centres_and_scales_within_the_group(episodes):
    for advantage, (value, group) in zip(advantages(episodes, "grpo", 1e-3), episodes, strict=True):
        peers = [other for other, its_group in episodes if its_group == group]
        deviation = max(statistics.pstdev(peers), 1e-3)
        expected = (value - statistics.fmean(peers)) / deviation if len(peers) > 1 else 0.0
        assert advantage == pytest.approx(expected, abs=1e-6)


def test_a_group_in_which_all_did_equally_well_teaches_nothing():
    episodes = [(0.3, 1), (0.3, 1), (0.3, 1)]

    assert not advantages(episodes, "grpo", 0.05).any()
    assert not advantages(episodes, "rloo").any()


def test_the_floor_keeps_small_differences_small():
    assert np.abs(advantages([(0.50, 0), (0.51, 0)], "grpo", 0.05)).max() == pytest.approx(0.1)
