"""sparkline: a curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """Draw values from least to greatest as bars; more values than `width` are averaged in groups.

    Args:
        values: any numbers; those that are not finite leave a gap.
        width: most characters of the result.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    >>> sparkline([2.0, 2.0])
    '▁▁'
    >>> sparkline([0.0, 0.0, 1.0, 1.0], width=2)
    '▁█'
    """
    points = [_mean(group) for group in _split(values, width)]
    known = [point for point in points if math.isfinite(point)]
    if not known:
        return " " * len(points)
    low, high = min(known), max(known)
    span = high - low
    steps = len(_BARS) - 1

    def bar(point: float) -> str:
        if not math.isfinite(point):
            return " "
        return _BARS[math.floor((point - low) / span * steps + 0.5)] if span > 0 else _BARS[0]

    return "".join(bar(point) for point in points)


def _split(values: Sequence[float], parts: int) -> list[Sequence[float]]:
    parts = min(parts, len(values))
    bounds = [round(index * len(values) / parts) for index in range(parts + 1)] if parts else []
    return [values[start:end] for start, end in pairwise(bounds)]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
