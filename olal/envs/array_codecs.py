"""Codecs of arrays of numbers: nested JSON arrays in which each number keeps to its own bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from olal.envs.codec import Codec
from olal.envs.number_patterns import decimal_pattern
from olal.errors import ActionSpaceUnsupported, GrammarError

LARGEST_FLOAT = 2e18
"""Floating-point bounds beyond this are refused: every number would take a line of digits."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers k / 10**digits for whole k from `low` to `high`."""

    low: int
    high: int
    digits: int

    def write(self, value: float) -> str:
        """The member nearest to the value, with exactly `digits` decimals.

        >>> Range(-200, 200, 2).write(-0.333)
        '-0.33'
        """
        scaled = min(max(round(Fraction(value) * 10**self.digits), self.low), self.high)
        if self.digits == 0:
            return str(scaled)
        text = str(abs(scaled)).zfill(self.digits + 1)
        return f"{'-' if scaled < 0 else ''}{text[: -self.digits]}.{text[-self.digits :]}"


def box_codec(space: spaces.Box[Any], digits: int, path: str) -> Codec:
    """Codec of a bounded Box; whole numbers where its dtype is whole."""
    is_float = space.dtype.kind == "f"
    widest = max([abs(bound) for bound in (*space.low.ravel().tolist(), *space.high.ravel().tolist())], default=0)
    if not space.is_bounded() or (is_float and widest > LARGEST_FLOAT):
        raise ActionSpaceUnsupported(
            f"{path}: a Box needs bounds on both sides, of at most {LARGEST_FLOAT:g}; rescale it with "
            f"gymnasium.wrappers.RescaleAction or clip it in a wrapper, not {space}"
        )
    return array_codec(space.low, space.high, space.dtype, digits if is_float else 0, path)


def array_codec(low: NDArray[Any], high: NDArray[Any], dtype: np.dtype[Any], digits: int, path: str) -> Codec:
    """Codec of an array with bounds for each element.

    Args:
        low: lower bounds, of the shape of the action.
        high: upper bounds, of the same shape.
        dtype: element type of the action.
        digits: decimals of each number.
        path: where the array sits in the whole action, for messages.

    Raises:
        ActionSpaceUnsupported: no number with that many decimals lies between two bounds.
    """
    bounds: list[tuple[float, float]] = list(zip(low.ravel().tolist(), high.ravel().tolist(), strict=True))
    ranges = {pair: _make_range(pair, dtype, digits, path) for pair in set(bounds)}
    patterns = {pair: decimal_pattern(known.low, known.high, digits) for pair, known in ranges.items()}

    def write(action: Any) -> str:
        values = np.asarray(action)
        if values.shape != low.shape or values.dtype.kind not in "biuf":
            raise GrammarError(f"{path}: must be numbers of shape {low.shape}, not {action!r}")
        if not (np.all(values >= low) and np.all(values <= high)):
            raise GrammarError(f"{path}: must lie between {low.tolist()} and {high.tolist()}, not {values.tolist()}")
        flat = zip(bounds, values.ravel().tolist(), strict=True)
        return _nest([ranges[pair].write(value) for pair, value in flat], low.shape, ("[", "]"), ",".join)

    def read(value: Any) -> NDArray[Any]:
        return np.asarray(value, dtype=dtype).reshape(low.shape)

    pattern = _nest([patterns[pair] for pair in bounds], low.shape, (r"\[", r"\]"), _join_repeated)
    return Codec(pattern, read, write)


def _make_range(bounds: tuple[float, float], dtype: np.dtype[Any], digits: int, path: str) -> Range:
    """Every k whose number, stored as `dtype`, lies between the bounds.

    The bounds are stored in the same dtype: 0.7 as float32 is below seven tenths, yet "0.70" reads back as that very
    bound and must be writable. So the edge is searched between the bound and its next neighbour outside.
    """
    low, high = bounds
    if dtype.kind != "f":
        return Range(int(low), int(high), 0)

    def edge(bound: float) -> int:
        """Smallest k whose stored number is at least `bound`."""
        outside = float(np.nextafter(dtype.type(bound), dtype.type(-math.inf)))
        last = _ceil_scaled(bound, digits)
        first = _ceil_scaled(outside, digits) if math.isfinite(outside) else last
        while first < last:
            middle = (first + last) // 2
            if float(dtype.type(middle / 10**digits)) >= bound:
                last = middle
            else:
                first = middle + 1
        return first

    least, most = edge(low), -edge(-high)
    if least > most:
        raise ActionSpaceUnsupported(
            f"{path}: no number with {digits} decimals lies between the bounds, raise digits: {low} to {high}"
        )
    return Range(least, most, digits)


def _ceil_scaled(bound: float, digits: int) -> int:
    return math.ceil(Fraction(bound) * 10**digits)


def _nest(
    items: Sequence[str], shape: tuple[int, ...], brackets: tuple[str, str], join: Callable[[Sequence[str]], str]
) -> str:
    """Brackets around `items` (row-major) in the nesting of `shape`; none where the shape is ()."""
    if not shape:
        return items[0]
    size = len(items) // shape[0] if shape[0] else 0
    rows = [_nest(items[i * size : (i + 1) * size], shape[1:], brackets, join) for i in range(shape[0])]
    return brackets[0] + join(rows) + brackets[1]


def _join_repeated(patterns: Sequence[str]) -> str:
    """Join with commas, a run of equal patterns written once: long arrays keep short patterns."""
    groups: list[str] = []
    for pattern, run in groupby(patterns):
        count = len(list(run))
        groups.append(pattern if count == 1 else f"{pattern}(?:,{pattern}){{{count - 1}}}")
    return ",".join(groups)
