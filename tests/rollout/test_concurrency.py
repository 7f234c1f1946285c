"""Pinned: the limit grows while memory is free and more is gained by it, shrinks a little when memory gets scarce, and
is halved when requests lose theirs; it never leaves its bounds, and settles near what a simulated engine bears.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olal.errors import ConfigError
from olal.rollout import AdaptiveConcurrency
from olal.types import EngineLoad


def simulate(limit: AdaptiveConcurrency, rounds: int, *, knee: int, rows_of_memory: float = 1e9) -> list[int]:
    """An engine that gains by every row up to `knee`, and preempts beyond `rows_of_memory`."""
    seen, preempted = [], 0
    for _ in range(rounds):
        rows = limit.limit
        use = rows / rows_of_memory
        preempted += max(0, rows - int(rows_of_memory))
        load = EngineLoad(rows, 0, min(use, 1.0), preempted)
        seen.append(limit.observe(load, 100.0 * min(rows, knee), is_full=True))
    return seen


def test_it_doubles_while_that_pays_and_stops_at_its_bound() -> None:
    assert simulate(AdaptiveConcurrency(50, start=4), 6, knee=1000) == [8, 16, 32, 50, 50, 50]


def test_growth_that_gains_nothing_is_taken_back() -> None:
    seen = simulate(AdaptiveConcurrency(256, start=8), 200, knee=32)

    assert seen[:4] == [16, 32, 64, 32]
    assert all(32 <= limit <= 36 for limit in seen[3:])
    assert seen.count(32) > 150
    tries = [place for place, limit in enumerate(seen) if limit == 36]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 64


def test_it_settles_within_a_factor_of_two_above_the_knee() -> None:
    assert all(48 <= limit <= 2 * 48 for limit in simulate(AdaptiveConcurrency(256, start=8), 300, knee=48)[4:])


def test_scarce_memory_bounds_it_without_preemptions() -> None:
    limit = AdaptiveConcurrency(256, start=8)

    seen = simulate(limit, 100, knee=1000, rows_of_memory=100.0)

    assert max(seen[10:]) <= 80
    assert min(seen[10:]) >= 40


@pytest.mark.parametrize(
    ("use", "preempted", "expected"),
    [(0.59, 0, 128), (0.6, 0, 64), (0.79, 0, 64), (0.8, 0, 60), (0.89, 0, 60), (0.9, 0, 32), (0.1, 1, 32)],
)
def test_what_one_observation_does(use: float, preempted: int, expected: int) -> None:
    limit = AdaptiveConcurrency(256, start=64)

    assert limit.observe(EngineLoad(64, 0, use, preempted), 10.0, is_full=True) == expected


def test_preemptions_count_once() -> None:
    limit = AdaptiveConcurrency(64, start=64)

    seen = [limit.observe(EngineLoad(1, 0, 0.1, 7), 1.0, is_full=False) for _ in range(3)]

    assert seen == [32, 32, 32]


def test_it_does_not_grow_while_requests_wait_or_episodes_are_missing() -> None:
    limit = AdaptiveConcurrency(64, start=8)

    assert limit.observe(EngineLoad(8, 1, 0.1), 1.0, is_full=True) == 8
    assert limit.observe(EngineLoad(4, 0, 0.1), 1.0, is_full=False) == 8


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 1.5), st.integers(0, 2), st.floats(0, 1e6), st.booleans()), max_size=60),
)
def test_it_never_leaves_its_bounds(most: int, observations: list[tuple[float, int, float, bool]]) -> None:
    limit, preempted = AdaptiveConcurrency(most), 0
    for use, more, throughput, is_full in observations:
        preempted += more
        assert 1 <= limit.observe(EngineLoad(1, 0, use, preempted), throughput, is_full=is_full) <= most


def test_bounds_in_another_order_are_refused() -> None:
    with pytest.raises(ConfigError):
        AdaptiveConcurrency(0)
    with pytest.raises(ConfigError):
        AdaptiveConcurrency(4, grow_below=0.9, trim_above=0.8)
