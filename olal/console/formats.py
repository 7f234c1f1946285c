"""How numbers are written in tables and lines; an unknown one is a dash."""

from __future__ import annotations

import math

UNKNOWN = "-"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with fixed digits.

    >>> number(0.98765), number(None), number(-0.0001)
    ('0.988', '-', '0.000')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def rate(value: float | None) -> str:
    """Write a rate per second with three figures.

    >>> rate(1234.5), rate(3.14159)
    ('1,234', '3.1')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def percent(value: float | None, digits: int = 0) -> str:
    """Write a share of one.

    >>> percent(0.985), percent(0.985, 1), percent(None)
    ('98%', '98.5%', '-')
    """
    return UNKNOWN if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}%"


def duration(seconds: float | None) -> str:
    """Write a span of time.

    >>> duration(7.4), duration(127), duration(3671)
    ('7 s', '2:07', '1:01:11')
    """
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
