"""mean_interval against the formula and against its own promise: it covers the true mean as often as it says."""

from __future__ import annotations

import math
import random

import pytest

from olal.metrics import mean_interval


def test_interval_of_a_known_sample():
    interval = mean_interval([1.0, 2.0, 3.0, 4.0], confidence=0.95)
    half_width = 1.959963984540054 * math.sqrt(5 / 3) / 2
    assert (interval.mean, interval.count) == (2.5, 4)
    assert interval.low == pytest.approx(2.5 - half_width)
    assert interval.high == pytest.approx(2.5 + half_width)


def test_more_confidence_is_wider():
    values = [0.0, 1.0, 0.0, 1.0]
    assert mean_interval(values, 0.99).low < mean_interval(values, 0.9).low


def test_interval_covers_the_true_mean_as_often_as_it_says():
    draw = random.Random(0)
    intervals = [mean_interval([draw.gauss(1.0, 2.0) for _ in range(100)], 0.9) for _ in range(1000)]
    covered = sum(interval.low <= 1.0 <= interval.high for interval in intervals)
    assert 870 <= covered <= 930


def test_one_value_says_nothing_of_the_spread():
    interval = mean_interval([3.0])
    assert (interval.mean, interval.low, interval.high) == (3.0, -math.inf, math.inf)


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([1.0], 0.0), ([1.0], 1.0)])
def test_no_value_or_no_level_is_refused(values, confidence):
    with pytest.raises(ValueError, match="got"):
        mean_interval(values, confidence)
