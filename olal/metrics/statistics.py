"""mean_interval: a mean and how far to trust it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A sample mean with its confidence interval.

    Attributes:
        mean: the sample mean.
        low: lower end of the interval.
        high: upper end of the interval.
        count: number of values.
    """

    mean: float
    low: float
    high: float
    count: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval:
    """Give the mean with its normal confidence interval.

    mean +- z s / sqrt(n), with the sample standard deviation s and the normal quantile z; at the hundreds of episodes
    of an evaluation Student's t differs from it by less than 1 %.

    Args:
        values: at least one number; of a single one the interval is the whole line.
        confidence: probability mass of the interval, between 0 and 1.

    Raises:
        ValueError: there is no value, or the confidence is out of range.

    >>> mean_interval([1.0, 1.0, 1.0])
    MeanInterval(mean=1.0, low=1.0, high=1.0, count=3)
    """
    if not values:
        raise ValueError("a mean needs at least one value; got none")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1; got {confidence}")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return MeanInterval(mean, -math.inf, math.inf, 1)
    quantile = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    half_width = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return MeanInterval(mean, mean - half_width, mean + half_width, len(values))
